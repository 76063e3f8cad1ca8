"""Aligning one value after the other, round by round, beside aligning all at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.map.sequential import sequential
from polyalign.palettes.sweeps.bases import bases


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
        One row per palette, round and value: `palette`, `round` (0 is the base model), `value`,
        `target`, `base` and `level` after the round (raw), `simultaneous` (the level of the joint
        solution), `lam`, `spread` (standard deviation of the base model's rewards).

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
        order = [record["values"].index(value) for value in values if value in record["values"]]
        asked, simultaneous = (np.array(record[key])[order] for key in ("target", "realised"))
        part = bases(pool, [record["values"][i] for i in order], record["scope"])
        target = (asked - part.center) / part.scale
        found = sequential(part.fit, target, rounds=rounds)
        base = part.raw_level(part.fit.center)
        start = (np.zeros_like(target), base)
        history = [start, *zip(found.lam, part.raw_level(found.levels), strict=True)]
        for turn, (lam, level) in enumerate(history):
            weight = part.raw_lam(lam)
            for i, value in enumerate(part.values):
                rows.append(
                    {
                        "palette": name,
                        "round": turn,
                        "value": value,
                        "target": asked[i],
                        "base": base[i],
                        "level": level[i],
                        "simultaneous": simultaneous[i],
                        "lam": weight[i],
                        "spread": part.scale[i],
                    }
                )
    return pd.DataFrame(rows)
