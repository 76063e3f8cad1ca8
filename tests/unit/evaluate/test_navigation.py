import numpy as np
import pandas as pd
import pytest

from polyalign.evaluate.navigation import families, navigable, undominated

OPTIONS = {
    "opponent": "base/base",
    "slack": 0.0,
    "reference": {},
    "scale": {},
    "bootstrap": 200,
    "seed": 1,
}


def frame(humor: list[float], helpful: list[float]) -> pd.DataFrame:
    names = [f"p{i}" for i in range(len(humor))]
    table = {"prompt_id": names, "humor": humor, "helpful": helpful}
    return pd.DataFrame(table).assign(split="test", candidate=0)


BASE = frame([0.0] * 4, [0.0] * 4)


def test_efficiency_by_hand() -> None:
    frames = {
        "base/base": BASE,
        "dpo/both": frame([1.0] * 4, [1.0] * 4),
        "dpo/one": frame([1.0] * 4, [-1.0] * 4),
        "dpo/even": frame([1.0, 1.0, -1.0, -1.0], [0.0] * 4),  # 0.5 in both values
    }
    options = OPTIONS | {"scale": {"humor": 1.0, "helpful": 1.0}}
    base, row = families(frames, ["humor", "helpful"], **options).to_dict("records")
    assert (base["family"], base["efficiency"], base["hypervolume"]) == ("base", 1.0, 0.0)
    assert (row["policies"], row["navigable"]) == (3, 2)
    assert row["efficiency"] == pytest.approx(2 / 3)
    # Resampled prompts put `even` below or above one half; the other two never move.
    assert (row["low"], row["high"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert row["wilson_low"] == pytest.approx(0.2077, abs=1e-4)
    assert row["wilson_high"] == pytest.approx(0.9385, abs=1e-4)
    # The front is `both`, one unit in each value, on both halves of the prompts.
    assert row["front"] == "both"
    assert row["hypervolume"] == pytest.approx(1.0)


def test_slack_is_a_band_below_one_half() -> None:
    rates = np.array([[0.5, 0.5], [0.47, 0.9], [0.469, 0.9], [0.44, 0.44]])
    assert navigable(rates, 0.0).tolist() == [True, False, False, False]
    assert navigable(rates, 0.03).tolist() == [True, True, False, False]
    assert navigable(rates, 0.06).tolist() == [True, True, True, True]


def test_efficiency_of_levels_by_hand() -> None:
    base = frame([0.0, 2.0, 0.0, 2.0], [5.0, 1.0, 5.0, 1.0])  # mean 1 and 3, sd 1 and 2
    frames = {
        "base/base": base,
        "dpo/up": frame([2.0] * 4, [3.0] * 4),
        "dpo/within": frame([0.75] * 4, [2.5] * 4),  # a quarter of a standard deviation below
        "dpo/below": frame([2.0] * 4, [2.49] * 4),
    }
    table = families(frames, ["humor", "helpful"], **(OPTIONS | {"slack": 0.25}))
    assert table["level_efficiency"].tolist() == pytest.approx([1.0, 2 / 3])
    assert table.loc[1, ["humor_band", "helpful_band"]].tolist() == [0.25, 0.5]
    # Resamples of the base model alone move: none may leave one policy or all three navigable.
    assert 0 <= table["level_low"][1] <= 2 / 3 <= table["level_high"][1] <= 1
    assert table["level_low"][1] < table["level_high"][1]
    none = families(frames, ["humor", "helpful"], **OPTIONS)
    assert none["level_efficiency"][1] == pytest.approx(1 / 3)


def test_hypervolume_of_two_policies_by_hand() -> None:
    frames = {
        "base/base": BASE,
        "soup/a": frame([2.0] * 4, [1.0] * 4),
        "soup/b": frame([1.0] * 4, [3.0] * 4),
        "soup/under": frame([1.0] * 4, [1.0] * 4),
    }
    options = OPTIONS | {"reference": {"humor": -1.0}, "scale": {"humor": 2.0, "helpful": 1.0}}
    _, row = families(frames, ["humor", "helpful"], **options).to_dict("records")
    # Boxes from (-1, 0): 1.5 × 1 and 1 × 3, of which 1 × 1 is shared.
    assert row["hypervolume"] == pytest.approx(1.5 + 3.0 - 1.0)
    assert row["front"] == "a b"
    assert row["hypervolume_low"] == pytest.approx(3.5)


def test_the_front_is_measured_where_it_was_not_chosen() -> None:
    """Many policies without any gain: the best by luck is worth nothing on the other half."""
    draws = np.random.default_rng(1)
    prompts = 60
    frames = {"base/base": frame([0.0] * prompts, [0.0] * prompts)}
    for i in range(40):
        frames[f"dpo/{i}"] = frame(*draws.normal(size=(2, prompts)).tolist())
    options = OPTIONS | {"scale": {"humor": 1.0, "helpful": 1.0}, "bootstrap": 5}
    honest = families(frames, ["humor", "helpful"], **options)["hypervolume"][1]
    levels = np.array([one[["humor", "helpful"]].mean() for one in frames.values()])
    lucky = levels[levels.min(axis=1).argmax()].prod()
    assert honest < lucky


def test_default_reference_and_unit_are_the_base_models() -> None:
    base = frame([0.0, 2.0, 0.0, 2.0], [5.0, 1.0, 5.0, 1.0])  # mean 1 and 3, sd 1 and 2
    ours = frame([2.0] * 4, [5.0] * 4)
    table = families({"base/base": base, "dpo/a": ours}, ["humor", "helpful"], **OPTIONS)
    assert table["hypervolume"][1] == pytest.approx(1.0)


def test_undominated_points() -> None:
    points = np.array([[1, 1], [2, 0], [0, 2], [1, 0], [1, 1]])
    assert undominated(points) == [0, 1, 2, 4]
