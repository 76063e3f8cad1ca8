"""The controller alone: its step, bounds and averages, on a policy that is a formula."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from polyalign.palettes.solve import solve_palette
from polyalign.train.closed_loop import (
    LEVELS_MET,
    STEPS_USED,
    Aim,
    ClosedLoop,
    aim_of,
    group_covariance,
)

CURVATURE = np.array([[2.0, 0.8, 0.0], [0.8, 1.0, -0.2], [0.0, -0.2, 0.5]])
BEST = np.array([0.6, 0.9, 0.0])
TARGET = CURVATURE @ BEST - np.array([0.0, 0.0, 0.1])  # the third is met without a weight


def aim(start=None, width=0.02):
    start = BEST / 2 if start is None else np.array(start)
    return Aim(["a", "b", "c"], start, TARGET, TARGET - width, TARGET + width, CURVATURE)


def steer(loop, batches, lag, noise=0.0, seed=0):
    """Levels linear in a policy's own λ, which goes to the loop's by 1/`lag` of the way a batch."""
    draws, own = np.random.default_rng(seed), np.zeros(3)
    for _ in range(batches):
        level = CURVATURE @ own + noise * draws.normal(size=3)
        loop.update(level, CURVATURE @ (loop.lam - own))
        own = own + (loop.lam - own) / lag
    return own


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize(("lag", "miss"), [(1, 0.02), (5, 0.02), (20, 0.08)])
def test_finds_lambda_however_slowly_the_policy_follows(factor, lag, miss):
    loop = ClosedLoop(aim(factor * BEST), 100)
    steer(loop, 100, lag)
    np.testing.assert_allclose(loop.final, BEST, rtol=miss, atol=1e-9)


def test_a_policy_that_never_gets_there_is_asked_for_more():
    """It goes three quarters of the way to p_λ, so it is at the levels for 4/3 of λ."""
    loop, own = ClosedLoop(aim(BEST), 100), np.zeros(3)
    for _ in range(100):
        loop.update(CURVATURE @ own, CURVATURE @ (loop.lam - own))
        own = own + (0.75 * loop.lam - own) / 5
    np.testing.assert_allclose(own, BEST, rtol=0.05, atol=1e-9)


def test_does_not_wind_up_while_the_policy_is_behind():
    loop = ClosedLoop(aim(), 100)
    steer(loop, 100, lag=20)
    path = np.array(loop.path)
    assert (path[:, :2] <= 1.15 * BEST[:2]).all()


def test_noise_is_averaged_over_the_training():
    """Gains 2 / t weigh batch t in proportion to t: the variance is 4/3 of the mean's."""
    found = []
    for seed in range(200):
        loop = ClosedLoop(aim(BEST + np.array([0, 0, 0.5])), 60)
        loop.aim = replace(loop.aim, target=CURVATURE @ (BEST + np.array([0, 0, 0.5])))
        steer(loop, 60, lag=1, noise=0.1, seed=seed)
        found.append(CURVATURE @ loop.lam)
    assert np.std(found, axis=0) == pytest.approx(0.1 * np.sqrt(4 / 3 / 60), rel=0.25)


def test_one_step_by_hand():
    """A first batch of a single value: gain 2 / (2 + 0.1 · 20) = 1/2."""
    one = Aim(["a"], np.array([1.0]), np.array([3.0]), np.zeros(1), np.ones(1), np.array([[4.0]]))
    loop = ClosedLoop(one, 20)
    found = loop.update(np.array([2.0]), np.array([0.5]))
    assert found == {"lam/a": 1.0, "gap/a": 1.0}
    assert loop.lam == pytest.approx([1.0 + 0.5 * (1.0 - 0.5) / 4.0], rel=1e-5)
    loop.update(np.array([3.0]), np.array([1.0]))
    assert loop.lam == pytest.approx([1.0625 - (2 / 5) * 0.9 * 1.0 / 4.0], rel=1e-5)


def test_projects_in_the_metric_of_the_curvature():
    """Against a fine grid: the nearest λ ≥ 0 is not the one with negative parts cut."""
    curvature = np.array([[1.0, 0.9], [0.9, 1.0]])
    start, gap = np.array([0.3, 0.3]), np.array([0.05, -0.4])
    zero = np.zeros(2)
    loop = ClosedLoop(Aim(["a", "b"], start, gap, zero, zero, curvature), 20)
    loop.update(zero, zero)
    wanted = start + 0.5 * np.linalg.solve(curvature, gap)
    step = np.linalg.norm(np.linalg.cholesky(curvature).T @ (loop.lam - start))
    assert wanted[1] < 0
    assert step < 0.5 * np.sqrt(start @ curvature @ start), "no bound of the step is met"
    grid = np.linspace(0, 1, 2001)
    costs = curvature[0, 0] * (grid - wanted[0]) ** 2 - 1.8 * (grid - wanted[0]) * wanted[1]
    assert loop.lam == pytest.approx([grid[costs.argmin()], 0.0], abs=1e-3)
    assert abs(loop.lam[0] - wanted[0]) > 0.05, "a cut would have left it"


def test_an_impossible_level_stays_within_reach():
    loop = ClosedLoop(replace(aim(), target=TARGET + 100, low=TARGET + 99), 200)
    lengths = []
    for _ in range(200):
        loop.update(TARGET, np.zeros(3))
        lengths.append(np.sqrt(loop.lam @ CURVATURE @ loop.lam))
    start = np.sqrt(BEST @ CURVATURE @ BEST) / 2
    assert lengths[0] <= 1.501 * start
    assert lengths[-1] == pytest.approx(3 * start, rel=1e-4)
    assert loop.record()["stopped"] == STEPS_USED


def test_arrives_when_levels_and_lambda_are_steady_and_not_before_the_end():
    loop = ClosedLoop(aim(BEST), 40)
    arrived = []
    for _ in range(40):
        loop.update(TARGET + np.array([0, 0, 0.1]), np.zeros(3))
        arrived.append(loop.arrived)
    assert arrived == [False] * 37 + [True] * 3
    assert loop.record()["stopped"] == LEVELS_MET
    assert loop.record()["averaged"] == 10


@pytest.mark.parametrize("miss", [[-0.03, 0, 0], [0, 0.03, 0], [0, 0, -0.03]])
def test_a_level_outside_its_interval_goes_on(miss):
    loop = ClosedLoop(aim(BEST), 40)
    for _ in range(40):
        loop.lam = BEST.copy()
        loop.update(TARGET + np.array(miss), np.zeros(3))
    assert not loop.arrived


def test_lambda_that_still_moves_goes_on():
    loop = ClosedLoop(aim(BEST, width=9.0), 40)
    for batch in range(40):
        loop.lam = BEST * (1 + batch / 40)
        loop.update(TARGET, np.zeros(3))
    assert not loop.arrived


def test_a_value_that_does_not_vary_keeps_its_lambda():
    curvature = np.diag([2.0, 0.0])
    one = np.ones(2)
    loop = ClosedLoop(Aim(["a", "b"], one, one, one, one, curvature), 10)
    loop.update(np.zeros(2), np.zeros(2))
    assert loop.lam[0] > 1
    assert loop.lam[1] == 1


def test_goes_on_from_its_state_in_json_bit_by_bit():
    whole, stopped, again = (ClosedLoop(aim(), 30) for _ in range(3))
    draws = np.random.default_rng(1).normal(size=(30, 2, 3))
    for level, pending in draws:
        whole.update(level, pending)
    for level, pending in draws[:17]:
        stopped.update(level, pending)
    again.restore(json.loads(json.dumps(stopped.state())))
    for level, pending in draws[17:]:
        again.update(level, pending)
    assert again.state() == whole.state()
    assert again.record() == whole.record()


def test_record_is_of_the_last_quarter():
    loop = ClosedLoop(aim(), 8)
    for batch in range(8):
        loop.lam = np.full(3, float(batch))
        loop.update(np.full(3, 10.0 + batch), np.zeros(3))
    record = loop.record()
    assert record["lam"] == {"a": 6.5, "b": 6.5, "c": 6.5}
    assert record["levels"] == {"a": 16.5, "b": 16.5, "c": 16.5}
    assert record["moved"]["b"] == pytest.approx(6.5 - 0.45)
    assert (record["batches"], record["averaged"]) == (8, 2)


def test_aim_of_a_palette():
    """The interval is that of the levels on fresh prompts, around what is asked."""
    palette = {
        "values": ["a", "b"], "target": [1.0, 2.0], "lam_train": [0.1, 0.0],
        "level_se_train": [0.5, 1.0], "curvature_train": [[1.0, 0.0], [0.0, 1.0]],
    }  # fmt: skip
    found = aim_of(palette)
    assert found.low == pytest.approx([0.02, 0.04])
    assert found.high == pytest.approx([1.98, 3.96])
    assert found.start.tolist() == [0.1, 0.0]


@pytest.mark.parametrize("short", [0.0, 1.0])
def test_levels_may_be_short_by_so_many_standard_errors(short):
    """λ stays where a floor is lower, a ceiling higher, a band wider; what is told stays."""
    palette = {
        "values": ["a", "b <=", "c", "c <=", "d", "d <="],
        "target": [1.0, 2.0, 3.0, 4.0, 3.0, 4.0],
        "lam_train": [0.1, -0.2, 0.3, 0.0, 0.0, -0.3],
        "level_se_train": [0.5, 0.25, 0.1, 0.2, 0.1, 0.2],
        "curvature_train": np.eye(6).tolist(),
    }  # fmt: skip
    loop = ClosedLoop(replace(aim_of(palette), short=short), 10)
    level = np.array([1.0, 2.0, 3.0, 4.0]) + short * np.array([-0.5, 0.25, -0.1, 0.2])
    found = loop.update(level, np.zeros(4))
    assert loop.lam == pytest.approx([0.1, -0.2, 0.3, -0.3])
    assert found["gap/a"] == pytest.approx(0.5 * short)
    assert found["gap/b"] == pytest.approx(-0.25 * short)
    assert loop.record()["target"] == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 3.0}
    loop.update(level + 0.01, np.zeros(4))
    assert (loop.lam < [0.1, -0.2, 0.3, -0.3]).all()


def test_covariance_in_groups_against_numpy():
    draws = np.random.default_rng(3)
    rewards, scores = draws.normal(size=(12, 2)), draws.normal(size=12)
    expected = [
        np.mean([np.cov(rewards[at : at + 4, k], scores[at : at + 4])[0, 1] for at in (0, 4, 8)])
        for k in (0, 1)
    ]
    np.testing.assert_allclose(group_covariance(rewards, scores, 4), expected)


def test_a_ceiling_is_steered_as_the_negated_value_is():
    signs = np.array([1.0, -1.0, 1.0])
    plain = ClosedLoop(aim(), 40)
    low, high = TARGET - 0.02, TARGET + 0.02
    ends = np.where(signs > 0, [low, high], [-high, -low])
    capped = Aim(
        ["a", "b", "c"], signs * BEST / 2, signs * TARGET, *ends,
        CURVATURE * np.outer(signs, signs), ("b",),
    )  # fmt: skip
    turned = ClosedLoop(capped, 40)
    own = np.zeros(3)
    for _ in range(40):
        level, pending = CURVATURE @ own, CURVATURE @ (plain.lam - own)
        plain.update(level, pending)
        turned.update(signs * level, signs * pending)
        own = own + (plain.lam - own) / 5
        np.testing.assert_allclose(turned.lam, signs * plain.lam, atol=1e-12)
    assert turned.lam[1] < 0
    assert plain.arrived == turned.arrived


@pytest.mark.parametrize(("shift", "arrived"), [(0.01, True), (-0.01, True), (0.03, False)])
def test_a_ceiling_that_is_exceeded_has_not_arrived(shift, arrived):
    level = np.array([1.0])
    capped = Aim(["a"], np.array([-1.0]), level, level - 0.02, level + 0.02, np.eye(1), ("a",))
    loop = ClosedLoop(capped, 1)
    loop.update(level + shift, np.zeros(1))
    assert loop.arrived == arrived


def test_aim_of_a_palette_with_a_ceiling():
    palette = {
        "values": ["a", "b <="], "target": [1.0, 2.0], "lam_train": [0.1, -0.3],
        "level_se_train": [0.5, 1.0], "curvature_train": [[1.0, 0.0], [0.0, 1.0]],
    }  # fmt: skip
    found = aim_of(palette)
    assert (found.values, found.ceilings) == (["a", "b"], ("b",))


# Bands: on a table, where the levels of p_λ are sums.

WIDTH = {"lower end": (0.2, 0.6), "upper end": (-0.9, -0.35), "within": (-0.6, 0.6)}
"""Which end of a band holds → its ends, in standard deviations from the mean of the base."""


@pytest.fixture(scope="module")
def pool():
    """Rewards of 60 prompts with 12 candidates; the second value goes against the first."""
    draws = np.random.default_rng(11).normal(size=(60, 12, 3))
    draws[..., 1] -= 0.5 * draws[..., 0]
    return draws * [1.0, 2.0, 0.5] + [0.0, 3.0, -1.0]


def banded(pool, ends):
    """The solved palette as a study has it: a floor for a, a band for b, a ceiling for c."""
    names = ["a", "b", "c"]
    frame = pd.DataFrame(pool.reshape(-1, 3), columns=names)
    frame["prompt_id"] = np.repeat([f"p{n:02d}" for n in range(len(pool))], pool.shape[1])
    frame["split"] = "fit"
    words = [f"mean{end:+g}sd" for end in ends]
    levels = {"a": "mean+0.5sd", "b": f"between {words[0]} and {words[1]}", "c": "<= mean-0.2sd"}
    record = solve_palette(frame, "banded", levels, scope="prompt")
    # The loop is told λ for training; on a table the policy is limited to it, as λ itself is.
    return record | {"lam_train": record["lam"]}


def levels_of(pool, lam):
    """Levels (3,) of p_λ on the table, by plain weighting."""
    weight = np.exp(pool @ lam)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.einsum("pc,pck->k", weight, pool) / len(pool)


@pytest.mark.parametrize("wrong", [0.5, 2.0, "other side"])
@pytest.mark.parametrize("case", WIDTH)
def test_a_band_is_held_at_the_end_that_the_dual_says(pool, case, wrong):
    record = banded(pool, WIDTH[case])
    goal = aim_of(record)
    assert (goal.values, goal.ceilings) == (["a", "b", "c"], ("c",))
    assert list(goal.bands) == ["b"]
    exact = goal.start
    assert np.sign(exact).tolist() == [1, {"lower end": 1, "upper end": -1, "within": 0}[case], -1]
    np.testing.assert_allclose(levels_of(pool, exact)[[0, 2]], goal.target[[0, 2]], atol=1e-7)
    off = np.array([1, -1, 1]) if wrong == "other side" else wrong
    begun = exact * off + (0.1 * (case == "within") if wrong == "other side" else 0)
    loop = ClosedLoop(replace(goal, start=begun), 300)
    for _ in range(300):
        found = loop.update(levels_of(pool, loop.lam), np.zeros(3))
    np.testing.assert_allclose(loop.final, exact, atol=0.03 * np.abs(exact).max())
    low, high = goal.target[1], goal.bands["b"]
    level = levels_of(pool, loop.final)[1]
    near = 0.02 * pool[..., 1].std()
    assert low - near <= level <= high + near
    due = {"lower end": low, "upper end": high, "within": level}[case]
    assert level == pytest.approx(due, abs=near)
    assert found["gap/b"] == pytest.approx(due - level, abs=near)
    assert loop.arrived
    assert loop.record()["highest"] == {"b": high}


@pytest.mark.parametrize(
    ("lam", "level", "arrived"),
    [
        (0.0, 1.5, True), (0.0, 0.97, False), (0.0, 2.03, False),
        (1.0, 1.01, True), (1.0, 1.5, False), (1.0, 0.97, False),
        (-1.0, 1.99, True), (-1.0, 1.5, False), (-1.0, 2.03, False),
    ],
)  # fmt: skip
def test_a_band_has_arrived_where_its_end_is_met_or_at_no_cost_within(lam, level, arrived):
    """Beside a floor that is met; the interval of each end is 0.02 wide on either side."""
    goal = Aim(
        ["a", "b"], np.array([1.0, lam]), np.array([1.0, 1.0]), np.array([0.98, 0.98]),
        np.array([1.02, 2.02]), np.eye(2), (), {"b": 2.0},
    )  # fmt: skip
    loop = ClosedLoop(goal, 1)
    loop.update(np.array([1.0, level]), np.zeros(2))
    assert loop.arrived == arrived


def test_a_band_alone_that_is_met_does_not_move():
    one = np.ones(1)
    loop = ClosedLoop(Aim(["b"], 0 * one, one, one, 2 * one, np.eye(1), (), {"b": 2.0}), 5)
    assert loop.update(1.5 * one, 0 * one)["gap/b"] == 0
    assert loop.lam.tolist() == [0.0]
