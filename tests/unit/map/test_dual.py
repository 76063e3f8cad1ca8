"""The dual: closed forms, certificates, invariances, and the published figures."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mapdata import COLUMNS, skewed

from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.batch import _State, _steps, solve_many_on
from polyalign.map.dual import (
    Limits,
    Optimum,
    _step,
    infeasible_message,
    maximise,
    optimum_on,
    plain,
    policy_weights,
    proved_infeasible,
    solve,
    solve_on,
)
from polyalign.map.feasibility import feasibility_on
from polyalign.map.palette import parse_target

ORDER = list(COLUMNS)


def palette(reference: np.ndarray, quantile: str) -> np.ndarray:
    return parse_target(
        dict(zip(ORDER, [quantile] * 3 + ["mean"] * 3, strict=True)), reference, ORDER
    )


@pytest.mark.parametrize(
    ("quantile", "lam", "ess", "verdict"),
    [
        ("q80", [5.937, 2.432, 2.923, 0, 0, 0.153], 20, "unsupported"),
        ("q70", [2.017, 1.394, 1.499, 0, 0, 0.068], 180, "supported"),
    ],
)
def test_published_palettes(reference, quantile, lam, ess, verdict):
    solution = solve(reference, palette(reference, quantile), scope="joint", names=ORDER)
    np.testing.assert_allclose(
        solution.base, [0.604, -1.011, 1.248, 0.848, 0.521, -1.375], atol=5e-4
    )
    np.testing.assert_allclose(solution.lam, lam, atol=6e-4)
    assert (solution.lam[3:5] == 0.0).all()
    assert round(solution.ess) == ess
    assert solution.verdict == verdict
    assert solution.kkt <= 1e-8
    if quantile == "q80":
        assert round(solution.kl, 2) == 3.64
        np.testing.assert_allclose(solution.target[:3], [2.363, -0.108, 2.164], atol=5e-4)


def test_auto_takes_joint_with_one_candidate_and_prompt_with_eight():
    rewards, groups = skewed(20, 8, 2)
    target = rewards.mean(axis=0)
    assert solve(rewards, target, groups=groups).scope == "prompt"
    rest = np.arange(160) % 8 > 0
    assert solve(rewards[rest], target, groups=groups[rest]).scope == "joint"


def test_gaussian_closed_form():
    draws = np.random.default_rng(1)
    mixing = np.array([[1.0, 0.0], [0.6, 0.8]])
    covariance = mixing @ mixing.T
    rewards = draws.normal(size=(400_000, 2)) @ mixing.T + [3.0, -1.0]
    gain = np.array([0.5, 0.7])
    solution = solve(rewards, np.array([3.0, -1.0]) + gain, scope="joint")
    exact = np.linalg.solve(covariance, gain)
    np.testing.assert_allclose(solution.lam, exact, atol=0.02)
    assert solution.kl == pytest.approx(gain @ exact / 2, abs=0.01)


def test_two_point_closed_form():
    # p0 = (1 - a, a) on rewards 0 and 1: lam = log(c (1 - a) / (a (1 - c))).
    base = Base(np.array([[0.0], [1.0]]), None, "joint", prompt_weights=np.array([0.8, 0.2]))
    solution = solve_on(base, np.array([0.7]))
    assert solution.lam[0] == pytest.approx(np.log(0.7 * 0.8 / (0.2 * 0.3)), rel=1e-9)
    # The same within every prompt, and with unequal numbers of candidates.
    rewards = np.array([[0.0], [1.0], [0.0], [0.0], [1.0], [1.0]])
    groups = np.array([0, 0, 1, 1, 1, 1])
    solution = solve(rewards, np.array([0.7]), groups=groups, scope="prompt")
    assert solution.lam[0] == pytest.approx(np.log(0.7 / 0.3), rel=1e-9)


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_gradient_and_hessian_are_derivatives(scope):
    rewards, groups = skewed(7, 5, 3)
    keep = np.arange(35) != 4
    base = Base(rewards[keep], groups[keep], scope, prompt_weights=np.linspace(0.5, 2, 7))
    lam = np.array([0.3, 0.1, 0.7])
    _, gradient, hessian = base.moments(lam)
    for i, unit in enumerate(np.eye(3) * 1e-5):
        up, down = base.moments(lam + unit), base.moments(lam - unit)
        assert (up[0] - down[0]) / 2e-5 == pytest.approx(gradient[i], abs=1e-8)
        np.testing.assert_allclose((up[1] - down[1]) / 2e-5, hessian[i], atol=1e-8)


def test_a_value_sent_to_zero_leaves_the_others_a_whole_newton_step():
    # On a quadratic dual one step ends at the maximum, also where a value must go back to zero.
    covariance = np.array([[1.0, 0.5], [0.5, 1.0]])

    def moments(lam):
        return float(lam @ covariance @ lam) / 2, covariance @ lam, covariance

    goal = np.array([1.0, 0.2])
    found = maximise(moments, goal, 50.0, start=np.array([0.4, 0.7]))
    np.testing.assert_allclose(found.lam, [1.0, 0.0], atol=1e-9)
    assert (found.status, found.iterations) == ("solved", 1)


def test_a_value_that_the_others_leave_short_joins_within_the_step():
    # Nothing is asked of the second value, but raising the first alone would lower it.
    covariance = np.array([[1.0, -0.5], [-0.5, 1.0]])

    def moments(lam):
        return float(lam @ covariance @ lam) / 2, covariance @ lam, covariance

    found = maximise(moments, np.array([1.0, 0.0]), 50.0)
    np.testing.assert_allclose(found.lam, [4 / 3, 2 / 3], rtol=1e-9)
    assert (found.status, found.iterations) == ("solved", 1)


def test_the_untilted_moments_are_those_of_the_table():
    rewards, _ = skewed(7, 5, 3)
    weights = np.linspace(0.0, 2, 35)
    base = Base(rewards, None, "joint", prompt_weights=weights, scale=np.array([1.0, 2.0, 0.5]))
    log_z, level, hessian = base.moments(np.zeros(3))
    covariance = np.cov(rewards.T, aweights=weights, bias=True)
    assert log_z == 0.0
    assert not level.any()
    np.testing.assert_allclose(hessian * np.outer(base.scale, base.scale), covariance, rtol=1e-12)


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_what_a_tilt_spends_is_that_of_the_lam_asked_for(scope):
    rewards, groups = skewed(7, 5, 3)
    base = Base(rewards, groups, scope)
    lam, other = np.array([0.3, 0.1, 0.7]), np.array([1.0, 0.0, 0.2])
    for last in (lam, other):
        base.moments(last)
        p = base.weights(lam).reshape((7, 5) if scope == "prompt" else (1, 35))
        sizes = 1 / (p**2).sum(axis=1)
        assert base.support(lam) == pytest.approx(
            (sizes.sum(), sizes.mean(), p.max(axis=1).mean()), rel=1e-12
        )


def test_the_hessian_keeps_its_digits_where_almost_nothing_varies():
    # Two points, the better one almost certain: the variance is p (1 - p), far below its square.
    base = Base(np.array([[0.0], [1.0]]), None, "joint")
    variance = np.exp(-30.0) / (1 + np.exp(-30.0)) ** 2
    hessian = base.moments(np.array([30.0]) * base.scale)[2] * base.scale**2
    assert hessian[0, 0] == pytest.approx(variance, rel=1e-6, abs=0.0)


def test_the_hessian_within_prompts_keeps_its_digits_where_almost_nothing_varies():
    rewards, groups = np.tile([[0.0], [1.0]], (3, 1)), np.repeat([0, 1, 2], 2)
    base = Base(rewards, groups, "prompt")
    variance = np.exp(-30.0) / (1 + np.exp(-30.0)) ** 2
    hessian = base.moments(np.array([30.0]) * base.scale)[2] * base.scale**2
    assert hessian[0, 0] == pytest.approx(variance, rel=1e-6, abs=0.0)


def test_a_solution_by_way_of_single_precision_is_the_same(monkeypatch):
    rewards, groups = skewed(40, 10, 3)
    keep = np.random.default_rng(8).random(400) < 0.9
    rewards, groups = rewards[keep], groups[keep]
    plain_base = Base(rewards, groups, "prompt")
    monkeypatch.setattr("polyalign.map.base.BLOCK_NUMBERS", 120)
    base = Base(rewards, groups, "prompt")
    assert len(base.blocks) > len(plain_base.blocks)
    targets = base.raw(np.random.default_rng(7).uniform(-0.2, 1.2, size=(60, 3)))
    solved = 0
    for target in targets:
        goal = base.standardise(target)
        one = maximise(plain_base.moments, goal, plain_base.max_kl)
        two = optimum_on(base, goal)
        assert two.status == one.status
        if one.status != "solved":
            continue
        solved += 1
        # The certificate is of double precision, whatever led there.
        _, level, _ = plain_base.moments(two.lam)
        residual = np.maximum(goal - level, np.abs(two.lam * (goal - level))).max()
        assert max(two.kkt, residual) <= 1.1e-9
        np.testing.assert_allclose(two.lam, one.lam, rtol=1e-6, atol=1e-7)
        assert ((two.lam == 0) == (one.lam == 0)).all()
        again = optimum_on(base, goal, start=two.lam)
        assert again.kkt <= 1e-9
    assert 20 < solved < 50


def test_where_single_precision_fails_double_precision_solves():
    # The values differ by a thousandth of what single precision resolves.
    draws = np.random.default_rng(9)
    one = draws.normal(size=64_000)
    rewards = np.column_stack([one, one + 1e-6 * draws.normal(size=one.size)])
    base = Base(rewards, np.repeat(np.arange(8000), 8), "prompt")
    assert base.rough() is not None
    goal = np.array([0.3, 0.3 + 2e-7])
    found = optimum_on(base, goal)
    assert found.status == "solved"
    assert found.kkt <= 1e-9
    level = base.moments(found.lam)[1]
    assert (level >= goal - 1e-9).all()


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_certificate_holds_when_computed_by_hand(scope):
    rewards, groups = skewed(60, 10, 4)
    base = Base(rewards, groups, scope)
    target = base.raw(np.array([0.4, 0.3, 0.1, -2.0]))
    solution = solve(rewards, target, groups=groups, scope=scope)
    share = 1 / 60 if scope == "prompt" else 1.0
    weights = policy_weights(rewards, solution.lam, groups, scope) * share
    assert weights.sum() == pytest.approx(1.0)
    realised = weights @ rewards
    np.testing.assert_allclose(realised, solution.realised, rtol=1e-9)
    assert (realised >= target - 1e-8).all()
    assert np.abs(solution.lam * (realised - target)).max() < 1e-8
    assert solution.lam[3] == 0.0
    kl = float(weights @ np.log(weights * 600))
    assert solution.kl == pytest.approx(kl, abs=1e-9)
    assert solution.dual == pytest.approx(kl, abs=1e-8)
    assert solution.verdict in ("supported", "unsupported")


def test_no_policy_that_reaches_the_target_is_nearer():
    rewards, groups = skewed(30, 6, 3)
    base = Base(rewards, groups, "prompt")
    target = base.raw(np.array([0.3, 0.3, 0.2]))
    solution = solve(rewards, target, groups=groups, scope="prompt")
    draws = np.random.default_rng(2)
    hits = 0
    for _ in range(300):
        lam = solution.lam * draws.uniform(0.8, 1.6, 3)
        p = policy_weights(rewards, lam, groups, "prompt") / 30
        if (p @ rewards >= target).all():
            hits += 1
            assert float(p @ np.log(p * 180)) >= solution.kl - 1e-9
    assert hits > 20


def test_target_already_met_costs_nothing():
    rewards, groups = skewed(20, 10, 3)
    solution = solve(rewards, rewards.mean(axis=0), groups=groups, scope="prompt")
    assert (solution.lam == 0.0).all()
    assert solution.kl == 0.0
    assert solution.ess == pytest.approx(200)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scope=st.sampled_from(["prompt", "joint"]),
    gain=st.floats(0.05, 0.5),
)
def test_invariances(seed, scope, gain):
    rewards, groups = skewed(25, 8, 3, seed)
    base = Base(rewards, groups, scope)
    target = base.raw(np.array([gain, gain / 2, -0.5]))
    solution = solve(rewards, target, groups=groups, scope=scope)
    assume(solution.verdict != "infeasible")
    lam = solution.lam
    scale = np.array([1e-3, 1.0, 50.0])

    def again(r, c, g):
        return solve(r, c, groups=g, scope=scope).lam

    np.testing.assert_allclose(
        again(rewards * scale, target * scale, groups) * scale, lam, atol=1e-6
    )
    np.testing.assert_allclose(again(rewards + 1e3, target + 1e3, groups), lam, atol=1e-6)
    shuffled = np.random.default_rng(seed).permutation(200)
    renamed = np.random.default_rng(seed).permutation(25)[groups]
    np.testing.assert_allclose(again(rewards[shuffled], target, renamed[shuffled]), lam, atol=1e-6)
    doubled = np.vstack([rewards, rewards])
    np.testing.assert_allclose(again(doubled, target, np.tile(groups, 2)), lam, atol=1e-6)
    easy = np.column_stack([rewards, np.random.default_rng(seed).random(200)])
    wider = again(easy, np.append(target, -1.0), groups)
    np.testing.assert_allclose(wider[:3], lam, atol=1e-6)
    assert wider[3] == 0.0


def test_integer_weights_of_prompts_are_copies():
    rewards, groups = skewed(15, 8, 2)
    keep = np.random.default_rng(2).random(120) < 0.8
    rewards, groups = rewards[keep], groups[keep]
    times = np.array([0, 1, 2] * 5)
    rows = [np.flatnonzero(groups == x) for x in np.repeat(np.arange(15), times)]
    copies = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
    copied = rewards[np.concatenate(rows)]
    for scope in ("joint", "prompt"):
        base = Base(rewards, groups, scope, prompt_weights=times)
        again = Base(copied, copies, scope)
        np.testing.assert_allclose(base.center, again.center, rtol=1e-12)
        np.testing.assert_allclose(base.scale, again.scale, rtol=1e-12)
        target = base.raw(np.array([0.3, 0.2]))
        one, two = solve_on(base, target), solve_on(again, target)
        np.testing.assert_allclose(one.lam, two.lam, atol=1e-7)
        assert one.kl == pytest.approx(two.kl, abs=1e-9)
        assert one.n_prompts == 10
        assert one.n_samples == np.isin(groups, np.flatnonzero(times)).sum()


def test_ragged_prompts_agree_with_a_general_solver():
    from scipy.optimize import minimize

    rewards, groups = skewed(12, 9, 2)
    keep = np.random.default_rng(4).random(108) < 0.7
    rewards, groups = rewards[keep], groups[keep]
    target = Base(rewards, groups, "prompt").raw(np.array([0.3, 0.2]))

    def negative(lam):
        logs = [np.log(np.mean(np.exp(rewards[groups == x] @ lam))) for x in np.unique(groups)]
        return np.mean(logs) - lam @ target

    found = minimize(negative, np.ones(2), bounds=[(0, None)] * 2, method="L-BFGS-B")
    lam = solve(rewards, target, groups=groups, scope="prompt").lam
    np.testing.assert_allclose(lam, found.x, atol=2e-3)


def test_joint_under_delivers_on_fresh_candidates_and_prompt_delivers():
    draws = np.random.default_rng(5)
    between = draws.normal(size=(3000, 1))

    def candidates():
        return between + draws.normal(size=(3000, 32))

    first, fresh = candidates(), candidates()
    groups = np.repeat(np.arange(3000), 32)
    target = first.mean() + 0.8
    delivered = {}
    for scope in ("joint", "prompt"):
        lam = solve(first.reshape(-1, 1), np.array([target]), groups=groups, scope=scope).lam
        p = policy_weights(fresh.reshape(-1, 1), lam, groups, "prompt")
        delivered[scope] = float(p @ fresh.ravel()) / 3000 - fresh.mean()
    assert delivered["prompt"] == pytest.approx(0.8, abs=0.02)
    assert delivered["joint"] < 0.5


def test_infeasible_names_the_conflict_and_does_not_raise():
    draws = np.random.default_rng(6)
    x = draws.normal(size=500)
    rewards = np.column_stack([x, -x, draws.normal(size=500)])
    solution = solve(rewards, np.array([1.0, 0.5, 0.2]), names=["up", "down", "other"])
    assert solution.verdict == solution.status == "infeasible"
    assert solution.conflict == ["up", "down"]
    assert solution.slack < 0
    record = json.loads(json.dumps(solution.to_dict(), allow_nan=False))
    assert record["lam"] == [None, None, None]
    assert "up, down" in record["message"]


@pytest.mark.parametrize("scope", ["joint", "prompt"])
@pytest.mark.parametrize("beyond", [0.0, 1e-9, 3e-9])
def test_the_kl_of_a_solution_beyond_the_edge_is_that_of_its_weights(scope, beyond):
    """All weight is on the two best of three: KL log 3/2, whatever the size of lam."""
    rewards = np.tile([[0.0], [1.0], [1.0]], (2, 1))
    groups = np.repeat([0, 1], 3)
    stalled = solve(rewards, np.array([1 + beyond]), groups=groups, scope=scope)
    assert stalled.verdict != "infeasible"
    assert stalled.kl == pytest.approx(np.log(1.5), abs=1e-6)
    assert f"KL {np.log(1.5):.3g} nats" in stalled.message
    p = policy_weights(rewards, stalled.lam, groups, scope)
    p = p[p > 0] / p.sum()
    assert stalled.kl == pytest.approx(float(p @ np.log(6 * p)), abs=1e-6)


def test_constant_value_and_greedy_target():
    rewards = np.column_stack([np.full(50, 3.0), np.arange(50.0)])
    solution = solve(rewards, np.array([3.0, 30.0]))
    assert solution.lam[0] == 0.0
    assert solve(rewards, np.array([3.1, 30.0]), names=["a", "b"]).conflict == ["a"]
    greedy = solve(rewards, np.array([3.0, 49.0]))
    assert greedy.verdict == "unsupported"
    assert greedy.realised[1] == pytest.approx(49.0, abs=1e-6)


def test_thresholds_are_arguments(reference):
    target = palette(reference, "q80")
    assert solve(reference, target, limits=Limits(10, 0.5)).verdict == "supported"
    assert (
        solve(reference, palette(reference, "q70"), limits=Limits(min_ess=200)).verdict
        == "unsupported"
    )
    assert (
        solve(reference, palette(reference, "q70"), limits=Limits(max_weight=0.01)).verdict
        == "unsupported"
    )


@pytest.mark.parametrize("scope", ["joint", "prompt"])
def test_batch_agrees_with_single_solves(scope):
    rewards, groups = skewed(40, 10, 3)
    base = Base(rewards, groups, scope)
    top = 1.2 if scope == "prompt" else 3.0
    targets = base.raw(np.random.default_rng(7).uniform(-0.2, top, size=(40, 3)))
    batch = solve_many_on(base, targets)
    assert 0.1 < batch.feasible.mean() < 0.9
    assert batch.kkt[batch.feasible].max() <= 1e-8
    for i, target in enumerate(targets):
        one = solve(rewards, target, groups=groups, scope=scope)
        assert batch.feasible[i] == (one.verdict != "infeasible")
        if batch.feasible[i]:
            np.testing.assert_allclose(batch.lam[i], one.lam, rtol=1e-4, atol=1e-6)
            assert batch.kl[i] == pytest.approx(one.kl, abs=1e-7)
            assert batch.ess[i] == pytest.approx(one.ess, rel=1e-4)
            assert batch.max_weight[i] == pytest.approx(one.max_weight, rel=1e-4)
            np.testing.assert_allclose(batch.realised[i], one.realised, atol=1e-7)
        else:
            assert np.isnan(batch.lam[i]).all()
            assert np.isnan(batch.realised[i]).all()
            assert np.isnan([batch.kl[i], batch.ess[i], batch.kkt[i], batch.max_weight[i]]).all()
    with pytest.raises(InputError, match="expected \\(palettes, 3\\)"):
        solve_many_on(base, targets[:, :2])
    with pytest.raises(InputError, match="finite"):
        solve_many_on(base, np.where(np.eye(3) > 0, np.nan, 0.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.array([[1.0], [np.nan]])}, "row 1"),
        ({"rewards": np.zeros((0, 1))}, "expected"),
        ({"target": np.array([1.0, 2.0])}, "target"),
        ({"scope": "both"}, "scope"),
        ({"groups": np.array([0.5, 1.0])}, "groups"),
        ({"names": ["a", "b"]}, "names"),
    ],
)
def test_bad_input_is_one_clear_error(change, message):
    given = {"rewards": np.array([[1.0], [2.0]]), "target": np.array([1.6])} | change
    rewards, target = given.pop("rewards"), given.pop("target")
    with pytest.raises(InputError, match=message):
        solve(rewards, target, **given)


@pytest.mark.parametrize(
    ("weights", "message"),
    [(np.array([1.0, -1.0]), "-1.0 in row 1"), (np.zeros(2), "all weights"), (np.ones(3), "shape")],
)
def test_bad_weights_of_prompts_are_one_clear_error(weights, message):
    with pytest.raises(InputError, match=message):
        Base(np.array([[1.0], [2.0]]), None, "joint", prompt_weights=weights)


def test_solving_and_judging_a_study_imports_no_torch():
    code = (
        "import sys, polyalign.palettes.solve, polyalign.palettes.diagnose, polyalign.map.front\n"
        "import polyalign.map.sequential, polyalign.palettes.streamed, polyalign.cli.table.solve\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_the_mathematics_imports_neither_torch_nor_scipy():
    code = (
        "import sys, polyalign.map.palette\n"
        "print({'torch', 'scipy', 'pandas', 'pyarrow'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_weak_support_has_its_reason_in_the_message():
    """Bernoulli rewards: the tilt that gives the level c has weights c and 1 - c a half each."""
    rewards = np.array([[0.0], [1.0]] * 3)
    groups = np.repeat([0, 1, 2], 2)
    base = Base(rewards, groups, "prompt")

    def judged(level, **limits):
        free = {"min_ess": 1.0, "max_weight": 1.0, "max_kl_share": 1.0} | limits
        solution = solve_on(base, np.array([level]), limits=Limits(**free))
        return solution.verdict, solution.message

    q = 0.8
    kl = q * np.log(2 * q) + (1 - q) * np.log(2 * (1 - q))
    ess, lam = 1 / (q**2 + (1 - q) ** 2), np.log(q / (1 - q))
    facts = (
        f"effective sample size {ess:.3g} of a prompt's candidates, largest weight 0.8, "
        f"KL {kl:.3g} nats of at most {np.log(2):.3g}"
    )
    assert judged(q) == ("supported", f"supported: {facts}")
    share = kl / np.log(2)
    for name, edge, weak, reason in (
        ("min_ess", ess, 1, "fewer than 1.47 effective of a prompt's candidates"),
        ("max_weight", q, -1, "a largest weight above 0.799"),
        ("max_kl_share", share, -1, "more than 28% of the KL that this selection can spend"),
        ("max_norm", lam, -1, "a sum of lam of 1.39, above 1.385"),
    ):
        assert judged(q, **{name: edge - weak * 1e-3})[0] == "supported"
        verdict, message = judged(q, **{name: edge + weak * 1e-3})
        assert verdict == "unsupported"
        assert message.startswith(f"unsupported ({reason[:12]}")
        assert message.endswith(f"): {facts}")
    verdict, message = judged(q, min_ess=2.0, max_weight=0.7)
    assert "fewer than 2 effective of a prompt's candidates; a largest weight above 0.7)" in message


def test_default_limits_of_scope_joint_are_100_samples_and_a_tenth():
    def judged(n, **options):
        return solve(np.zeros((n, 1)), np.zeros(1), scope="joint", **options).verdict

    assert (judged(100), judged(99)) == ("supported", "unsupported")
    assert judged(10, limits=Limits(min_ess=1)) == "supported"
    assert judged(9, limits=Limits(min_ess=1)) == "unsupported"


def test_default_limits_of_scope_prompt_are_two_candidates_and_three_quarters():
    def judged(rewards, level, **limits):
        groups = np.repeat([0, 1], len(rewards) // 2)
        given = np.array(rewards, dtype=float)[:, None]
        return solve(given, [level], groups=groups, scope="prompt", limits=Limits(**limits)).verdict

    assert judged([0, 0, 0, 0], 0.0) == "supported"
    assert judged([0, 1, 0, 1], 0.6) == "unsupported"  # below 2 effective candidates
    assert judged([0, 1, 0, 1], 0.74, min_ess=1) == "supported"
    assert judged([0, 1, 0, 1], 0.76, min_ess=1) == "unsupported"
    # Best with probability q of 4: the KL is log 4 times 0.9 at q = 0.9785.
    apart = [0, 0, 0, 1] * 2
    assert judged(apart, 0.97, min_ess=1, max_weight=1) == "supported"
    assert judged(apart, 0.985, min_ess=1, max_weight=1) == "unsupported"


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_all_that_a_solution_says_by_hand(scope):
    rewards, groups = skewed(30, 6, 2, 4)
    rewards, groups = rewards[:-3], groups[:-3]
    base = Base(rewards, groups, scope)
    target = base.raw(np.array([0.3, 0.2]))
    solution = solve_on(base, target, names=["a", "b"], slack=True)
    p = base.weights(solution.lam * base.scale)
    cells = groups if scope == "prompt" else np.zeros(177, dtype=int)
    sizes = 1 / np.bincount(cells, p**2)
    largest = np.array([p[cells == cell].max() for cell in range(cells.max() + 1)])
    assert solution.ess == pytest.approx(sizes.sum())
    assert solution.mean_ess == pytest.approx(sizes.mean())
    assert solution.max_weight == pytest.approx(largest.mean())
    assert solution.gap == pytest.approx(solution.kl - solution.dual)
    assert abs(solution.gap) < 1e-9
    assert (solution.n_samples, solution.n_prompts) == (177, 30)
    assert solution.iterations <= 6
    assert solution.slack == feasibility_on(base, target, ["a", "b"]).slack
    assert solve_on(base, target).slack is None
    assert solution.conflict == []
    np.testing.assert_array_equal(solution.base, base.center)
    near = solve_on(base, target, start=solution.lam)
    assert near.iterations == 0


def test_newtons_method_takes_few_steps():
    for scope in ("prompt", "joint"):
        rewards, groups = skewed(40, 10, 3)
        base = Base(rewards, groups, scope)
        top = 1.2 if scope == "prompt" else 3.0
        targets = base.raw(np.random.default_rng(7).uniform(-0.2, top, size=(40, 3)))
        single = [solve_on(base, target).iterations for target in targets]
        batch = solve_many_on(base, targets)
        assert max(single) <= 10
        assert np.mean(single) <= 4.6
        assert batch.iterations.max() <= 10
        assert batch.iterations.mean() <= 4.8


def test_an_infeasible_palette_says_how_far_and_why():
    one = infeasible_message("joint", -0.25, ["a"])
    assert one == (
        "infeasible: a is out of reach by any tilt; the best policy misses the target by 0.25 "
        "standard deviations: lower a level, or draw more candidates per prompt"
    )
    two = infeasible_message("prompt", -0.25, ["a", "b"])
    assert "a, b cannot be reached together by choosing among the candidates" in two
    solution = solve(np.array([[0.0], [1.0]]), np.array([1.5]), names=["a"])
    assert solution.slack == pytest.approx(-1.0)
    assert np.isnan([solution.kl, solution.ess, solution.max_weight, solution.lam[0]]).all()


def test_a_target_at_the_edge_is_feasible_without_a_certificate():
    solution = solve(np.array([[0.0], [1.0], [1.0]]), np.array([1.0 + 3e-9]))
    assert (solution.status, solution.verdict) == ("stalled", "unsupported")
    assert "the KKT residual stayed at" in solution.message
    assert solution.realised[0] == pytest.approx(1.0, abs=1e-6)
    assert solution.slack == pytest.approx(0.0, abs=1e-8)
    base = Base(np.array([[0.0], [1.0], [1.0]]), None, "joint")
    batch = solve_many_on(base, np.array([[1.0 + 3e-9], [1.0 + 1e-6], [0.9]]))
    assert batch.feasible.tolist() == [True, False, True]


def test_json_has_no_numbers_that_are_not_finite():
    found = plain({"a": np.array([1.0, np.nan]), "b": (np.int64(3), np.inf), "c": None, "d": "x"})
    assert found == {"a": [1.0, None], "b": [3, None], "c": None, "d": "x"}


def test_an_infeasible_target_is_proved_by_its_dual():
    # One more than the largest KL proves it; a dual within rounding of it does not.
    lam = np.array([1.0, 2.0])
    for value, proved in ((2.0, False), (2.0 + 2e-8, False), (2.0 + 4e-8, True)):
        assert proved_infeasible(value, lam, 2.0) == proved


def stepped(covariance, goal, lam, damping=0.0):
    """The next lam on a quadratic dual, by the single and the vectorised solver."""
    covariance, goal, lam = np.array(covariance), np.array(goal), np.array(lam)
    gradient = goal - covariance @ lam
    one = _step(Optimum(lam, 0.0, gradient, covariance, 0.0, 0, ""), damping, [])
    # In the batch the palette stands between two that are solved already.
    zero = np.zeros_like(lam)
    state = _State(
        lam=np.array([zero, lam, zero]),
        value=np.zeros(3),
        gradient=np.array([zero, gradient, zero]),
        hessian=np.array([covariance] * 3),
        kkt=np.zeros(3),
    )
    many = _steps(state, np.array([0.0, damping, 0.0]))
    assert not many[[0, 2]].any()
    return one, many[1]


@pytest.mark.parametrize(
    ("covariance", "goal", "lam", "damping", "expected"),
    [
        # Straight to the maximum.
        ([[1.0, 0.5], [0.5, 2.0]], [1.0, 2.0], [0.1, 0.2], 0.0, [4 / 7, 6 / 7]),
        # The second value is sent to zero, and the first one takes that into account.
        ([[1.0, 0.5], [0.5, 1.0]], [1.0, 0.2], [0.4, 0.7], 0.0, [1.0, 0.0]),
        # The same with a third value that stays free: it solves x + 0.1 z = 1, 0.1 x + z = 0.5.
        (
            [[1.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 1.0]],
            [1.0, 0.2, 0.5],
            [0.4, 0.7, 0.1],
            0.0,
            [0.95 / 0.99, 0.0, 0.4 / 0.99],
        ),
        # A value at zero that asks for nothing stays there.
        ([[1.0, 0.0], [0.0, 1.0]], [1.0, -0.5], [0.2, 0.0], 0.0, [1.0, 0.0]),
        # No step is longer than 5 + 2 max lam.
        ([[1.0]], [100.0], [0.0], 0.0, [5.0]),
        ([[1.0, 0.0], [0.0, 1.0]], [100.0, 50.0], [1.0, 2.0], 0.0, [10.0, 2 + 9 * 48 / 99]),
        # Damping adds to the diagonal, in units of the mean curvature: 1 + 0.5 * 2 and 3 + 0.5 * 2.
        ([[1.0, 0.0], [0.0, 3.0]], [1.0, 2.0], [0.0, 0.0], 0.5, [0.5, 0.5]),
    ],
)
def test_newton_steps_by_hand(covariance, goal, lam, damping, expected):
    for found in stepped(covariance, goal, lam, damping):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
