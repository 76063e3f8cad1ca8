"""Exact fronts between two values: the best levels that a KL budget buys."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from polyalign.errors import InputError
from polyalign.explore._bases import bases, columns
from polyalign.map.front import front


def compute(
    pool: pd.DataFrame, palettes: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
) -> pd.DataFrame:
    """Fronts of all pairs of the traded values, for each budget.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: not looked at.
        settings: `values` of λ in order, `traded` (those whose pairs are traded), `scope`,
            `budgets` in nats, `points` of a front.

    Returns:
        A row a point: `across`, `up` (the pair), `budget`, `point`; for each value V `V_lam`
        (1 / the reward's unit) and `V_level` on test prompts; `kl` there.

    Raises:
        InputError: if fewer than two values are traded, or a budget cannot be spent on these
            samples.
    """
    values, traded = list(settings["values"]), list(settings["traded"])
    if len(traded) < 2:
        raise InputError(
            f"a front needs 2 values to trade; palettes raise {len(traded)}: name more in "
            "evaluation.values, or leave the figure out of `plots`"
        )
    both = bases(pool, values, settings["scope"])
    tables = []
    for across, up in combinations(traded, 2):
        pair = [values.index(across), values.index(up)]
        for budget in settings["budgets"]:
            found = front(both.fit, pair, budget, points=settings["points"])
            level, kl = both.judged(found.lam)
            table = columns(values, lam=both.raw_lam(found.lam), level=level)
            for place, (name, one) in enumerate(
                (("across", across), ("up", up), ("budget", budget), ("point", range(len(table))))
            ):
                table.insert(place, name, one)
            tables.append(table.assign(kl=kl))
    return pd.concat(tables, ignore_index=True)
