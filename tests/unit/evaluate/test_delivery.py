import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from polyalign.evaluate.delivery import Asked, asked_levels, counts, heavy_rows, in_sd_text, outcome
from polyalign.evaluate.levels import levels
from polyalign.palettes.record import Diagnosis, Palette

ONE = Asked(
    policy="rloo/both",
    palette="both",
    value="humor",
    level="q60",
    raised=True,
    asked=2.0,
    base=1.0,
    base_se=0.1,
    sd=2.0,
    realised=1.8,
    low=1.6,
    high=2.0,
    se=0.1,
    exact=False,
)
PALETTE = Palette(
    name="both",
    levels={"humor": "q60", "helpful": "mean"},
    asked={"humor": 2.0, "helpful": 0.5},
    lam={},
    lam_train={},
    predicted={},
    verdict="supported",
    solved=True,
    proof="",
    message="",
    scope="prompt",
    reached=1.0,
    kl=0.1,
    ess=9.0,
    diagnosis=Diagnosis([], {}, {}, 0.0, 0.0, 0.0, {}),
)


def table(**columns: Any) -> pd.DataFrame:
    known = {
        "mean": [1.0, 0.5],
        "se": [0.1, 0.05],
        "low": [0.8, 0.4],
        "high": [1.2, 0.6],
        "sd": [2.0, 0.5],
        "expected": math.nan,
        "expected_se": math.nan,
        "heaviest": 0.1,
        "heaviest_reward": 3.0,
        "n_samples": 40,
    }
    return pd.DataFrame(known | columns, index=["humor", "helpful"])


@pytest.mark.parametrize(
    ("realised", "high", "verdict"),
    [
        (2.1, 2.3, "reached"),
        (2.0, 2.2, "reached"),
        (1.99, 2.0, "undecided"),
        (1.9, 1.999, "missed"),
        # A wide interval is no success: it is undecided however high it goes.
        (-9.0, 99.0, "undecided"),
    ],
)
def test_the_three_classes(realised: float, high: float, verdict: str) -> None:
    assert replace(ONE, realised=realised, high=high).verdict == verdict


def test_gains_are_in_standard_deviations_of_the_base() -> None:
    assert ONE.gain == 0.5
    assert ONE.in_sd(1.8) == pytest.approx(0.4)
    assert in_sd_text(-0.257) == "−0.26"
    assert in_sd_text(0.5) == "+0.50"
    assert in_sd_text(math.nan) == "–"


@pytest.mark.parametrize("true", [0.8, 0.0])
def test_a_share_has_the_interval_that_covers_it(true: float) -> None:
    """In many draws of both levels the interval covers the true share 95 times of 100."""
    draws = np.random.default_rng(1)
    covered, n = 0, 4000
    for _ in range(n):
        one = replace(
            ONE,
            asked=5.0,
            base=1.0 + 0.3 * draws.normal(),
            base_se=0.3,
            realised=1.0 + 4 * true + 0.3 * draws.normal(),
            se=0.3,
        )
        share, low, high = one.share
        assert low < share < high
        covered += low <= true <= high
    assert covered / n == pytest.approx(0.95, abs=0.012)


def test_a_share_that_says_nothing_is_left_out() -> None:
    assert ONE.share[0] == pytest.approx(0.8)
    for vague in (
        replace(ONE, asked=1.2),  # within two standard errors of the base level
        replace(ONE, se=0.4),  # wider than the asked gain
        replace(ONE, se=math.nan),
    ):
        assert np.isnan(vague.share).all()


def test_levels_that_are_asked_stand_by_palette_and_use_what_is_known_exactly() -> None:
    tables = {
        "base/base": table(),
        "map-d/both": table(mean=[9.0, 9.0], expected=[2.1, 0.45], expected_se=[0.1, 0.01]),
        "dpo/x": table(),
        "rloo/both": table(mean=[1.8, 0.5], low=[1.6, 0.4], high=[1.9, 0.6]),
    }
    policies = {"base/base": None, "map-d/both": "both", "dpo/x": None, "rloo/both": "both"}
    found = asked_levels(tables, {"both": PALETTE}, policies)
    told = [(one.policy, one.value, one.raised, one.exact, one.verdict) for one in found]
    assert told == [
        ("map-d/both", "humor", True, True, "reached"),
        ("map-d/both", "helpful", False, True, "missed"),
        ("rloo/both", "humor", True, False, "missed"),
        ("rloo/both", "helpful", False, False, "reached"),
    ]
    exact = found[0]
    assert exact.realised == 2.1
    assert (exact.low, exact.high) == pytest.approx((2.1 - 0.196, 2.1 + 0.196), abs=1e-4)
    assert counts(found, "raised") == {"reached": 1, "undecided": 0, "missed": 1}
    assert outcome(found) == (
        "Raised levels: 1 of 2 reached, 0 undecided, 1 missed. "
        "Levels to maintain: 1 of 2 reached, 0 undecided, 1 missed."
    )
    assert outcome([]) == ""


def test_one_answer_that_decides_a_level_is_named() -> None:
    rewards = [0.0, 0.1, -0.1, 0.05, -0.05, 0.0, -18.5, 0.1]
    frame = pd.DataFrame(
        {
            "prompt_id": list("aabbccdd"),
            "response": ["x", "y", " ", "z", "x", "x", "", "x"],
            "split": "test",
            "fluency": rewards,
            "steady": 1.0,
        }
    )
    made = levels(frame, ["fluency", "steady"], frame, bootstrap=10, seed=1).set_index("value")
    spread = (np.array(rewards) - np.mean(rewards)) ** 2
    assert made["heaviest"]["fluency"] == pytest.approx(spread[6] / spread.sum())
    assert made["heaviest_reward"]["fluency"] == -18.5
    assert made["sd"].tolist() == pytest.approx([np.std(rewards), 0.0])
    assert math.isnan(made["heaviest"]["steady"])
    assert set(made["n_empty"]) == {2}
    (said,) = heavy_rows({"rloo/x": made}, {"steady": "Steady", "fluency": "Fluency"})
    assert said.startswith("Fluency of rloo/x: one answer of 8 carries ")
    assert "its reward is −18.5" in said
    assert heavy_rows({"rloo/x": made.assign(heaviest=0.25)}, {"fluency": "Fluency"}) == []


CEILING = replace(ONE, level="<= q40", raised=False, asked=0.5, ceiling=0.5, floored=False)
BAND = replace(ONE, level="between mean and q60", raised=False, asked=1.0, ceiling=1.5)


@pytest.mark.parametrize(
    ("one", "realised", "low", "high", "verdict"),
    [
        (CEILING, 0.5, 0.3, 0.7, "reached"),
        (CEILING, -9.0, -9.5, -8.5, "reached"),
        (CEILING, 0.6, 0.4, 0.8, "undecided"),
        (CEILING, 0.8, 0.6, 1.0, "missed"),
        (BAND, 1.2, 0.9, 1.6, "reached"),
        (BAND, 0.9, 0.8, 1.0, "undecided"),
        (BAND, 0.9, 0.8, 0.95, "missed"),
        (BAND, 1.6, 1.4, 1.8, "undecided"),
        (BAND, 1.7, 1.6, 1.8, "missed"),
    ],
)
def test_an_exceeded_ceiling_is_a_miss(
    one: Asked, realised: float, low: float, high: float, verdict: str
) -> None:
    assert replace(one, realised=realised, low=low, high=high).verdict == verdict


def test_ceilings_are_told_as_ceilings() -> None:
    over = replace(CEILING, realised=0.8, low=0.6, high=1.0)
    assert (over.kind, over.asked_text) == ("capped", "≤ −0.25")
    assert over.excess == pytest.approx(0.15)
    assert ONE.excess == pytest.approx(-0.1)
    assert BAND.asked_text == "+0.00 to +0.25"
    assert np.isnan(replace(CEILING, asked=5.0).share).all()
    assert outcome([ONE, over, BAND]) == (
        "Raised levels: 0 of 1 reached, 1 undecided, 0 missed. "
        "Ceilings: 0 of 2 reached, 0 undecided, 2 missed."
    )


def test_ceilings_and_bands_of_a_palette_reach_the_levels() -> None:
    palette = replace(
        PALETTE,
        levels={"humor": "<= q40", "helpful": "between mean and q60"},
        asked={"humor": 0.5, "helpful": 0.5},
        ceilings={"humor": 0.5, "helpful": 0.7},
    )
    tables = {"base/base": table(), "dpo/both": table(mean=[0.6, 0.6], low=[0.55, 0.5])}
    humor, helpful = asked_levels(tables, {"both": palette}, {"dpo/both": "both"})
    assert (humor.floor, humor.ceiling, humor.verdict) == (-math.inf, 0.5, "missed")
    assert (helpful.floor, helpful.ceiling, helpful.verdict) == (0.5, 0.7, "reached")
    assert palette.raised == []
    assert palette.floors == {"helpful": 0.5}
