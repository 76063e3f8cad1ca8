"""Random palettes and the λ they need, beside λ drawn at random without a palette."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.map.search import random_palettes
from polyalign.palettes.sweeps.bases import bases, columns


def compute(
    pool: pd.DataFrame,
    palettes: Mapping[str, Mapping[str, Any]],
    *,
    values: list[str],
    scope: str,
    draws: int,
    max_norm: float,
    seed: int,
) -> pd.DataFrame:
    """Draw for the first two values, the first three, …, all of them.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: not used.
        values: the values, in order.
        scope: `auto`, `prompt` or `joint`.
        draws: random palettes, and random λ, of each kind.
        max_norm: largest Σλ, in 1 / standard deviations of the base model's rewards.
        seed: of the draws.

    Returns:
        One row per draw: `n_values`; `kind`, `palette` (the λ of a random palette that is feasible
        and within the norm) or `reference` (a Dirichlet direction times a uniform norm); `share`,
        the palettes kept among those drawn; for each value V `V_lam` (1 / the reward's unit),
        `V_weight` (the same in 1 / standard deviations), `V_level` on test prompts; `kl` there.
        Values that are not among the `n_values` have λ = 0.

    Raises:
        InputError: with fewer than two values.
    """
    if len(values) < 2:
        raise InputError(
            f"random λ need at least 2 values in palettes; the study has {len(values)}: name more, "
            "or leave the figures of random λ out of `plots`"
        )
    whole = bases(pool, values, scope)
    tables = []
    for number in range(2, len(values) + 1):
        part = bases(pool, values[:number], scope)
        drawn = random_palettes(part.fit, draws, seed=seed, cap=max_norm)
        found = {"palette": drawn.batch.lam[drawn.kept], "reference": drawn.reference}
        for kind, lam in found.items():
            if not len(lam):
                continue
            wide = np.zeros((len(lam), len(values)))
            wide[:, :number] = lam
            level, kl = whole.judged(wide)
            table = columns(values, lam=whole.raw_lam(wide), weight=wide, level=level)
            table.insert(0, "n_values", number)
            table.insert(1, "kind", kind)
            table.insert(2, "share", drawn.success)
            tables.append(table.assign(kl=kl))
    return pd.concat(tables, ignore_index=True)
