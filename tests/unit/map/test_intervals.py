"""Intervals against resamples made by hand, and against the influence of each prompt."""

import numpy as np
import pytest
from mapdata import skewed

from polyalign.map.base import Base
from polyalign.map.diagnostics import bootstrap_interval, delta_interval
from polyalign.map.dual import solve_on
from polyalign.map.palette import parse_target


def ragged(prompts, candidates, k, seed):
    """`skewed` without some of its candidates, in another order."""
    rewards, groups = skewed(prompts, candidates, k, seed)
    draws = np.random.default_rng(seed)
    kept = draws.permutation(np.flatnonzero(draws.random(len(groups)) < 0.7))
    return rewards[kept], groups[kept]


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_the_delta_method_is_the_influence_of_each_prompt(scope):
    """Its variance is the sum over prompts of (change per unit of the prompt's weight) squared."""
    rewards, groups = ragged(40, 8, 3, 5)
    base = Base(rewards, groups, scope)
    target = base.raw(np.array([0.1, 0.3, -2.0]))
    lam = solve_on(base, target, tolerance=1e-13).lam
    step, lams, levels = 1e-4, [], []
    for prompt in range(40):
        ends = []
        for sign in (1, -1):
            weights = np.ones(40)
            weights[prompt] += sign * step
            moved = Base(rewards, groups, scope, prompt_weights=weights)
            again = solve_on(moved, target, tolerance=1e-13, start=lam).lam
            ends.append((again, moved.raw(moved.moments(lam * moved.scale)[1])))
        lams.append((ends[0][0] - ends[1][0]) / (2 * step))
        levels.append((ends[0][1] - ends[1][1]) / (2 * step))
    found = delta_interval(base, lam, target)
    lam_se = np.sqrt(np.square(lams).sum(axis=0))
    level_se = np.sqrt(np.square(levels).sum(axis=0))
    np.testing.assert_allclose(found.lam_se, lam_se, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found.level_se, level_se, rtol=1e-4)
    assert found.lam_se[2] == 0.0
    realised = base.raw(base.moments(lam * base.scale)[1])
    half = 1.959964
    assert (lam - half * lam_se < 0).any()
    assert (lam - half * lam_se > 0).any()
    for ends, expected in (
        (found.lam_low, np.maximum(lam - half * lam_se, 0.0)),
        (found.lam_high, lam + half * lam_se),
        (found.level_low, realised - half * level_se),
        (found.level_high, realised + half * level_se),
    ):
        np.testing.assert_allclose(ends, expected, rtol=1e-4, atol=1e-6)
    assert found.solved == 1.0


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_the_bootstrap_is_that_of_copied_prompts(scope):
    """A prompt that is drawn twice is in the table twice, also for a quantile of the base."""
    rewards, groups = ragged(12, 9, 2, 6)
    names, levels = ["a", "b"], {"a": "q55", "b": "mean-2sd"}
    if scope == "joint":  # a quantile of weighted rows is not one of copied rows
        levels["a"] = "mean+0.2sd"
    base = Base(rewards, groups, scope)
    lam = solve_on(base, parse_target(levels, rewards, names, groups, scope=scope)).lam
    draws = np.random.default_rng(4)
    lams, realised = [], []
    for _ in range(25):
        rows = [np.flatnonzero(groups == prompt) for prompt in draws.choice(12, 12)]
        copies = np.repeat(np.arange(12), [len(one) for one in rows])
        table = rewards[np.concatenate(rows)]
        moved = Base(table, copies, scope)
        solution = solve_on(moved, parse_target(levels, table, names, copies, scope=scope))
        realised.append(moved.raw(moved.moments(lam * moved.scale)[1]))
        if solution.status == "solved":
            lams.append(solution.lam)
    found = bootstrap_interval(
        rewards, levels, names=names, groups=groups, scope=scope, resamples=25, seed=4
    )
    lams, realised = np.array(lams), np.array(realised)
    assert lams[:, 0].std() > 0
    for shown, sample in (
        ((found.lam_low, found.lam_high, found.lam_se), lams),
        ((found.level_low, found.level_high, found.level_se), realised),
    ):
        low, high = np.quantile(sample, [0.025, 0.975], axis=0)
        expected = (low, high, sample.std(axis=0, ddof=1))
        np.testing.assert_allclose(shown, expected, rtol=1e-5, atol=1e-7)
    assert found.solved == len(lams) / 25
    assert found.method == "bootstrap"


def test_a_joint_quantile_counts_a_prompt_as_often_as_it_is_drawn():
    """One candidate per prompt: the quantile is that of the drawn rows, weighted."""
    rewards = np.arange(7.0)[:, None] ** 2
    found = bootstrap_interval(
        rewards, {"a": "q60"}, names=["a"], groups=None, scope="joint", resamples=9, seed=2
    )
    draws = np.random.default_rng(2)
    lams = []
    for _ in range(9):
        times = np.bincount(draws.choice(7, 7), minlength=7).astype(float)
        seen = np.flatnonzero(times)
        weight = times[seen]
        before = np.cumsum(weight) - weight
        position = np.arange(seen.size) * weight + (seen.size - 1) * before
        level = np.interp(0.6 * position[-1], position, rewards[seen, 0])
        if weight.min() == weight.max():
            level = np.quantile(rewards[seen, 0], 0.6)
        solution = solve_on(Base(np.repeat(rewards, times.astype(int), 0), None, "joint"), [level])
        lams.append(solution.lam[0])
    np.testing.assert_allclose(found.lam_se[0], np.std(lams, ddof=1), rtol=1e-6)


def test_resamples_that_cannot_be_solved_are_counted():
    # The level is reached by the best of prompt 0 alone, which some resamples do not contain.
    rewards = np.array([[9.0], [0.0], [1.0], [0.0], [1.0], [0.0]])
    groups = np.array([0, 0, 1, 1, 2, 2])
    options = {"names": ["a"], "groups": groups, "scope": "prompt"}
    found = bootstrap_interval(rewards, {"a": 2.0}, resamples=200, seed=1, **options)
    assert found.solved == pytest.approx(1 - (2 / 3) ** 3, abs=0.1)
    seed = next(seed for seed in range(99) if _contains(seed) == 1)
    few = bootstrap_interval(rewards, {"a": 2.0}, resamples=2, seed=seed, **options)
    assert few.solved == 0.5
    assert np.isnan([few.lam_low[0], few.lam_high[0], few.lam_se[0]]).all()
    assert np.isfinite([few.level_low[0], few.level_high[0], few.level_se[0]]).all()


def _contains(seed):
    """How many of the first two resamples of 3 prompts contain prompt 0."""
    draws = np.random.default_rng(seed)
    return sum(0 in draws.choice(3, 3) for _ in range(2))
