"""Calibration of a model's preferences on held-out preference pairs."""

from typing import Any

import numpy as np

BINS = 10


def held_out(margins: np.ndarray) -> dict[str, Any]:
    """`held_out` (see `calibration`) and `reliability`, as a model's record keeps them."""
    return {"held_out": calibration(margins), "reliability": reliability(margins)}


def calibration(margins: np.ndarray) -> dict[str, float]:
    """How well sigmoid(margin) predicts that the chosen response is preferred.

    Args:
        margins: (n,), reward of the chosen minus reward of the rejected response, in nats.

    Returns:
        `pairs` (n), `accuracy` (share of margins above 0, ties count half), `brier` (mean (1 − p)²;
        0.25 for a model that knows nothing), `log_loss` (mean −log p, nats; log 2 for such a
        model), and `calibration_error`: over the bins of `reliability`, the mean absolute
        difference between the predicted and the observed share, weighted by the number of pairs.
    """
    p = 1 / (1 + np.exp(-margins))
    bins = reliability(margins)
    gaps = [row["pairs"] * abs(row["foretold"] - row["right"]) for row in bins]
    return {
        "pairs": len(margins),
        "accuracy": float(_right(margins).mean()),
        "brier": float(((1 - p) ** 2).mean()),
        "log_loss": float(np.logaddexp(0, -margins).mean()),
        "calibration_error": float(sum(gaps) / len(margins)),
    }


def reliability(margins: np.ndarray) -> list[dict[str, float]]:
    """The reliability diagram (Murphy and Winkler 1977) as a table: one row per bin with pairs.

    The bins are ten equal parts of [0.5, 1], the probability p = sigmoid(|margin|) that the model
    gives to the response which it prefers.

    Args:
        margins: as in `calibration`.

    Returns:
        Rows of `pairs` (their number), `foretold` (mean p) and `right` (the share of pairs in which
        the preferred response is the chosen one, ties half).
    """
    sure = 1 / (1 + np.exp(-np.abs(margins)))
    places = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    right = _right(margins)
    return [
        {
            "pairs": int(inside.sum()),
            "foretold": float(sure[inside].mean()),
            "right": float(right[inside].mean()),
        }
        for inside in (places == place for place in range(BINS))
        if inside.any()
    ]


def _right(margins: np.ndarray) -> np.ndarray:
    return (margins > 0) + 0.5 * (margins == 0)
