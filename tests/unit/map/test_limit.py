"""λ of infinitely many candidates: brute force, expectations over all tables, closed forms."""

from itertools import combinations
from math import comb, log

import numpy as np
import pytest

from polyalign.map.base import Base
from polyalign.map.diagnostics import bootstrap_interval, delta_interval
from polyalign.map.dual import solve_on
from polyalign.map.jackknife import MOST_PAIRS, limit_level, limit_moments
from polyalign.map.limit import Limit, solve_limit


def jackknife(of, units: int, order: int):
    """`of(chosen)` on all units less its bias, with every choice of units made one by one."""
    means = [
        np.mean([of(list(chosen)) for chosen in combinations(range(units), units - left)], axis=0)
        for left in range(order + 1)
    ]
    if order == 0:
        return means[0]
    if order == 1:
        return units * means[0] - (units - 1) * means[1]
    return (units**2 * means[0] - 2 * (units - 1) ** 2 * means[1] + (units - 2) ** 2 * means[2]) / 2


def tilted(rewards: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """log Z, then the levels, of one table (n, k)."""
    weight = np.exp(rewards @ lam)
    return np.array([log(weight.mean()), *(weight @ rewards / weight.sum())])


@pytest.mark.parametrize("most", [0, 1, 2])
def test_moments_are_the_jackknife_over_every_choice_of_candidates(most):
    draws = np.random.default_rng(1)
    counts = [5, 1, 3, 2, 5, 6]
    tables = [draws.normal(size=(count, 2)) for count in counts]
    base = Base(np.concatenate(tables), np.repeat(np.arange(6), counts), "prompt")
    lam = np.array([0.7, 0.4])
    found = limit_moments(base, lam * base.scale, order=most)
    order = np.argsort(counts, kind="stable")
    for place, prompt in enumerate(order):
        table = tables[prompt]
        want = jackknife(
            lambda chosen, table=table: tilted(table[chosen], lam),
            len(table),
            min(most, len(table) - 1),
        )
        # Standardised rewards are counted from the base level.
        assert found.log_z[place] == pytest.approx(want[0] - lam @ base.center)
        assert base.raw(found.levels[place]) == pytest.approx(want[1:])


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_level_of_any_policy_is_the_jackknife_too(count):
    """Of weights that are no tilt by the rewards."""
    draws = np.random.default_rng(2)
    rewards, weight = draws.normal(size=(count, 2)), draws.gamma(1.0, size=count)
    weight /= weight.sum()

    def level(chosen):
        return weight[chosen] @ rewards[chosen] / weight[chosen].sum()

    expected = jackknife(level, count, min(2, count - 1))
    np.testing.assert_allclose(limit_level(weight, rewards), expected, atol=1e-12)


def test_in_scope_joint_whole_prompts_are_left_out():
    draws = np.random.default_rng(2)
    counts = [2, 1, 3, 2, 4]
    tables = [draws.normal(size=(count, 2)) for count in counts]
    base = Base(np.concatenate(tables), np.repeat(np.arange(5), counts), "joint")
    lam = np.array([0.5, 0.3])
    found = limit_moments(base, lam * base.scale)
    want = jackknife(
        lambda chosen: tilted(np.concatenate([tables[one] for one in chosen]), lam), 5, 2
    )
    assert found.log_z == pytest.approx([want[0] - lam @ base.center])
    assert base.raw(found.levels[0]) == pytest.approx(want[1:])


def test_pairs_are_left_out_of_many_candidates_no_more():
    draws = np.random.default_rng(3)
    lam = np.array([0.5])
    for count, used in ((MOST_PAIRS, 2), (MOST_PAIRS + 1, 1)):
        base = Base(draws.normal(size=(3 * count, 1)), np.repeat(np.arange(3), count), "prompt")
        levels = limit_moments(base, lam).levels
        first = limit_moments(base, lam, order=1).levels
        assert np.allclose(levels, first, rtol=0, atol=1e-12) == (used == 1)


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_levels_are_the_slopes_of_log_z(scope):
    draws = np.random.default_rng(4)
    base = Base(draws.normal(size=(60, 3)), np.repeat(np.arange(10), 6), scope)
    lam = np.array([0.4, 0.8, 0.1])
    step = 1e-6 * np.eye(3)
    slopes = [
        (limit_moments(base, lam + one).log_z - limit_moments(base, lam - one).log_z) / 2e-6
        for one in step
    ]
    assert np.transpose(slopes) == pytest.approx(limit_moments(base, lam).levels, abs=1e-7)


def all_tables(chance: float, count: int) -> Base:
    """Every table of `count` draws of a reward that is 1 with a chance, weighted by its own.

    So a mean over its prompts is an exact expectation over tables.
    """
    rewards = [[float(j < ones) for j in range(count)] for ones in range(count + 1)]
    weights = [
        comb(count, ones) * chance**ones * (1 - chance) ** (count - ones)
        for ones in range(count + 1)
    ]
    groups = np.repeat(np.arange(count + 1), count)
    return Base(
        np.concatenate(rewards)[:, None], groups, "prompt", prompt_weights=np.array(weights)
    )


@pytest.mark.parametrize(("count", "worst"), [(12, 0.002), (6, 0.02)])
@pytest.mark.parametrize("chance", [0.3, 0.5, 0.7])
def test_the_expected_error_over_all_tables_is_small(chance, count, worst):
    """λ of p with E r = c is the difference of the log odds of c and of the chance."""
    level = chance + 0.13
    true = log(level / (1 - level)) - log(chance / (1 - chance))
    base = all_tables(chance, count)
    target = np.array([level])
    plain = solve_on(base, target).lam
    first, second = (solve_limit(base, target, plain, order=order) for order in (1, 2))
    assert plain[0] / true - 1 > 0.5 / count
    assert abs(second.raw[0] / true - 1) < worst
    # What is left is of the order after the one that was taken off.
    assert abs(second.raw[0] - true) < abs(first.raw[0] - true) < (plain[0] - true) / 5


def gaussian(seed: int, prompts: int = 150, count: int = 10) -> np.ndarray:
    draws = np.random.default_rng(seed)
    between = 0.5 * draws.normal(size=(prompts, 1))
    return (between + draws.normal(size=(prompts, count))).reshape(-1, 1)


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_standard_errors_are_the_spread_over_fresh_tables(scope):
    groups, target = np.repeat(np.arange(150), 10), np.array([0.6])
    lams, errors = [], []
    for seed in range(80):
        base = Base(gaussian(seed), groups, scope)
        found = solve_limit(base, target, solve_on(base, target).lam)
        lams.append(found.raw[0])
        errors.append(found.se()[0])
    true = 0.6 if scope == "prompt" else 0.6 / 1.25
    assert np.mean(lams) == pytest.approx(true, abs=3 * np.std(lams) / np.sqrt(80))
    assert np.mean(errors) == pytest.approx(np.std(lams), rel=0.2)


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_a_resample_moves_lam_as_solving_it_again_does(scope):
    draws = np.random.default_rng(6)
    rewards = draws.normal(size=(2000, 3)) * [1.0, 5.0, 1.0] + [0.0, 2.0, 0.0]
    groups = np.repeat(np.arange(200), 10)
    base = Base(rewards, groups, scope)
    target = base.raw(np.array([0.3, 0.2, -2.0]))
    limit = solve_limit(base, target, solve_on(base, target).lam)
    assert limit.raw[2] == 0.0
    times = np.bincount(draws.integers(200, size=200), minlength=200).astype(float)
    # The exact answer on prompts that occur so often, with the target moved, too.
    again = Base(rewards, groups, scope, prompt_weights=times, scale=base.scale)
    moved = target + np.array([0.02, 0.1, 0.0])
    want = solve_limit(again, moved, limit.raw)
    found = limit.resampled(times, moved)
    assert found[2] == 0.0
    change = np.abs(want.raw - limit.raw)[:2]
    assert (
        np.abs(found - want.raw)[:2] < 0.15 * change.max() * base.scale[0] / base.scale[:2]
    ).all()
    same = limit.resampled(np.ones(200), target)
    assert same == pytest.approx(limit.raw, abs=1e-6)


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_intervals_of_both_methods_agree(scope):
    rewards, groups = gaussian(7), np.repeat(np.arange(150), 10)
    base, target = Base(rewards, groups, scope), np.array([0.5])
    lam = solve_on(base, target).lam
    limit = solve_limit(base, target, lam)
    delta = delta_interval(base, lam, target, limit)
    options = {"names": ["a"], "groups": groups, "scope": scope, "seed": 1}
    boot = bootstrap_interval(rewards, {"a": 0.5}, resamples=200, limit=limit, **options)
    assert delta.train_se == pytest.approx(limit.se())
    assert boot.train_se == pytest.approx(delta.train_se, rel=0.2)
    for one in (delta, boot):
        assert one.train_low[0] < limit.raw[0] < one.train_high[0]
        assert one.train_high[0] - one.train_low[0] == pytest.approx(
            3.92 * one.train_se[0], rel=0.2
        )
    for one in (
        delta_interval(base, lam, target),
        bootstrap_interval(rewards, {"a": 0.5}, resamples=3, **options),
    ):
        assert np.isnan([one.train_se, one.train_low, one.train_high]).all()


def test_what_cannot_be_estimated_is_none():
    two = Base(gaussian(8, count=2), np.repeat(np.arange(150), 2), "prompt")
    target = np.array([0.2])
    assert solve_limit(two, target, solve_on(two, target).lam) is None
    # One candidate of four is best; near its level λ runs away, and the correction with it.
    best = np.tile(np.eye(4)[0], 4)[:, None]
    base = Base(best, np.repeat(np.arange(4), 4), "prompt")
    high = np.array([0.99])
    assert solve_limit(base, high, solve_on(base, high).lam) is None


def test_the_remainder_says_how_much_the_second_order_was():
    rewards, groups = gaussian(9, prompts=600, count=6), np.repeat(np.arange(600), 6)
    base = Base(rewards, groups, "prompt")
    shares = []
    for level in (0.3, 0.5):
        target = np.array([level])
        plain = solve_on(base, target).lam
        first, second = (solve_limit(base, target, plain, order=order) for order in (1, 2))
        shares.append(second.remainder)
        # To first order.
        assert shares[-1] == pytest.approx(abs(first.raw[0] / second.raw[0] - 1), rel=0.3)
    assert shares[0] < shares[1]
    assert Limit(base, np.zeros(1)).remainder == 0.0
