"""From the base levels to a palette and beyond: where support ends, and feasibility after it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.explore._bases import bases
from polyalign.map.dual import solve_on


def compute(
    pool: pd.DataFrame, palettes: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
) -> pd.DataFrame:
    """Solve every palette's target at some share of the way, on the `fit` split.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: palette → its solved record.
        settings: `steps`, points of a path; `beyond`, where it ends (1 is the asked level).

    Returns:
        A row a palette and step: `palette`, `share`, `verdict`, `kl` (nats), `ess_share` (effective
        sample size over the number of samples), `max_weight`; NaN where it is infeasible.

    Raises:
        InputError: if there is no palette.
    """
    if not palettes:
        raise InputError(
            "a path leads to a palette; the study has none: add one, or leave the figure out of "
            "`plots`"
        )
    rows = []
    for name, record in palettes.items():
        part = bases(pool, record["values"], record["scope"])
        start = part.fit.center
        way = (np.array(record["asked"]) - part.center) / part.scale - start
        for share in np.linspace(0.0, settings["beyond"], settings["steps"] + 1):
            solution = solve_on(part.fit, start + share * way, names=part.values)
            found = solution.verdict != "infeasible"
            rows.append(
                {
                    "palette": name,
                    "share": share,
                    "verdict": solution.verdict,
                    "kl": solution.kl if found else np.nan,
                    "ess_share": solution.ess / part.fit.n_samples if found else np.nan,
                    "max_weight": solution.max_weight if found else np.nan,
                }
            )
    return pd.DataFrame(rows)
