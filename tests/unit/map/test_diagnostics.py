"""Sensitivity against finite differences, intervals against simulation, support."""

import numpy as np
import pytest
from mapdata import skewed

from polyalign.errors import InputError
from polyalign.map import solve
from polyalign.map.base import Base
from polyalign.map.budget import (
    budget,
    candidates_for,
    expected_largest,
    normal_quantile,
    sd_above_base,
)
from polyalign.map.diagnostics import (
    assess,
    assess_many,
    bootstrap_interval,
    delta_interval,
    log_z_bias,
    pareto_k,
    reweighting_share,
    sensitivity,
)
from polyalign.map.dual import solve_on


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_sensitivity_is_what_finite_differences_give(scope):
    rewards, groups = skewed(40, 10, 3, 2)
    base = Base(rewards, groups, scope)
    target = base.raw(np.array([0.3, 0.2, -2.0]))
    solution = solve_on(base, target, tolerance=1e-12)
    answer = sensitivity(base, solution.lam)
    for j, unit in enumerate(np.eye(3) * 1e-5):
        up, down = (solve_on(base, target + s * unit, tolerance=1e-12) for s in (1, -1))
        np.testing.assert_allclose(
            (up.lam - down.lam) / 2e-5, answer.lam_by_target[:, j], atol=1e-5
        )
        slope = (up.realised - down.realised) / 2e-5
        np.testing.assert_allclose(slope, answer.level_by_target[:, j], atol=1e-5)
        assert (up.kl - down.kl) / 2e-5 == pytest.approx(answer.nats[j], abs=1e-6)
        up, down = (
            base.raw(base.moments((solution.lam + s * unit) * base.scale)[1]) for s in (1, -1)
        )
        np.testing.assert_allclose((up - down) / 2e-5, answer.level_by_lam[:, j], atol=1e-6)
    assert (answer.lam_by_target[2] == 0).all()
    # One unit of value 0 more, paid in value 1, costs nothing in nats.
    swap = target + np.array([1e-5, -1e-5 * answer.exchange[0, 1], 0.0])
    assert solve_on(base, swap).kl == pytest.approx(solution.kl, abs=2e-8)
    assert np.isnan(answer.exchange[0, 2])


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_intervals_match_the_spread_over_fresh_tables(scope):
    target = np.array([1.0])

    def table(seed):
        draws = np.random.default_rng(seed)
        between = 0.5 * draws.normal(size=(150, 1))
        return (between + draws.normal(size=(150, 10)) + 0.4).reshape(-1, 1)

    groups = np.repeat(np.arange(150), 10)
    lams, errors = [], []
    for seed in range(150):
        base = Base(table(seed), groups, scope)
        lam = solve_on(base, target).lam
        lams.append(lam[0])
        errors.append(delta_interval(base, lam, target).lam_se[0])
    assert np.mean(errors) == pytest.approx(np.std(lams), rel=0.2)
    covered = np.abs(np.array(lams) - np.mean(lams)) < 1.96 * np.array(errors)
    assert 0.88 <= covered.mean() <= 1.0
    boot = bootstrap_interval(
        table(0), {"a": 1.0}, names=["a"], groups=groups, scope=scope, resamples=120, seed=1
    )
    assert boot.lam_se[0] == pytest.approx(errors[0], rel=0.3)
    delta = delta_interval(Base(table(0), groups, scope), np.array([lams[0]]), target)
    assert boot.level_se[0] == pytest.approx(delta.level_se[0], rel=0.3)
    assert boot.lam_low[0] < lams[0] < boot.lam_high[0]
    assert boot.solved == 1.0


def test_bootstrap_moves_targets_that_the_base_defines():
    rewards, groups = skewed(120, 4, 1, 3)
    rewards[:, 0] += np.repeat(3 * np.random.default_rng(0).normal(size=120), 4)

    def interval(level):
        return bootstrap_interval(
            rewards, {"a": level}, names=["a"], groups=groups, scope="joint", resamples=60, seed=2
        )

    fixed = interval(float(np.quantile(rewards, 0.7)))
    moving = interval("q70")
    assert not np.allclose(fixed.lam_se, moving.lam_se, rtol=0.02)
    # A level at `mean` is met by every resample's own base: its lam never leaves zero.
    assert interval("mean").lam_high[0] < 1e-6
    again = interval("q70")
    np.testing.assert_array_equal(moving.lam_low, again.lam_low)


def test_bootstrap_of_an_infeasible_palette_says_so():
    rewards, groups = skewed(10, 4, 1)
    with pytest.raises(InputError, match="out of reach"):
        bootstrap_interval(
            rewards, {"a": 99.0}, names=["a"], groups=groups, scope="joint", resamples=5, seed=1
        )
    with pytest.raises(InputError, match="at least 2"):
        bootstrap_interval(
            rewards, {"a": 0.0}, names=["a"], groups=groups, scope="joint", resamples=1, seed=1
        )


def test_pareto_shape_is_recovered():
    draws = np.random.default_rng(4)
    for shape in (0.2, 0.5, 0.9):
        sample = (draws.random(40_000) ** -shape - 1) / shape
        assert pareto_k(sample) == pytest.approx(shape, abs=0.12)
    assert pareto_k(draws.random(1000)) < 0.2
    assert pareto_k(np.ones(100)) == -np.inf
    with pytest.raises(InputError, match="at least 25"):
        pareto_k(np.ones(5))


def test_share_of_pure_prompt_reweighting():
    # Equal variances between and within prompts: half of a joint gain is a choice of prompts.
    draws = np.random.default_rng(5)
    rewards = (draws.normal(size=(4000, 1)) + draws.normal(size=(4000, 30))).reshape(-1, 1)
    groups = np.repeat(np.arange(4000), 30)
    lam = solve(rewards, rewards.mean(axis=0) + 0.6, scope="joint").lam
    assert reweighting_share(rewards, lam, groups)[0] == pytest.approx(0.5, abs=0.05)
    with pytest.raises(InputError, match="one candidate"):
        reweighting_share(rewards, lam, np.arange(len(rewards)))


def test_expected_largest_normal_and_candidates_needed():
    assert expected_largest(1) == pytest.approx(0.0, abs=1e-6)
    assert expected_largest(2) == pytest.approx(1 / np.sqrt(np.pi), abs=1e-6)
    assert expected_largest(3) == pytest.approx(1.5 / np.sqrt(np.pi), abs=1e-6)
    assert candidates_for(1.765) == 16
    assert candidates_for(0.0) == 1
    assert candidates_for(99.0) is None
    assert normal_quantile(0.975) == pytest.approx(1.959963985, abs=1e-8)


def test_sd_above_base_of_levels_before_any_sampling():
    assert sd_above_base(["q80"]) == pytest.approx(0.8416, abs=1e-4)
    assert sd_above_base(["mean+0.3sd", "mean+0.4sd", "q20", "mean-2sd", 7.0]) == pytest.approx(0.5)
    assert sd_above_base(["+10%"]) == pytest.approx(0.32897, abs=1e-4)
    assert sd_above_base(["max"]) == sd_above_base(["q100"]) == np.inf
    assert sd_above_base(["q0", "mean"]) == 0


def test_budget_of_gaussian_rewards():
    draws = np.random.default_rng(6)
    rewards = draws.normal(size=(2000 * 16, 1))
    groups = np.repeat(np.arange(2000), 16)
    base = Base(rewards, groups, "prompt")
    answer = budget(base, base.raw(np.array([1.2])))
    within = rewards.reshape(2000, 16).var(axis=1, ddof=1).mean()
    assert answer.kl == pytest.approx(0.5 * (1.2 * rewards.std()) ** 2 / within, rel=1e-6)
    assert answer.log_k == pytest.approx(np.log(16))
    assert answer.candidates == 16
    assert solve_on(base, base.raw(np.array([1.2]))).verdict != "infeasible"
    too_far = base.raw(np.array([2.2]))
    assert solve_on(base, too_far).verdict == "infeasible"
    needed = budget(base, too_far).suffices
    assert needed is not None
    assert needed > 16
    many = draws.normal(size=(1500, int(1.3 * needed))).max(axis=1).mean()
    few = draws.normal(size=(1500, int(0.6 * needed))).max(axis=1).mean()
    assert few < too_far[0] < many
    with pytest.raises(InputError, match="joint"):
        budget(Base(rewards, groups, "joint"), too_far)


def test_assessment_on_another_table():
    rewards, groups = skewed(50, 8, 2, 7)
    lam = np.array([0.4, 0.0])
    answer = assess(rewards, lam, groups=groups, scope="joint")
    p = np.exp(rewards @ lam)
    p /= p.sum()
    np.testing.assert_allclose(answer.levels, p @ rewards)
    assert answer.kl == pytest.approx(p @ np.log(p * 400))
    assert answer.ess == pytest.approx(1 / (p @ p))
    np.testing.assert_allclose(answer.quantiles, (rewards <= p @ rewards).mean(axis=0))


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_many_assessments_are_single_ones(scope):
    rewards, groups = skewed(30, 9, 3, 8)
    keep = np.random.default_rng(1).random(270) < 0.8
    rewards, groups = rewards[keep], groups[keep]
    base = Base(rewards, groups, scope)
    lams = np.random.default_rng(2).uniform(0, 1, (7, 3))
    many = assess_many(base, lams)
    for i, lam in enumerate(lams):
        one = assess(rewards, lam, groups=groups, scope=scope)
        log_z, level, _ = base.moments(lam * base.scale)
        np.testing.assert_allclose(many.levels[i], base.raw(level), rtol=1e-12)
        np.testing.assert_allclose(one.levels, many.levels[i])
        np.testing.assert_allclose(one.quantiles, many.quantiles[i])
        assert many.kl[i] == pytest.approx(lam * base.scale @ level - log_z)
        weights = base.weights(lam * base.scale)
        size = sum(1 / (weights[rows] @ weights[rows]) for rows in _groups(base, groups))
        assert [many.ess[i], one.ess] == pytest.approx([size, size])
        largest = np.mean([weights[rows].max() for rows in _groups(base, groups)])
        assert many.max_weight[i] == pytest.approx(largest)
    with pytest.raises(InputError, match="expected"):
        assess_many(base, lams[:, :2])


def _groups(base, groups):
    if base.scope == "joint":
        return [np.arange(len(groups))]
    return [np.flatnonzero(groups == x) for x in np.unique(groups)]


def test_plug_in_bias_is_that_of_fresh_candidates():
    # Normal rewards: log E exp(lam r) = lam^2 / 2; the mean over K candidates lies below it.
    # Rewards count from their own mean, which takes the noise of that mean off, nothing else.
    draws = np.random.default_rng(9)
    rewards, groups = draws.normal(size=(20_000 * 16, 1)), np.repeat(np.arange(20_000), 16)
    base = Base(rewards, groups, "prompt")
    lam = np.array([0.6])
    true = base.moments(lam * base.scale)[0] - 0.18
    assert true < -0.01
    assert log_z_bias(base, lam) == pytest.approx(true, rel=0.1)
    with pytest.raises(InputError, match="joint"):
        log_z_bias(Base(rewards, groups, "joint"), lam)
