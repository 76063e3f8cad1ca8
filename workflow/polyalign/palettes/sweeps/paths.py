"""From the base levels to a palette and beyond: where support ends, and feasibility after it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.map.dual import Limits
from polyalign.map.search import path
from polyalign.palettes.solve import fit_problem


def compute(
    pool: pd.DataFrame,
    palettes: Mapping[str, Mapping[str, Any]],
    *,
    steps: int,
    beyond: float,
    limits: Mapping[str, Any],
) -> pd.DataFrame:
    """Solve every palette's target at some share of the way, on the `fit` split.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: palette → its solved record.
        steps: points of a path.
        beyond: where a path ends; 1 is the asked level.
        limits: what the verdict `supported` requires (fields of `polyalign.map.dual.Limits`).

    Returns:
        One row per palette and step: `palette`, `share`, `verdict`, `kl` (nats), `ess_share`
        (effective sample size over the number of samples), `max_weight`; NaN where the point is
        infeasible. `supportable` and `feasible` are the palette's edges, as shares: where support
        ends (looked for up to the path's end) and where feasibility ends (inf if nothing binds).

    Raises:
        InputError: if `palettes` is empty.
    """
    if not palettes:
        raise InputError(
            "a path leads to a palette; the study has none: add one, or leave the figure out of "
            "`plots`"
        )
    shares = np.linspace(0.0, beyond, steps + 1)
    judged = Limits(**limits)
    tables = []
    for name, record in palettes.items():
        base = fit_problem(pool, record["levels"], record["scope"]).base
        found = path(base, np.array(record["asked"]), shares, judged)
        tables.append(
            pd.DataFrame(
                {
                    "palette": name,
                    "share": found.share,
                    "verdict": found.verdicts,
                    "kl": found.kl,
                    "ess_share": found.ess / base.n_samples,
                    "max_weight": found.max_weight,
                    "supportable": found.supportable,
                    "feasible": found.feasible,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)
