"""Aligning one value after the other, round by round, beside aligning all at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.map.sequential import sequential
from polyalign.map.words import key_of
from polyalign.palettes.solve import fit_problem


def compute(
    pool: pd.DataFrame,
    palettes: Mapping[str, Mapping[str, Any]],
    *,
    rounds: int,
) -> pd.DataFrame:
    """Coordinate ascent on the dual of each palette, on the prompts that it was fitted on.

    What is shown is how far an algorithm is from its own optimum, so it is measured where that
    optimum was found: on the `fit` split. A palette without a solution has none.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: palette → its solved record.
        rounds: rounds of coordinate ascent.

    Returns:
        One row per palette, round and value (of a band, its end that binds): `palette`, `round` (0
        is the base model), `value`, `target`, `base` and `level` after the round (raw),
        `simultaneous` (the level of the joint solution), `lam`, `spread` (standard deviation of the
        base model's rewards).

    Raises:
        InputError: if `palettes` is empty.
    """
    if not palettes:
        raise InputError(
            "sequential alignment needs a palette; the study has none: add one, or leave the "
            "figure out of `plots`"
        )
    rows = []
    solved = {name: one for name, one in palettes.items() if one["status"] == "solved"}
    for name, record in solved.items():
        base = fit_problem(pool, record["levels"], record["scope"]).base
        target = np.array(record["target"])
        found = sequential(base, target, rounds=rounds)
        start = (np.zeros_like(target), base.center)
        binding: dict[str, int] = {}
        for i, row in enumerate(record["values"]):
            if key_of(row) not in binding or record["lam"][i]:
                binding[key_of(row)] = i
        for turn, (lam, level) in enumerate([start, *zip(found.lam, found.levels, strict=True)]):
            for value, i in binding.items():
                rows.append(
                    {
                        "palette": name,
                        "round": turn,
                        "value": value,
                        "target": target[i],
                        "base": base.center[i],
                        "level": level[i],
                        "simultaneous": record["realised"][i],
                        "lam": lam[i],
                        "spread": abs(base.scale[i]),
                    }
                )
    return pd.DataFrame(rows)
