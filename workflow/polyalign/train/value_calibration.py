"""Calibration of soft values on held-out prompts: predicted against realised, by position."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of a response that are read; 0 stands for its first token."""

COLUMNS = ["position", "responses", "predicted", "realised"]

GROUPS = 5
"""Groups of unfinished responses at each position, from the lowest prediction to the highest."""


def calibration(grown: Sequence[np.ndarray], realised: np.ndarray) -> list[dict[str, Any]]:
    """What was predicted of unfinished responses, and what became of them.

    After part y of a response the model predicts exp(V(x, y, λ) − V(x, λ)), the mean of
    exp(λ·r − V(x, λ)) over all ways to end it. The responses were drawn from p0, so among those of
    one prediction that mean must be the realised one.

    Args:
        grown: for each of n responses V(x, y, λ) − V(x, λ) after each of its tokens (nats).
        realised: exp(λ·r) of each over its mean among the candidates of its prompt, (n,).

    Returns:
        One row per position and group: `position` (share of the response), `responses` (their
        number), `predicted` and `realised`: logs of the two means, in nats.
    """
    kept = [number for number, ahead in enumerate(grown) if len(ahead)]
    rows = []
    for position in POSITIONS:
        foretold = np.array(
            [
                grown[number][max(0, int(np.ceil(position * len(grown[number]))) - 1)]
                for number in kept
            ]
        )
        order = np.argsort(foretold, kind="stable")
        for group in np.array_split(order, GROUPS):
            if len(group):
                rows.append(
                    {
                        "position": position,
                        "responses": len(group),
                        "predicted": float(np.log(np.exp(foretold[group]).mean())),
                        "realised": float(np.log(realised[kept][group].mean())),
                    }
                )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows of `calibration` as a table, maybe without any."""
    return pd.DataFrame(rows, columns=COLUMNS)
