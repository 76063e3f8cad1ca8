"""What is said of a model's preferences on held-out pairs, against known probabilities."""

import math

import numpy as np
import pytest

from polyalign.train.calibration import calibration, reliability


@pytest.mark.parametrize("seed", range(3))
def test_calibration_knows_an_honest_model_from_a_boastful_one(seed):
    rng = np.random.default_rng(seed)
    margins = rng.normal(0, 2, 20000)
    won = rng.random(20000) < 1 / (1 + np.exp(-margins))
    honest = calibration(np.where(won, margins, -margins))
    boastful = calibration(np.where(won, 4 * margins, -4 * margins))
    assert honest["calibration_error"] < 0.02
    assert boastful["calibration_error"] > 0.08
    assert honest["accuracy"] == boastful["accuracy"]
    assert honest["log_loss"] < boastful["log_loss"]
    assert honest["brier"] < boastful["brier"]


def test_calibration_of_a_model_that_knows_nothing():
    known = calibration(np.zeros(10))
    assert known == pytest.approx(
        {"pairs": 10, "accuracy": 0.5, "brier": 0.25, "log_loss": math.log(2),
         "calibration_error": 0.0}
    )  # fmt: skip


def test_reliability_by_hand():
    """Two pairs foretold at 0.6 (one right), two near 0.92, both right."""
    margins = np.log([0.6 / 0.4, 0.4 / 0.6, 0.92 / 0.08, 0.93 / 0.07])
    first, second = reliability(margins)
    assert first == pytest.approx({"pairs": 2, "foretold": 0.6, "right": 0.5})
    assert second == pytest.approx({"pairs": 2, "foretold": 0.925, "right": 1.0})
    assert calibration(margins)["calibration_error"] == pytest.approx((2 * 0.1 + 2 * 0.075) / 4)


def test_reliability_of_ties_and_of_certainty():
    rows = reliability(np.array([0.0, 50.0]))
    assert [row["pairs"] for row in rows] == [1, 1]
    assert [row["right"] for row in rows] == [0.5, 1.0]
