"""Choosing among fewer candidates: what each palette's λ gives with the first K of the pool."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.rewards_table import rewards_array
from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.diagnostics import assess_many


def compute(
    pool: pd.DataFrame,
    palettes: Mapping[str, Mapping[str, Any]],
    *,
    values: list[str],
    candidates: Sequence[int],
) -> pd.DataFrame:
    """Levels of choosing with λ among the first K candidates of each prompt, exact over them.

    The subsets are nested, so nothing is generated again: K candidates are those of K - 1 and one
    more. Levels are of the test prompts, or of all where there are none. λ is that of the whole
    pool.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: palette → its solved record.
        values: the values that are measured, in order; those without λ as well.
        candidates: the numbers K; those above the pool's own are left out.

    Returns:
        One row per solved palette, K and value: `palette`, `candidates`, `value`, `target` (raw;
        NaN where the palette leaves the value free), `base` (level of all candidates), `level`,
        `spread` (standard deviation of all rewards) and `kl`, in nats a prompt.

    Raises:
        InputError: if no palette has a solution, or some prompt has fewer candidates than the
            smallest K.
    """
    solved = {name: one for name, one in palettes.items() if one["status"] == "solved"}
    test = pool[pool["split"] == "test"]
    rows = (pool if test.empty else test).sort_values(["prompt_id", "candidate"])
    fewest = int(rows.groupby("prompt_id").size().min())
    sizes = sorted(size for size in set(candidates) if size <= fewest)
    if not solved or not sizes:
        raise InputError(
            f"levels by the number of candidates need a palette with a solution (there are "
            f"{len(solved)}) and at least {min(candidates)} candidates of each prompt (there are "
            f"{fewest}): add some, or leave the figure out of `plots`"
        )
    place = rows.groupby("prompt_id").cumcount()
    base, spread = rows[values].mean(), rows[values].std(ddof=0)
    lam = np.zeros((len(solved), len(values)))
    targets = np.full(lam.shape, np.nan)
    for row, record in enumerate(solved.values()):
        places = [values.index(value) for value in record["values"]]
        lam[row, places], targets[row, places] = record["lam"], record["target"]
    tables = []
    for size in sizes:
        found = assess_many(Base(*rewards_array(rows[place < size], values), "prompt"), lam)
        tables += [
            pd.DataFrame(
                {
                    "palette": name,
                    "candidates": size,
                    "value": values,
                    "target": targets[row],
                    "base": base.to_numpy(),
                    "level": found.levels[row],
                    "spread": spread.to_numpy(),
                    "kl": found.kl[row],
                }
            )
            for row, name in enumerate(solved)
        ]
    return pd.concat(tables, ignore_index=True)
