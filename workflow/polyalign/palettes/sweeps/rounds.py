"""Aligning one value after the other, round by round, beside aligning all at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.map.sequential import sequential
from polyalign.map.words import column_of, key_of
from polyalign.palettes.solve import fit_problem


def compute(
    pool: pd.DataFrame,
    palettes: Mapping[str, Mapping[str, Any]],
    *,
    values: list[str],
    rounds: int,
) -> pd.DataFrame:
    """Coordinate ascent on the dual of each palette, on the prompts that it was fitted on.

    What is shown is how far an algorithm is from its own optimum, so it is measured where that
    optimum was found: on the `fit` split. A palette without a solution has none.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: palette → its solved record.
        values: the values in the order in which they are aligned, for the palettes that have them.
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
        # A record has its values in the order of its settings, which is that of the alphabet.
        keys = sorted(record["levels"], key=lambda key: values.index(column_of(key).value))
        ordered = {key: record["levels"][key] for key in keys}
        problem = fit_problem(pool, ordered, record["scope"])
        base = problem.base
        order = [record["values"].index(row) for row in problem.names]
        target, simultaneous = (np.array(record[key])[order] for key in ("target", "realised"))
        found = sequential(base, target, rounds=rounds)
        start = (np.zeros_like(target), base.center)
        binding: dict[str, int] = {}
        for i, row in enumerate(problem.names):
            if key_of(row) not in binding or record["lam"][order[i]]:
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
                        "simultaneous": simultaneous[i],
                        "lam": lam[i],
                        "spread": abs(base.scale[i]),
                    }
                )
    return pd.DataFrame(rows)
