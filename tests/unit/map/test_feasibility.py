"""Feasibility against brute force: the whole linear programme, and hulls of small tables."""

import itertools

import numpy as np
import pytest
from mapdata import skewed, whole_programme

from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.feasibility import feasibility_on, furthest_of_value, furthest_on_segment


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_slack_is_that_of_the_whole_programme(seed, scope):
    rewards, groups = skewed(12, 6, 4, seed)
    base = Base(rewards, groups, scope)
    target = base.raw(np.random.default_rng(seed).uniform(-0.5, 1.2, 4))
    within = groups if scope == "prompt" else np.zeros(72, dtype=int)
    shares = np.full(12, 1 / 12) if scope == "prompt" else np.ones(1)
    exact = whole_programme(rewards, within, target, base.scale, shares)
    answer = feasibility_on(base, target, list("abcd"))
    assert answer.slack == pytest.approx(exact, abs=1e-7)
    assert answer.status == ("feasible" if exact >= 0 else "infeasible")
    assert (answer.reached >= target + answer.slack * base.scale - 1e-7).all()
    # The prices prove that nobody does better: no deterministic policy is worth more.
    assert answer.prices.sum() == pytest.approx(1.0)
    assert 0 <= answer.gap < 1e-8


def test_slack_by_enumeration_of_all_deterministic_policies():
    rewards, groups = skewed(4, 3, 1, 3)
    best = max(
        np.mean([rewards[3 * x + j, 0] for x, j in enumerate(choice)])
        for choice in itertools.product(range(3), repeat=4)
    )
    base = Base(rewards, groups, "prompt")
    answer = feasibility_on(base, np.array([0.0]), ["a"])
    assert answer.slack * rewards.std() == pytest.approx(best)
    assert furthest_of_value(base, np.zeros(1), 0) == pytest.approx(best)


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_furthest_points_are_those_of_the_whole_programme(scope):
    rewards, groups = skewed(10, 6, 3, 1)
    base = Base(rewards, groups, scope)
    within = groups if scope == "prompt" else np.zeros(60, dtype=int)
    shares = np.full(10, 0.1) if scope == "prompt" else np.ones(1)
    target = base.raw(np.array([2.0, 1.5, -0.3]))
    share = furthest_on_segment(base, target)
    exact = whole_programme(rewards, within, base.center, target - base.center, shares)
    assert share == pytest.approx(exact, abs=1e-7)
    held = base.raw(np.array([0.1, 0.2, 0.0]))
    unit = np.array([0.0, 0.0, 1.0])
    exact = whole_programme(rewards, within, held * [1, 1, 0], unit, shares)
    assert furthest_of_value(base, held, 2) == pytest.approx(exact, abs=1e-6)


def test_segment_that_nothing_binds_is_endless_and_held_values_must_be_feasible():
    rewards, groups = skewed(10, 6, 2)
    base = Base(rewards, groups, "prompt")
    assert furthest_on_segment(base, base.center - 1.0) == np.inf
    with pytest.raises(InputError, match="infeasible already"):
        furthest_of_value(base, base.raw(np.array([99.0, 0.0])), 1)


@pytest.mark.parametrize("above", [1e-18, 1e-15, 1e-12])
@pytest.mark.parametrize("target", [[0.0], [0.0, -0.5], [0.0, 0.0]])
def test_a_segment_of_rounding_alone_is_endless(target, above):
    """The mean of a table, computed twice, differs in its last digits."""
    k = len(target)
    base = Base(*skewed(12, 6, k, 0), "prompt")
    goal = np.array(target)
    goal[0] = above
    assert furthest_on_segment(base, base.center + goal * base.scale) == np.inf


def test_two_values_that_exclude_each_other_by_hand():
    # The hull of (1, 0) and (0, 1) is a + b = 1; both levels and units are 1/2.
    base = Base(np.eye(2), None, "joint")
    answer = feasibility_on(base, np.array([0.8, 0.6]), ["a", "b"])
    assert answer.slack == pytest.approx(-0.4)  # 0.2 short in each, in units of 1/2
    assert (answer.status, answer.scope) == ("infeasible", "joint")
    assert answer.conflict == ["a", "b"]
    np.testing.assert_allclose(answer.prices, 0.5)
    np.testing.assert_allclose(answer.reached, [0.6, 0.4])
    assert furthest_on_segment(base, np.array([0.9, 0.1])) == pytest.approx(1.25)
    assert furthest_of_value(base, np.array([0.3, 99.0]), 1) == pytest.approx(0.7)
    one = feasibility_on(base, np.array([1.1, -5.0]), ["a", "b"])
    assert one.conflict == ["a"]
    np.testing.assert_allclose(one.prices, [1.0, 0.0], atol=1e-9)


def test_the_edge_itself_is_feasible_and_a_hair_beyond_is_not():
    base = Base(np.eye(2), None, "joint")
    for beyond, status in ((0.0, "feasible"), (1e-9, "feasible"), (1e-7, "infeasible")):
        target = np.array([0.7, 0.3]) + beyond
        assert feasibility_on(base, target, ["a", "b"]).status == status
    assert furthest_of_value(base, np.array([1.0 + 1e-9, 0.0]), 1) == pytest.approx(0.0, abs=1e-7)
