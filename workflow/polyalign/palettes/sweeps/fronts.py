"""Exact fronts between two values: the best levels that a KL budget buys."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.map.front import front
from polyalign.palettes.sweeps.bases import bases, columns

MOST = 3  # budgets that are taken from palettes


def compute(
    pool: pd.DataFrame,
    palettes: Mapping[str, Mapping[str, Any]],
    *,
    values: list[str],
    traded: list[str],
    scope: str,
    budgets: list[float] | None,
    points: int,
) -> pd.DataFrame:
    """Fronts of all pairs of the traded values, for each budget.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: palette → its solved record.
        values: the values that λ weighs, in order.
        traded: the values whose pairs are traded.
        scope: `auto`, `prompt` or `joint`.
        budgets: KL budgets, in nats; None for those of the palettes.
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
    budgets = budgets or palette_budgets(palettes)
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


def palette_budgets(palettes: Mapping[str, Mapping[str, Any]]) -> list[float]:
    """The KL of the solved palettes in nats, rising; of those within a tenth, the lowest stands.

    At most `MOST` of them, from the lowest to the highest: more fronts cannot be told apart.

    Raises:
        InputError: if no palette has one.
    """
    spent: list[float] = []
    for kl in sorted(
        float(record["kl"]) for record in palettes.values() if record["status"] == "solved"
    ):
        if kl > 0 and (not spent or kl > 1.1 * spent[-1]):
            spent.append(kl)
    if not spent:
        raise InputError(
            "a front has the KL of a palette as its budget, and no palette is solved at a KL above "
            "0: give `explore.budgets`, or leave the figure out of `plots`"
        )
    kept = np.linspace(0, len(spent) - 1, min(MOST, len(spent))).round().astype(int)
    return [spent[place] for place in kept]
