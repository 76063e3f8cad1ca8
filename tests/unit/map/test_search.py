"""Moved and random palettes, sequential alignment, and trade-off fronts."""

import numpy as np
import pytest
from mapdata import COLUMNS, skewed

from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.dual import solve, solve_on
from polyalign.map.front import front, hypervolume
from polyalign.map.palette import parse_target
from polyalign.map.random_lam import dirichlet_lam
from polyalign.map.search import (
    Limits,
    edges,
    highest_levels,
    interpolate,
    path,
    random_palettes,
    supportable_share,
)
from polyalign.map.sequential import sequential

ORDER = list(COLUMNS)


@pytest.fixture(params=["prompt", "joint"])
def base(request):
    rewards, groups = skewed(40, 10, 3, 1)
    return Base(rewards, groups, request.param)


def test_edges_lie_beyond_a_target_that_is_supported(base):
    target = base.raw(np.array([0.3, 0.2, -0.1]))
    supportable, feasible = edges(base, target)
    assert 1 < supportable < feasible

    def verdict(share):
        return solve_on(base, base.center + share * (target - base.center)).verdict

    assert verdict(supportable - 1e-3) == "supported"
    assert verdict(supportable + 1e-3) == "unsupported"
    assert verdict(feasible - 1e-3) == "unsupported"
    assert verdict(feasible + 1e-3) == "infeasible"


def test_edges_are_those_of_an_interpolation_where_the_target_is_beyond(base):
    target = base.raw(np.array([4.0, 3.0, -1.0]))
    moved = interpolate(base, target)
    assert edges(base, target) == pytest.approx((moved.share, moved.furthest), rel=1e-6)
    assert edges(base, base.raw(np.array([-0.1, 0.0, 0.0]))) == (np.inf, np.inf)


def test_interpolation_stops_where_support_ends(base):
    target = base.raw(np.array([4.0, 3.0, -1.0]))
    moved = interpolate(base, target)
    assert 0 < moved.share < moved.furthest < 1
    assert moved.solution.verdict == "supported"
    np.testing.assert_allclose(moved.target, base.center + moved.share * (target - base.center))
    beyond = base.center + (moved.share + 1e-3) * (target - base.center)
    assert solve_on(base, beyond).verdict == "unsupported"
    past = base.center + (moved.furthest + 1e-6) * (target - base.center)
    assert solve_on(base, past).verdict == "infeasible"


def test_interpolation_leaves_a_supported_palette_alone(base):
    target = base.raw(np.array([0.1, 0.1, 0.0]))
    moved = interpolate(base, target)
    assert moved.share == 1.0
    np.testing.assert_array_equal(moved.target, target)


def test_caps_are_met_with_equality(base):
    target = base.raw(np.array([4.0, 3.0, -1.0]))
    norm = interpolate(base, target, Limits(max_norm=0.5)).solution
    assert norm.lam.sum() == pytest.approx(0.5, rel=1e-5)
    floor = 4.0 if base.scope == "prompt" else 50.0
    held = interpolate(base, target, Limits(min_ess=floor)).solution
    assert base.support(held.lam * base.scale)[1] == pytest.approx(floor, rel=1e-5)


def test_one_value_is_raised_with_the_others_held(base):
    target = base.raw(np.array([0.15, 0.0, 0.1]))
    feasible, supportable = highest_levels(base, target)
    assert (supportable < feasible).all()
    for value, unit in enumerate(np.eye(3)):
        for edge, below, above in (
            (supportable[value], "supported", "unsupported"),
            (feasible[value], "unsupported", "infeasible"),
        ):
            for step, verdict in ((-1e-3, below), (1e-3, above)):
                asked = np.where(unit > 0, edge + step * base.scale[value], target)
                assert solve_on(base, asked).verdict == verdict


def test_a_value_may_be_raised_from_below_the_base_level():
    # Holding `up` high pushes `down` below its base level; that is no fault of the held value.
    draws = np.random.default_rng(3)
    up = draws.normal(size=(60, 12))
    rewards = np.stack([up, -up + 0.1 * draws.normal(size=(60, 12))], axis=2).reshape(-1, 2)
    base = Base(rewards, np.repeat(np.arange(60), 12), "prompt")
    target = base.raw(np.array([0.8, 0.0]))
    feasible, supportable = highest_levels(base, target)
    assert supportable[1] <= feasible[1] < base.center[1]
    assert solve_on(base, np.array([target[0], supportable[1]])).verdict == "supported"


def test_what_is_held_must_be_supported(base):
    target = base.raw(np.array([0.5, 0.0, 0.0]))
    feasible, supportable = highest_levels(base, target, Limits(max_norm=1e-3))
    assert np.isfinite(feasible).all()
    assert np.isfinite(supportable).tolist() == [True, False, False]
    beyond = base.raw(np.array([99.0, 0.0, 0.0]))
    feasible, supportable = highest_levels(base, beyond)
    assert np.isfinite(feasible).tolist() == [True, False, False]
    assert np.isfinite(supportable).tolist() == [True, False, False]
    with pytest.raises(InputError, match="even the base policy is not supported"):
        interpolate(base, target, Limits(min_ess=1e9))


def test_a_path_ends_in_the_moved_palette_and_passes_all_verdicts(base):
    target = base.raw(np.array([4.0, 3.0, -1.0]))
    moved = interpolate(base, target)
    shares = np.array([0.0, moved.share * 0.99, moved.share * 1.05, moved.furthest * 1.01])
    found = path(base, target, shares)
    assert found.supportable == pytest.approx(moved.share, rel=1e-6)
    assert found.feasible == pytest.approx(moved.furthest)
    assert found.verdicts == ["supported", "supported", "unsupported", "infeasible"]
    np.testing.assert_allclose(found.targets[0], base.center)
    assert (found.lam[0] == 0).all()
    assert (np.diff(found.kl[:3]) > 0).all()
    assert (np.diff(found.ess[:3]) < 0).all()
    assert np.isnan(found.lam[3]).all()
    one = solve_on(base, found.targets[2])
    np.testing.assert_allclose(found.lam[2], one.lam, rtol=1e-6)
    np.testing.assert_allclose(found.levels[2], one.realised, rtol=1e-6)
    with pytest.raises(InputError, match="increasing"):
        path(base, target, np.array([0.5, 0.1]))


def test_dirichlet_draws_stay_when_more_are_drawn():
    few, many = (dirichlet_lam(4, count, seed=5, cap=2.0) for count in (3, 400))
    np.testing.assert_array_equal(few, many[:3])
    assert many.min() >= 0
    norms = many.sum(axis=1)
    assert norms.max() <= 2.0
    assert norms.mean() == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose((many / norms[:, None]).mean(axis=0), 0.25, atol=0.04)


def test_random_palettes_are_reproducible_and_counted(base):
    one = random_palettes(base, 60, seed=3, cap=3.0)
    two = random_palettes(base, 60, seed=3, cap=3.0)
    np.testing.assert_array_equal(one.batch.targets, two.batch.targets)
    np.testing.assert_array_equal(one.reference, two.reference)
    assert not np.array_equal(random_palettes(base, 60, seed=4, cap=3.0).reference, one.reference)
    highest = base.raw(np.array([base.best(u)[i] for i, u in enumerate(np.eye(3))]))
    assert (one.batch.targets >= base.center).all()
    assert (one.batch.targets <= highest).all()
    within = [
        s.verdict != "infeasible" and s.lam.sum() <= 3.0
        for s in (solve_on(base, t) for t in one.batch.targets)
    ]
    np.testing.assert_array_equal(one.kept, within)
    assert one.success == np.mean(within)
    assert 0 < one.success < 1
    assert (one.reference >= 0).all()
    assert one.reference.sum(axis=1).max() <= 3.0
    levels = base.raw(base.moments(one.reference[5] * base.scale)[1])
    np.testing.assert_allclose(one.reference_levels[5], levels)


def test_random_palettes_need_two_values():
    rewards, groups = skewed(10, 4, 1)
    with pytest.raises(InputError, match="at least 2 values"):
        random_palettes(Base(rewards, groups, "joint"), 5, seed=1, cap=1.0)


def test_published_sequential_alignment(reference):
    levels = dict(zip(ORDER, ["q70"] * 3 + ["mean"] * 3, strict=True))
    target = parse_target(levels, reference, ORDER)
    rounds = sequential(Base(reference, None, "joint"), target, rounds=10)
    np.testing.assert_allclose(rounds.levels[[0, 4, 9], 1], [-1.083, -0.467, -0.462], atol=6e-4)


def test_sequential_alignment_converges_to_all_at_once(base):
    target = base.raw(np.array([0.3, 0.3, 0.2]))
    together = solve_on(base, target)
    rounds = sequential(base, target, rounds=200)
    np.testing.assert_allclose(rounds.lam[-1], together.lam, atol=1e-5)
    assert (np.diff(rounds.dual) >= -1e-12).all()
    assert rounds.kkt[0] > 1e-3
    assert rounds.levels[0, 2] == pytest.approx(target[2])
    one_block = sequential(base, target, rounds=1, blocks=[[0, 1, 2]])
    np.testing.assert_allclose(one_block.lam[0], together.lam, atol=1e-7)
    pairs = sequential(base, target, rounds=1, blocks=[[0, 1], [2]])
    assert pairs.kkt[0] < rounds.kkt[0]


@pytest.mark.parametrize(("rounds", "blocks"), [(0, None), (1, [[0, 1]]), (1, [[0, 1], [1, 2]])])
def test_sequential_refuses_blocks_that_do_not_cover(base, rounds, blocks):
    with pytest.raises(InputError, match="in one block"):
        sequential(base, base.center, rounds=rounds, blocks=blocks)


def test_no_policy_within_the_budget_lies_above_the_front(base):
    answer = front(base, [0, 2], 0.5, points=9)
    np.testing.assert_allclose(answer.kl, 0.5, atol=1e-9)
    assert (answer.lam[:, 1] == 0).all()
    assert answer.lam[0, 2] == 0
    assert answer.lam[-1, 0] == 0
    for lam, level in zip(answer.lam, answer.levels, strict=True):
        # Asking for this very point is what the dual certifies to cost all of the budget.
        asked = np.where([True, False, True], level, -99.0)
        assert solve_on(base, asked).kl == pytest.approx(0.5, abs=1e-6)
        assert (answer.levels[:, [0, 2]] @ lam[[0, 2]]).max() <= level[[0, 2]] @ lam[[0, 2]] + 1e-9
    more = front(base, [0, 2], 0.8, points=9)
    assert more.hypervolume > answer.hypervolume > 0
    assert front(base, [0, 1, 2], 0.5, points=5).levels.shape == (15, 3)


def test_front_refuses_what_it_cannot_trace(base):
    with pytest.raises(InputError, match="2 or 3 different values"):
        front(base, [0], 0.5)
    with pytest.raises(InputError, match="budget"):
        front(base, [0, 1], base.max_kl + 1)


def test_hypervolume_by_hand_and_by_counting():
    assert hypervolume(np.array([[2.0, 1.0], [1.0, 3.0], [0.5, 0.5], [-1.0, 9.0]])) == 4.0
    assert hypervolume(np.array([[1.0, 1.0, 1.0], [2.0, 0.5, 0.5]])) == pytest.approx(1.25)
    assert hypervolume(np.array([[-1.0, 2.0]])) == 0.0
    draws = np.random.default_rng(0)
    points = draws.random((12, 3))
    probes = draws.random((40_000, 3))
    covered = (probes[:, None, :] <= points).all(axis=2).any(axis=1).mean()
    assert hypervolume(points) == pytest.approx(covered, abs=0.01)


def test_moved_palette_of_the_reference(reference):
    levels = dict(zip(ORDER, ["q80"] * 3 + ["mean"] * 3, strict=True))
    moved = interpolate(Base(reference, None, "joint"), parse_target(levels, reference, ORDER))
    assert solve(reference, moved.target, scope="joint").ess == pytest.approx(100, rel=1e-4)


def test_a_front_spreads_its_directions_evenly_and_spends_what_can_be_spent(base):
    answer = front(base, [0, 2], 0.5, points=5)
    nu = (answer.lam * base.scale)[:, [0, 2]]
    np.testing.assert_allclose(np.degrees(np.arctan2(*nu.T[::-1])), [0, 22.5, 45, 67.5, 90])
    three = (front(base, [0, 1, 2], 0.5, points=3).lam * base.scale).round(12)
    shares = three / three.sum(axis=1, keepdims=True)
    grid = {(i / 2, j / 2, 1 - i / 2 - j / 2) for i in range(3) for j in range(3 - i)}
    assert {tuple(row) for row in shares.round(9).tolist()} == grid
    two = front(base, [0, 2], 0.5, points=2)
    box = base.standardise(two.levels)[:, [0, 2]]
    assert two.hypervolume == pytest.approx(hypervolume(box))


def test_a_front_stops_where_its_greedy_policy_spends_less():
    # Two of four candidates are best in `a`: always one of them spends log 2 and no more.
    rewards = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    answer = front(Base(rewards, None, "joint"), [0, 1], 1.0, points=3)
    np.testing.assert_allclose(answer.kl, [np.log(2), 1.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(answer.levels[0], [1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("cap", [0.05, 0.2])
def test_a_front_of_one_bernoulli_value_is_the_closed_form(cap):
    # Within a KL budget the share q of the better half solves q log 2q + (1 - q) log 2(1 - q).
    rewards = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    answer = front(Base(rewards, None, "joint"), [0, 1], cap, points=3)
    q = answer.levels[0, 0]
    assert q * np.log(2 * q) + (1 - q) * np.log(2 * (1 - q)) == pytest.approx(cap, abs=1e-10)
    assert answer.levels[0, 1] == pytest.approx(0.5)
    # Independent values at equal weight share the budget.
    both = answer.levels[1]
    halves = both * np.log(2 * both) + (1 - both) * np.log(2 * (1 - both))
    np.testing.assert_allclose(halves, cap / 2, atol=1e-10)


def test_a_front_takes_few_steps(base):
    calls = []
    moments = base.moments
    base.moments = lambda lam: calls.append(1) or moments(lam)
    front(base, [0, 2], 0.5, points=9)
    assert len(calls) <= 6 * 9


def test_supportable_edges_are_found_to_seven_digits(base):
    target = base.raw(np.array([4.0, 3.0, -1.0]))
    moved = interpolate(base, target, names=["a", "b", "c"])
    assert moved.solution.values == ["a", "b", "c"]
    np.testing.assert_array_equal(moved.asked, target)
    for step, verdict in ((-1e-7, "supported"), (1e-7, "unsupported")):
        at = base.center + (moved.share + step) * (target - base.center)
        assert solve_on(base, at).verdict == verdict
    share = supportable_share(base, target)
    assert share == pytest.approx(moved.share, rel=1e-9)
    assert np.isnan(supportable_share(base, target, Limits(min_ess=1e9)))
    assert supportable_share(base, base.raw(np.array([0.1, 0.1, 0.0]))) == 1.0


def test_a_path_that_ends_before_its_palette_looks_as_far_as_the_palette(base):
    target = base.raw(np.array([0.1, 0.1, 0.0]))
    short = path(base, target, np.array([0.0, 0.5]))
    assert short.supportable == 1.0
    longer = path(base, target, np.array([0.0, 0.5, 2.0]))
    assert longer.supportable == 2.0
    np.testing.assert_allclose(short.targets[1], base.center + 0.5 * (target - base.center))
    for shares in ([-0.1, 0.5], [0.0, np.inf], [[0.0]]):
        with pytest.raises(InputError, match="increasing"):
            path(base, target, np.array(shares))
    assert path(base, target, np.array([0.5, 0.5])).verdicts == ["supported"] * 2


@pytest.mark.parametrize("bad", [{"count": 0}, {"cap": 0.0}, {"seed": -1}, {"cap": np.nan}])
def test_random_palettes_refuse_bad_numbers(base, bad):
    with pytest.raises(InputError, match="random palettes"):
        random_palettes(base, **({"count": 5, "seed": 1, "cap": 1.0} | bad))
    assert random_palettes(base, 1, seed=0, cap=1.0).kept.shape == (1,)


def test_random_palettes_are_uniform_between_base_and_maximum(base):
    drawn = random_palettes(base, 400, seed=3, cap=3.0)
    highest = base.raw(np.array([base.best(u)[i] for i, u in enumerate(np.eye(3))]))
    share = (drawn.batch.targets - base.center) / (highest - base.center)
    np.testing.assert_allclose(share.mean(axis=0), 0.5, atol=0.05)
    np.testing.assert_allclose(share.var(axis=0), 1 / 12, atol=0.012)
    assert drawn.cap == 3.0


@pytest.mark.parametrize("budget", [0.0, -1.0])
def test_fronts_need_a_budget_and_two_points(base, budget):
    with pytest.raises(InputError, match="budget"):
        front(base, [0, 1], budget)
    with pytest.raises(InputError, match="at least 2 points"):
        front(base, [0, 1], 0.5, points=1)
    with pytest.raises(InputError, match="different values"):
        front(base, [1, 1], 0.5)


def test_one_round_is_a_solution_of_each_value_in_turn(base):
    target = base.raw(np.array([0.3, -5.0, 0.2]))
    rounds = sequential(base, target, rounds=2)
    first = solve_on(base, np.where([True, False, False], target, base.center - 99 * base.scale))
    assert rounds.lam[0, 0] == pytest.approx(first.lam[0], abs=1e-7)
    assert (rounds.lam[:, 1] == 0).all()
    for lam, level, dual, kkt in zip(
        rounds.lam, rounds.levels, rounds.dual, rounds.kkt, strict=True
    ):
        log_z, mean, _ = base.moments(lam * base.scale)
        np.testing.assert_allclose(level, base.raw(mean))
        goal, tilt = base.standardise(target), lam * base.scale
        assert dual == pytest.approx(tilt @ goal - log_z)
        short = goal - mean
        assert kkt == pytest.approx(max(*short, *np.abs(tilt * short), 0.0), abs=1e-12)
    with pytest.raises(InputError, match="the target of b cannot be reached"):
        sequential(base, base.raw(np.array([0.0, 99.0, 0.0])), rounds=1, names=["a", "b", "c"])
