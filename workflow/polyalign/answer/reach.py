"""How far a λ is beyond those that the study's value model was trained on."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from polyalign.data.tables import read_table
from polyalign.errors import InputError
from polyalign.families import POOL
from polyalign.palettes.solve import fit_rows
from polyalign.paths import Paths
from polyalign.study import Study

FAR = 2.0
"""Beyond so many times the trained strength a λ is refused: answers become nonsense there."""


def check_reach(study: Study, name: str, lam: Mapping[str, float], strength: float) -> None:
    """Refuse a λ far beyond those that the value model knows.

    The strength of λ is the standard deviation of λ·r within a prompt, in nats, on the candidates
    that the model was trained on. Where a study was copied without them, nothing is refused.

    Args:
        study: the study.
        name: what is asked, for the message.
        lam: value → weight.
        strength: `policies.value-d.strength`.

    Raises:
        InputError: if λ is more than `FAR` times as strong.
    """
    path = Path(Paths(study.study).rewards(POOL))
    if not path.is_file():
        return
    values, covariance = _within(path, path.stat().st_mtime_ns, tuple(study.learnt_values))
    weights = np.array([lam.get(value, 0.0) for value in values])
    asked = float(np.sqrt(weights @ covariance @ weights))
    if asked > FAR * strength:
        raise InputError(
            f"{name}: λ·r has a standard deviation of {asked:.3g} nats within a prompt, and the "
            f"value model was trained up to {strength:g} (policies.value-d.strength); expected at "
            f"most {FAR:g} times as much: multiply λ by {FAR * strength / asked:.2g} or less, "
            "choose among candidates, or train with a larger strength"
        )


@lru_cache(maxsize=8)
def _within(
    path: Path, changed: int, values: tuple[str, ...]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Mean covariance (k, k) of the rewards within a prompt, of the rows that λ is fitted on."""
    rows = fit_rows(read_table(path))
    covariance = rows.groupby("prompt_id")[list(values)].cov().groupby(level=1, sort=False).mean()
    return values, covariance.loc[list(values)].to_numpy(dtype=np.float64)
