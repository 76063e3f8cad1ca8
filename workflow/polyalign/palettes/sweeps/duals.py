"""The dual objective of each palette around its maximum, in one λ or two."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.palettes.sweeps.bases import Bases, bases

BEYOND = 2.0
"""Where an axis ends, in λ of the solution."""


def compute(
    pool: pd.DataFrame,
    palettes: Mapping[str, Mapping[str, Any]],
    *,
    steps: int,
) -> pd.DataFrame:
    """The dual on a grid over the values that weigh most in each solved palette, on `fit`.

    The grid is over the two values of largest λ (in 1 / standard deviations), over one where the
    palette gives only one a weight; the λ of the others stay those of the solution.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: palette → its solved record.
        steps: intervals of an axis, which goes from 0 to twice the solution.

    Returns:
        One row per palette and point of its grid: `palette`; `across` and `up`, the values (`up`
        is empty over one); `across_lam`, `up_lam` (1 / the reward's unit; 0 over one); `dual`
        (nats); `best`, the dual of the solution.

    Raises:
        InputError: if no palette has a solution with a weight above 0.
    """
    tables = []
    for name, record in palettes.items():
        if record["status"] == "solved" and any(weight > 0 for weight in record["lam"]):
            part = bases(pool, record["values"], record["scope"])
            tables.append(_grid(part, record, steps).assign(palette=name))
    if not tables:
        raise InputError(
            "the dual is drawn around the λ of a palette; the study has no palette with a λ above "
            "0: add one, or leave the figure out of `plots`"
        )
    return pd.concat(tables, ignore_index=True)


def _grid(part: Bases, record: Mapping[str, Any], steps: int) -> pd.DataFrame:
    lam = np.array(record["lam"]) * part.scale
    first, *second = [i for i in np.argsort(-lam, kind="stable") if lam[i] > 0][:2]
    axis = np.linspace(0.0, BEYOND, steps + 1)
    points = np.repeat(lam[None], len(axis) ** (1 + len(second)), axis=0)
    grid = np.meshgrid(*[axis * lam[i] for i in (first, *second)], indexing="ij")
    for i, along in zip((first, *second), grid, strict=True):
        points[:, i] = along.ravel()
    goal = part.fit.standardise((np.array(record["target"]) - part.center) / part.scale)
    raw = part.raw_lam(points)
    return pd.DataFrame(
        {
            "across": part.values[first],
            "up": part.values[second[0]] if second else "",
            "across_lam": raw[:, first],
            "up_lam": raw[:, second[0]] if second else 0.0,
            "dual": _dual(part, points, goal),
            "best": _dual(part, lam[None], goal)[0],
        }
    )


def _dual(part: Bases, lam: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Dual (m,) in nats at λ (m, k) in 1 / standard deviations; `goal` is in the units of `fit`."""
    scaled = lam * part.fit.scale
    return np.asarray(scaled @ goal - part.fit.tilts(scaled).log_z)
