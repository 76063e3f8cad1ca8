import numpy as np
import pandas as pd
import pytest

from polyalign.errors import InputError
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


def test_the_hypervolume_is_measured_on_one_half_and_resampled_there() -> None:
    """Two policies, each the better one on one half of the prompts: the other half measures it."""
    draws = np.random.default_rng(5)
    first, second = draws.uniform(1, 3, size=(2, 2, 9))
    first[:, ::2] += 5
    second[:, 1::2] += 4
    frames = {
        "base/base": frame([0.0] * 9, [0.0] * 9),
        "dpo/even": frame(*first.tolist()),
        "dpo/odd": frame(*second.tolist()),
    }
    unit = {"humor": 2.0, "helpful": 0.5}
    options = OPTIONS | {"scale": unit, "bootstrap": 40, "seed": 7}
    row = families(frames, ["humor", "helpful"], **options).iloc[1]
    even, odd = np.arange(0, 9, 2), np.arange(1, 9, 2)
    # Chosen on the even prompts: `even`, measured on the odd ones; and the other way round.
    chosen = ((first, odd, 7), (second, even, 8))
    volume = sum(np.prod(levels[:, rows].mean(axis=1)) for levels, rows, _ in chosen) / 2
    assert row["hypervolume"] == pytest.approx(volume)
    again = np.zeros(40)
    for levels, rows, seed in chosen:
        drawn = rows[np.random.default_rng(seed).integers(len(rows), size=(40, len(rows)))]
        again += levels[:, drawn].mean(axis=2).prod(axis=0) / 2
    low, high = np.percentile(again, [2.5, 97.5])
    assert row["hypervolume_low"] == pytest.approx(low)
    assert row["hypervolume_high"] == pytest.approx(high)
    assert row["front"] == "even"  # by all prompts, of which one more is even


def test_efficiencies_are_resampled_with_the_same_prompts_for_all() -> None:
    draws = np.random.default_rng(6)
    frames = {"base/base": frame(draws.normal(size=8).tolist(), draws.normal(size=8).tolist())}
    for i in range(5):
        frames[f"dpo/{i}"] = frame(*draws.normal(0.1, 1.0, size=(2, 8)).tolist())
    options = OPTIONS | {"bootstrap": 60, "seed": 3, "slack": 0.1}
    row = families(frames, ["humor", "helpful"], **options).iloc[1]
    names = ["humor", "helpful"]
    base = frames["base/base"][names].to_numpy()
    tables = [one[names].to_numpy() for name, one in frames.items() if name != "base/base"]
    drawn = np.random.default_rng(3).integers(8, size=(60, 8))
    rates = [[np.mean(ours[rows] > base[rows], axis=0) for rows in drawn] for ours in tables]
    shares = (np.array(rates) >= 0.4 - 1e-9).all(axis=2).mean(axis=0)
    floor = [base[rows].mean(axis=0) - 0.1 * base.std(axis=0) for rows in drawn]
    levels = [[ours[rows].mean(axis=0) for rows in drawn] for ours in tables]
    by_levels = (np.array(levels) >= np.array(floor)).all(axis=2).mean(axis=0)
    for found, name in ((shares, ""), (by_levels, "level_")):
        ordered = np.sort(found)  # of 60 the 2nd and the 59th: ceil(0.025 * 60), ceil(0.975 * 60)
        assert row[f"{name}low"] == pytest.approx(ordered[1])
        assert row[f"{name}high"] == pytest.approx(ordered[58])
    assert row["level_low"] < row["level_high"]


def test_two_prompts_are_needed_and_suffice() -> None:
    frames = {"base/base": frame([0.0], [0.0])}
    with pytest.raises(InputError, match="there is 1 test prompt"):
        families(frames, ["humor"], **OPTIONS)
    two = families({"base/base": frame([0.0, 1.0], [0.0, 0.0])}, ["humor"], **OPTIONS)
    assert two["policies"].tolist() == [1]
