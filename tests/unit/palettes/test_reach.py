"""What the commands `feasible` and `levels` compute, against simple mathematics."""

import numpy as np
import pytest

from polyalign.map.base import Base
from polyalign.map.dual import Limits, solve_on
from polyalign.palettes.table_commands import SHARES, find_reach, level_table

Pool = tuple[np.ndarray, np.ndarray]
LIMITS = Limits(min_ess=1.5)


@pytest.fixture
def pool() -> Pool:
    """Rewards (200, 2) of 20 prompts with 10 candidates each, and the prompt of each sample."""
    rewards = np.random.default_rng(0).normal(size=(200, 2))
    return rewards, np.repeat(np.arange(20), 10)


def test_the_highest_level_of_one_value_is_the_mean_of_the_best_candidates(pool: Pool) -> None:
    rewards, groups = pool
    humor, prompts = rewards[:, :1], rewards[:, 0].reshape(20, 10)
    base = Base(humor, groups, "prompt")
    best = prompts.max(axis=1).mean()
    reach = find_reach(base, np.array([99.0]), ["humor"], LIMITS)
    assert reach.feasibility.status == "infeasible"
    assert reach.highest == pytest.approx(best)
    assert reach.nearest == pytest.approx(best)
    assert reach.share == pytest.approx((best - humor.mean()) / (99 - humor.mean()))
    assert humor.mean() < reach.supportable[0] < best
    assert reach.supportable == pytest.approx(reach.highest_supportable, abs=1e-4)


def test_a_target_within_reach_is_its_own_nearest(pool: Pool) -> None:
    rewards, groups = pool
    base, target = Base(rewards, groups, "prompt"), np.array([0.3, 0.2])
    reach = find_reach(base, target, ["humor", "helpful"], LIMITS)
    assert reach.share > 1
    assert reach.supportable_share == 1
    np.testing.assert_allclose(reach.nearest, target)
    np.testing.assert_allclose(reach.supportable, target)


def test_levels_at_a_solution_are_its_targets(pool: Pool) -> None:
    rewards, groups = pool
    base, target = Base(rewards, groups, "prompt"), np.array([0.3, 0.2])
    solution = solve_on(base, target)
    found = level_table(base, rewards, groups, solution.lam)
    np.testing.assert_allclose(found.levels, target, atol=1e-6)
    np.testing.assert_allclose(found.base, rewards.mean(axis=0))
    np.testing.assert_allclose(found.sd, rewards.std(axis=0))
    assert found.kl == pytest.approx(solution.kl)
    assert found.max_weight == pytest.approx(solution.max_weight)
    below = (rewards < target).mean(axis=0)
    np.testing.assert_allclose(found.level_quantiles, below, atol=1 / 200)
    expected = np.quantile(rewards, np.array(SHARES) / 100, axis=0).T
    np.testing.assert_allclose(found.quantiles, expected, atol=0.05)
