"""Human win rates, against counts by hand and Wilson's closed form."""

import math

import pandas as pd
import pytest

from polyalign.evaluate.human import human_winrate


def votes(*rows: tuple[str, str, str, str, str]) -> pd.DataFrame:
    names = ["first_policy", "second_policy", "vote", "prompt", "conditions"]
    return pd.DataFrame(rows, columns=names)


def test_wins_ties_and_order() -> None:
    found = human_winrate(
        votes(
            ("base/base", "a/x", "second", "p", ""),
            ("base/base", "a/x", "first", "p", ""),
            ("a/x", "base/base", "first", "q", ""),
            ("a/x", "base/base", "tie", "r", ""),
            ("a/x", "base/base", "tie", "s", ""),
        )
    )
    (row,) = found.to_dict("records")
    assert (row["policy"], row["opponent"]) == ("a/x", "base/base")
    assert row["winrate"] == pytest.approx((1 + 0 + 1 + 0.5 + 0.5) / 5)
    assert row["ties"] == pytest.approx(2 / 5)
    assert (row["n_votes"], row["n_prompts"]) == (5, 4)
    assert row["shown_first"] == pytest.approx(3 / 5)


def test_the_interval_is_wilsons() -> None:
    """Both ends solve (share - p)² = z² p (1 - p) / n."""
    rows = [("a/x", "base/base", "first" if i < 7 else "second", "p", "") for i in range(10)]
    (row,) = human_winrate(votes(*rows)).to_dict("records")
    for end in (row["low"], row["high"]):
        assert abs(0.7 - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / 10), abs=1e-6)
    assert row["low"] < 0.7 < row["high"]


def test_policies_opponents_and_conditions_are_apart() -> None:
    found = human_winrate(
        votes(
            ("z/base", "base/base", "first", "p", ""),
            ("z/base", "base/base", "second", "p", "temperature 0.5"),
            ("b/y", "a/x", "first", "p", ""),
            ("a/x", "b/y", "first", "p", ""),
            ("a/x", "b/y", "second", "p", ""),
            ("a/x", "a/x", "first", "p", ""),
        )
    )
    assert found[["policy", "opponent", "conditions", "winrate"]].to_numpy().tolist() == [
        ["b/y", "a/x", "", pytest.approx(2 / 3)],
        ["z/base", "base/base", "", 1.0],
        ["z/base", "base/base", "temperature 0.5", 0.0],
    ]
