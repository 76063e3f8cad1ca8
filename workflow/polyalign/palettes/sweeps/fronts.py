"""Exact fronts between two values: the best levels that a KL budget buys."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from polyalign.errors import InputError
from polyalign.map.front import front
from polyalign.palettes.sweeps.bases import bases, columns


def compute(
    pool: pd.DataFrame,
    palettes: Mapping[str, Mapping[str, Any]],
    *,
    values: list[str],
    traded: list[str],
    scope: str,
    budgets: list[float],
    points: int,
) -> pd.DataFrame:
    """Fronts of all pairs of the traded values, for each budget.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: not used.
        values: the values that λ weighs, in order.
        traded: the values whose pairs are traded.
        scope: `auto`, `prompt` or `joint`.
        budgets: KL budgets, in nats.
        points: points of a front.

    Returns:
        One row per point: `across`, `up` (the pair), `budget`, `point`; for each value V `V_lam`
        (1 / the reward's unit) and `V_level` on test prompts; `kl` there.

    Raises:
        InputError: if fewer than two values are traded, or a budget cannot be spent on these
            samples.
    """
    if len(traded) < 2:
        raise InputError(
            f"a front needs 2 values to trade; palettes raise {len(traded)}: name more in "
            "evaluation.values, or leave the figure out of `plots`"
        )
    both = bases(pool, values, scope)
    tables = []
    for across, up in combinations(traded, 2):
        pair = [values.index(across), values.index(up)]
        for budget in budgets:
            found = front(both.fit, pair, budget, points=points)
            level, kl = both.judged(found.lam)
            table = columns(values, lam=both.raw_lam(found.lam), level=level)
            table.insert(0, "across", across)
            table.insert(1, "up", up)
            table.insert(2, "budget", budget)
            table.insert(3, "point", range(len(table)))
            tables.append(table.assign(kl=kl))
    return pd.concat(tables, ignore_index=True)
