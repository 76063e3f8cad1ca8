"""Where each palette's solution is in the base model's rewards: levels of p_λ as quantiles."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.palettes.sweeps.bases import bases

ROUNDING = 1e-9  # standard deviations


def compute(
    pool: pd.DataFrame,
    palettes: Mapping[str, Mapping[str, Any]],
    *,
    values: list[str],
    scope: str,
) -> pd.DataFrame:
    """Levels of p_λ of all values, exact over the candidates of the test prompts.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: palette → its solved record.
        values: the values that are measured, in order; those without λ as well.
        scope: `auto`, `prompt` or `joint`.

    Returns:
        One row per solved palette and value, first those of the base model, whose `palette` is
        empty: `palette`, `value`, `asked` (raw; NaN where the palette leaves the value free),
        `level` (raw) and `quantile`, the share of the base model's rewards at or below the level.

    Raises:
        InputError: if no palette has a solution.
    """
    solved = {name: one for name, one in palettes.items() if one["status"] == "solved"}
    if not solved:
        raise InputError(
            "levels of palettes need a palette with a solution; the study has none: add one, or "
            "leave the figure out of `plots`"
        )
    both = bases(pool, values, scope)
    lam, asked = (np.full((1 + len(solved), len(values)), start) for start in (0.0, np.nan))
    for row, record in enumerate(solved.values(), start=1):
        places = [values.index(value) for value in record["values"]]
        lam[row, places] = record["lam"] * both.scale[places]
        asked[row, places] = record["asked"]
    levels, _ = both.judged(lam)
    # A level that is asked as a quantile counts the rewards that are equal to it but for rounding.
    inside = (levels - both.center) / both.scale + ROUNDING
    shares = both.test.shares_below(both.test.standardise(inside))
    names = ["", *solved]
    return pd.DataFrame(
        {
            "palette": np.repeat(names, len(values)),
            "value": np.tile(values, len(names)),
            "asked": asked.ravel(),
            "level": levels.ravel(),
            "quantile": shares.ravel(),
        }
    )
