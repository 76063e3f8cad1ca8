"""The grammar of levels."""

import re

import numpy as np
import pytest
from mapdata import skewed

from polyalign.errors import InputError
from polyalign.map.palette import check_level, parse_target, weighted_quantile


@pytest.mark.parametrize(
    "level",
    [
        "1",
        "-1.5e-2",
        ".5",
        3,
        0.2,
        "q80",
        "q99.5",
        "mean",
        "mean+0.5sd",
        "mean-0.2sd",
        "+10%",
        "-5%",
        "max",
        "max(q50, mean)",
        "max(q50,mean)",
    ],
)
def test_levels_of_the_grammar(level):
    check_level(level)


@pytest.mark.parametrize(
    "level",
    [
        "",
        "q101",
        "q-1",
        "q",
        "mean+sd",
        "mean0.5sd",
        "10%",
        "maximum",
        "max(q101, mean)",
        "max(q50, q60)",
        "max(q50)",
        "nan",
        "inf",
        "1e999",
        "Q80",
        True,
        None,
    ],
)
def test_other_levels_are_refused_with_the_grammar(level):
    with pytest.raises(InputError, match="expected a number, q80"):
        check_level(level)


@pytest.mark.parametrize(
    ("level", "meant"),
    [("q0.7", "q70"), ("q.95", "q95"), ("q0.999", "q99.9"), ("max(q0.5, mean)", "q50")],
)
def test_a_fraction_is_asked_back(level, meant):
    """`q0.7` would be the 0.7 % quantile, which nobody means."""
    with pytest.raises(InputError, match=f"'{re.escape(level)}' is a fraction; .* write {meant}$"):
        check_level(level)
    for fine in ("q0", "q1", "q1.5"):
        check_level(fine)


def test_what_levels_are_on_a_table():
    rewards = np.random.default_rng(0).normal(size=(101, 1)) * 2 + 1
    x = rewards[:, 0]
    spread = np.quantile(x, 0.95) - np.quantile(x, 0.05)
    expected = {
        "2.5": 2.5,
        "q80": np.quantile(x, 0.8),
        "mean": x.mean(),
        "mean-0.2sd": x.mean() - 0.2 * x.std(),
        "+10%": x.mean() + 0.1 * spread,
        "max": x.max(),
        "max(q80, mean)": np.quantile(x, 0.8),
        "max(q20, mean)": x.mean(),
    }
    for level, number in expected.items():
        assert parse_target({"a": level}, rewards, ["a"])[0] == pytest.approx(number)


def test_max_is_greedy_within_prompts_and_prompts_count_alike():
    rewards, groups = np.array([[0.0], [4.0], [1.0], [1.0], [3.0]]), np.array([0, 0, 1, 1, 1])
    prompt = parse_target({"a": "max"}, rewards, ["a"], groups, scope="prompt")
    assert prompt[0] == pytest.approx(3.5)
    assert parse_target({"a": "max"}, rewards, ["a"], groups, scope="joint")[0] == 4.0
    mean = parse_target({"a": "mean"}, rewards, ["a"], groups, scope="prompt")
    assert mean[0] == pytest.approx((2.0 + 5 / 3) / 2)


def test_quantile_ignores_weight_zero_and_equals_numpy_with_equal_weights():
    x = np.random.default_rng(1).normal(size=50)
    weights = np.r_[np.ones(30), np.zeros(20)]
    assert weighted_quantile(x, weights, 0.3) == pytest.approx(np.quantile(x[:30], 0.3))
    tilted = np.exp(x)
    low, high = (weighted_quantile(x, tilted, share) for share in (0.25, 0.75))
    assert np.quantile(x, 0.25) < low < high


def test_values_must_match_and_the_nearest_name_is_offered():
    rewards, _ = skewed(5, 2, 2)
    with pytest.raises(InputError, match="did you mean 'humor'"):
        parse_target({"humour": "mean"}, rewards, ["humor", "helpful"])
    with pytest.raises(InputError, match="no level for helpful"):
        parse_target({"humor": "mean"}, rewards, ["humor", "helpful"])


def test_quantile_of_unequal_weights_by_hand():
    # Positions (i - 1) w_i + (n - 1) sum of the weights before: 0, 2 + 2, 2 + 2 * 3.
    sample, weights = np.array([20.0, 0.0, 10.0]), np.array([1.0, 1.0, 2.0])
    found = [weighted_quantile(sample, weights, share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx([0.0, 5.0, 10.0, 15.0, 20.0])
    wider = weighted_quantile(np.append(sample, 99.0), np.append(weights, 0.0), 0.75)
    assert wider == pytest.approx(15.0)


def test_levels_of_weighted_samples_by_hand():
    rewards, weights = np.array([[20.0], [0.0], [10.0]]), np.array([1.0, 1.0, 2.0])
    groups = np.array([0, 1, 1])

    def level(text):
        return parse_target({"a": text}, rewards, ["a"], groups, weights, scope="joint")[0]

    assert level("q75") == pytest.approx(15.0)
    assert level("mean+1sd") == pytest.approx(10 + np.sqrt(50.0))
    # q5 and q95 are 1 and 19.
    assert level("-50%") == pytest.approx(10 - 0.5 * 18)
    weights[0] = 0.0
    assert level("max") == 10.0


def test_the_best_of_each_prompt_counts_by_prompt_and_may_be_negative():
    rewards, groups = np.array([[-4.0], [-2.0], [-9.0], [-7.0], [-8.0]]), np.array([0, 0, 2, 2, 2])
    found = parse_target({"a": "max"}, rewards, ["a"], groups, scope="prompt")
    assert found[0] == pytest.approx(-4.5)


def test_quantiles_from_none_to_all():
    rewards = np.array([[3.0], [1.0], [2.0]])
    for level, expected in (("q0", 1.0), ("q100", 3.0), ("q50", 2.0), ("mean+0sd", 2.0)):
        assert parse_target({"a": level}, rewards, ["a"])[0] == pytest.approx(expected)
