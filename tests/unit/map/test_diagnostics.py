"""Sensitivity against finite differences, intervals against simulation, support."""

import numpy as np
import pytest
from mapdata import skewed
from scipy.special import ndtri

from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.budget import (
    budget,
    budget_message,
    candidates_for,
    expected_largest,
    normal_quantile,
    sd_above_base,
    shortfall_message,
)
from polyalign.map.diagnostics import (
    assess_many,
    bootstrap_interval,
    delta_interval,
    log_z_bias,
    pareto_k,
    reweighting_share,
    sensitivity,
    tail_shape,
)
from polyalign.map.dual import solve, solve_on


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
    assert sd_above_base(["max(q80, mean)", "max(q20, mean)"]) == sd_above_base(["q80"])


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
    answer = assess_many(Base(rewards, groups, "joint"), lam[None, :])
    p = np.exp(rewards @ lam)
    p /= p.sum()
    np.testing.assert_allclose(answer.levels[0], p @ rewards)
    assert answer.kl[0] == pytest.approx(p @ np.log(p * 400))
    assert answer.ess[0] == pytest.approx(1 / (p @ p))
    np.testing.assert_allclose(answer.quantiles[0], (rewards <= p @ rewards).mean(axis=0))


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_many_assessments_are_single_ones(scope):
    rewards, groups = skewed(30, 9, 3, 8)
    keep = np.random.default_rng(1).random(270) < 0.8
    rewards, groups = rewards[keep], groups[keep]
    base = Base(rewards, groups, scope)
    lams = np.random.default_rng(2).uniform(0, 1, (7, 3))
    many = assess_many(base, lams)
    for i, lam in enumerate(lams):
        one = assess_many(Base(rewards, groups, scope), lam[None, :])
        log_z, level, _ = base.moments(lam * base.scale)
        np.testing.assert_allclose(many.levels[i], base.raw(level), rtol=1e-12)
        np.testing.assert_allclose(one.levels[0], many.levels[i])
        np.testing.assert_allclose(one.quantiles[0], many.quantiles[i])
        assert many.kl[i] == pytest.approx(lam * base.scale @ level - log_z)
        weights = base.weights(lam * base.scale)
        size = sum(1 / (weights[rows] @ weights[rows]) for rows in _groups(base, groups))
        assert [many.ess[i], one.ess[0]] == pytest.approx([size, size])
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


def test_share_of_pure_prompt_reweighting_by_hand():
    # Prompt 0 has rewards 0 and 2, prompt 1 has 4 and 4. lam = log 3 / 2: 2 units are worth 3.
    rewards, groups = np.array([[0.0], [2.0], [4.0], [4.0]]), np.array([0, 0, 1, 1])
    lam = np.array([np.log(3) / 2])
    within = (0.25 * 0 + 0.75 * 2 + 4) / 2 - 2.5
    joint = (3 * 2 + 9 * 4 + 9 * 4) / 22 - 2.5
    found = reweighting_share(rewards, lam, groups)
    assert found[0] == pytest.approx(1 - within / joint)
    assert np.isnan(reweighting_share(rewards, np.zeros(1), groups)[0])
    apart = reweighting_share(rewards, lam, np.array([0, 1, 2, 2]))
    assert apart[0] == pytest.approx(1.0)


def test_plug_in_bias_by_hand():
    # Weights 1 : 3 in the prompt of two; nothing to say of the prompt of one.
    rewards, groups = np.array([[0.0], [1.0], [5.0], [0.0], [0.0], [1.0]]), [0, 0, 1, 2, 2, 2]
    base = Base(rewards, np.array(groups), "prompt")
    two = (1 - 2 * (1 / 16 + 9 / 16)) / 2
    three = (1 - 3 * (2 + 9) / 25) / 4
    assert log_z_bias(base, np.array([np.log(3)])) == pytest.approx((two + three) / 3)


def test_pareto_shape_is_that_of_zhang_and_stephens():
    """Their posterior mean on a grid of theta, candidate by candidate, with the weak prior."""
    weights = np.random.default_rng(3).pareto(1.5, 225) + 1
    tail = np.sort(weights)
    tail = tail[-45:] - tail[-46]  # 3 sqrt(225) = 45 = 225 / 5
    m, largest, quartile = 45, tail.max(), tail[10]  # the 11th, [m / 4 + 1 / 2]
    grid = 30 + 6
    theta = [1 / largest + (1 - (grid / (j - 0.5)) ** 0.5) / (3 * quartile) for j in range(1, 37)]

    def shape(one):
        return sum(np.log(1 - one * x) for x in tail) / m

    profile = np.array([m * (np.log(-one / shape(one)) - shape(one) - 1) for one in theta])
    posterior = [1 / sum(np.exp(profile - one)) for one in profile]
    fitted = shape(sum(w * one for w, one in zip(posterior, theta, strict=True)))
    assert pareto_k(weights) == pytest.approx((m * fitted + 5) / (m + 10), rel=1e-9)
    assert pareto_k(7 * weights[::-1]) == pytest.approx(pareto_k(weights))


def test_pareto_shape_looks_at_the_largest_fifth_or_less():
    # 3 sqrt(n) of the largest where that is less than a fifth; what is below does not matter.
    draws = np.random.default_rng(4)
    for n, used in ((100, 20), (400, 60)):
        sample = np.sort(draws.pareto(1.0, n))
        lower = sample.copy()
        lower[: n - used - 1] *= 0.5
        assert pareto_k(lower) == pareto_k(sample)
        lower[n - used - 1] *= 0.5
        assert pareto_k(lower) != pareto_k(sample)
    few = np.r_[np.ones(96), 2.0, 3.0, 4.0, 9.0]
    assert pareto_k(few) == -np.inf
    assert np.isfinite(pareto_k(np.r_[np.ones(95), 2.0, 3.0, 4.0, 9.0, 11.0]))
    assert np.isfinite(pareto_k(draws.pareto(1.0, 25)))
    with pytest.raises(InputError, match="24 weights"):
        pareto_k(draws.pareto(1.0, 24))


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_the_tail_is_that_of_the_weight_ratios(scope):
    rewards, groups = skewed(12, 7, 2, 9)
    rewards, groups = rewards[:-3], groups[:-3]
    lam = np.array([0.8, 0.3])
    p = np.exp(rewards @ lam)
    if scope == "prompt":
        p *= (np.bincount(groups) / np.bincount(groups, p))[groups]
    assert tail_shape(Base(rewards, groups, scope), lam) == pytest.approx(pareto_k(p))


def test_budget_by_hand_of_ragged_prompts():
    # Unbiased variances 2, 1 and none of the prompt of one: their mean over three prompts is 1.
    rewards = np.array([[1.0], [3.0], [0.0], [1.0], [2.0], [5.0]])
    base = Base(rewards, np.array([0, 0, 1, 1, 1, 2]), "prompt")
    center = (2 + 1 + 5) / 3
    found = budget(base, np.array([center + 0.9]))
    assert found.kl == pytest.approx(0.9**2 / 2)
    assert found.log_k == pytest.approx((np.log(2) + np.log(3)) / 3)
    assert found.candidates == 2
    # The best of 3 and 4 normals lie 0.85 and 1.03 above their mean.
    assert found.suffices == 4
    assert budget(base, np.array([center - 1.0])).suffices == 1
    assert budget_message(found) == (
        "in a Gaussian model of the rewards it needs 0.405 nats per prompt; selection among 2 "
        "candidates can spend 0.597 nats, and about 4 would suffice"
    )
    assert shortfall_message(found) == budget_message(found)
    # Where as many candidates are there, and the palette is still out of reach.
    assert shortfall_message(budget(base, np.array([center + 0.4]))).startswith(
        "a Gaussian model of the rewards, by which about 2 of the 2 candidates would suffice, does"
    )
    far = budget(base, np.array([center + 7.0]))
    assert far.suffices is None
    assert far.kl == pytest.approx(24.5)
    assert "and more than a billion would suffice" in budget_message(far)


def test_budget_of_correlated_values_charges_for_what_is_asked_alone():
    draws = np.random.default_rng(8)
    first = draws.normal(size=(3, 400))
    second = 0.6 * first + 0.8 * draws.normal(size=(3, 400))
    rewards = np.stack([first, second], axis=2).reshape(-1, 2)
    base = Base(rewards, np.repeat([0, 1, 2], 400), "prompt")
    gain = np.array([0.5, 0.5])
    within = np.mean([np.cov(first[i], second[i]) for i in range(3)], axis=0)
    found = budget(base, base.center + gain)
    assert found.kl == pytest.approx(gain @ np.linalg.solve(within, gain) / 2, rel=1e-6)
    # The second value rises by itself: it costs nothing.
    one = budget(base, base.center + np.array([0.5, 0.1]))
    assert one.kl == pytest.approx(0.125 / within[0, 0], rel=1e-6)


def test_values_that_no_candidate_can_trade_need_no_finite_kl():
    base = Base(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([0, 0, 1, 1]), "prompt")
    found = budget(base, np.array([0.7]))
    assert (found.kl, found.suffices) == (np.inf, None)
    assert "it needs no finite KL" in budget_message(found)


def test_candidates_are_the_fewest_that_suffice():
    for count in (2, 3, 7, 16, 100):
        level = expected_largest(count)
        assert candidates_for(level - 1e-9) == count
        assert candidates_for(level + 1e-9) == count + 1
    assert candidates_for(-1.0) == 1
    assert candidates_for(expected_largest(10**9)) == 10**9
    assert candidates_for(expected_largest(10**9) + 1e-9) is None
    # The largest of many normals: two terms of its asymptotic distribution.
    assert expected_largest(10**9) == pytest.approx(6.09, abs=0.02)
    # Tabulated (Harter 1961).
    assert expected_largest(10) == pytest.approx(1.53875, abs=1e-5)
    assert expected_largest(100) == pytest.approx(2.50759, abs=1e-5)


@pytest.mark.parametrize("share", [1e-6, 0.025, 0.3, 0.5, 0.8, 0.999, 1 - 1e-9])
def test_normal_quantile_is_scipys(share):
    assert normal_quantile(share) == pytest.approx(ndtri(share), abs=1e-8)


def test_assessment_of_lam_zero_is_the_base():
    rewards, groups = skewed(9, 8, 2, 7)
    answer = assess_many(Base(rewards, groups, "auto"), np.zeros((1, 2)))
    assert answer.scope == "prompt"
    np.testing.assert_allclose(answer.levels[0], answer.base)
    np.testing.assert_allclose(answer.base, rewards.mean(axis=0))
    assert 0 <= answer.kl[0] < 1e-12
    assert answer.max_weight[0] == pytest.approx(1 / 8)
    with pytest.raises(InputError, match="finite"):
        assess_many(Base(rewards, groups, "joint"), np.array([[np.nan, 0.0]]))


def test_sensitivity_of_bernoulli_rewards_by_hand():
    # lam = log(c / (1 - c)): d lam / d c = 1 / (c (1 - c)); two independent values.
    rewards = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    base = Base(rewards, None, "joint")
    target = np.array([0.7, 0.6])
    lam = solve_on(base, target, tolerance=1e-13).lam
    found = sensitivity(base, lam)
    np.testing.assert_allclose(found.lam_by_target, np.diag([1 / 0.21, 1 / 0.24]), atol=1e-7)
    np.testing.assert_allclose(found.level_by_lam, np.diag([0.21, 0.24]), atol=1e-9)
    np.testing.assert_allclose(found.nats, np.log([7 / 3, 1.5]), rtol=1e-7)
    np.testing.assert_allclose(found.level_by_target, np.eye(2), atol=1e-7)
    ratio = np.log(7 / 3) / np.log(1.5)
    np.testing.assert_allclose(found.exchange, [[1.0, ratio], [1 / ratio, 1.0]], rtol=1e-7)
