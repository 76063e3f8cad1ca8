"""A study's palettes: solved on the pool, judged, and said to be adjusted where they are."""

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pooldata import pool

from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.budget import Budget
from polyalign.map.diagnostics import delta_interval, reweighting_share
from polyalign.map.dual import DEFAULT_LIMITS, Limits, solve
from polyalign.map.limit import solve_limit
from polyalign.palettes import diagnose
from polyalign.palettes.diagnose import diagnose_palette
from polyalign.palettes.lam import read_lam
from polyalign.palettes.record import lam_of, read_palettes
from polyalign.palettes.solve import solve_palette


def diagnosed(frame, record, limits=DEFAULT_LIMITS, resamples=0):
    found = diagnose_palette(frame, record, limits=limits, resamples=resamples, seed=1)
    return json.loads(json.dumps(found, allow_nan=False))


def test_a_palette_is_realised_on_fresh_prompts() -> None:
    frame = pool(4000)
    record = diagnosed(frame, solve_palette(frame, "p", {"humor": "q65", "helpful": "mean"}))
    assert record["verdict"] == "supported"
    assert (record["reached"], record["adjusted"]) == (1.0, False)
    surplus = np.subtract(record["realised"], record["asked"])
    assert (surplus >= -1e-6).all()
    assert np.allclose(surplus * record["lam"], 0.0, atol=1e-6)
    gap = np.abs(np.subtract(record["test"]["expected"], record["realised"]))
    assert (gap < 4 * np.sqrt(2) * np.array(record["test"]["se"])).all()
    assert record["warnings"] == []


def test_a_value_that_does_not_vary_is_said_in_the_record() -> None:
    """The verdict is about the samples' weights and stays `supported`."""
    frame = pool(400).assign(flat=2.5)
    frame["topic"] = frame.groupby("prompt_id")["humor"].transform("mean")
    levels = {"humor": "q60", "flat": "q90", "topic": "mean"}
    record = diagnosed(frame, solve_palette(frame, "p", levels))
    assert record["lam"][1:] == [0.0, 0.0]
    assert record["verdict"] == "supported"
    flat, topic = record["warnings"]
    assert flat.startswith("flat is 2.5 for every sample")
    assert topic.startswith("topic is the same for all candidates of each prompt")


def test_the_bias_of_few_candidates_is_removed() -> None:
    """Gaussian rewards: as K grows λ tends to (c − μ) / σ² within prompts; here it is 0.5."""
    frame = pool(4000, candidates=8, seed=3)
    base = frame.loc[frame["split"] == "fit", "humor"].mean()
    record = solve_palette(frame, "p", {"humor": base + 0.5})
    assert record["lam_decode"] == record["lam"]
    assert abs(record["lam"][0] - 0.5) > 0.04
    assert record["lam_train"][0] == pytest.approx(0.5, abs=0.02)
    assert record["lam_bias"][0] == pytest.approx(record["lam"][0] - record["lam_train"][0])


def test_trainings_steer_by_the_curvature_and_the_errors_at_their_lambda() -> None:
    """Differences of the levels of p_λ, and the spread of the prompts' levels, by hand."""
    frame = pool(2000, candidates=8, seed=3)
    names = ["humor", "helpful"]
    record = solve_palette(frame, "p", {"humor": "mean+0.3sd", "helpful": "mean+0.2sd"})
    fit = frame[frame["split"] == "fit"]
    rewards = fit[names].to_numpy()
    prompts = pd.factorize(fit["prompt_id"])[0]

    def by_prompt(lam: np.ndarray) -> np.ndarray:
        weights = pd.Series(np.exp(rewards @ lam))
        weights = weights / weights.groupby(prompts).transform("sum")
        return pd.DataFrame(rewards * weights.to_numpy()[:, None]).groupby(prompts).sum().to_numpy()

    lam, step = np.array(record["lam_train"]), 1e-4
    assert (lam < record["lam"]).all()
    slopes = [
        (by_prompt(lam + move).mean(axis=0) - by_prompt(lam - move).mean(axis=0)) / (2 * step)
        for move in step * np.eye(2)
    ]
    np.testing.assert_allclose(record["curvature_train"], np.transpose(slopes), rtol=1e-5)
    levels = by_prompt(lam)
    errors = levels.std(axis=0) / np.sqrt(len(levels))
    np.testing.assert_allclose(record["level_se_train"], errors, rtol=1e-6)


def test_prompts_with_one_candidate_leave_the_jackknife_alone() -> None:
    """Their level cannot change, so the others' halves are to bear the same palette."""
    frame = pool(3000, candidates=12, seed=4)
    single = frame["prompt"].isin([f"prompt {i}" for i in range(0, 1500, 10)])
    frame = frame[~(single & (frame["candidate"] > 0))]
    base = frame[frame["split"] == "fit"].groupby("prompt_id")["humor"].mean().mean()
    record = solve_palette(frame, "p", {"humor": base + 0.45}, scope="prompt")
    assert record["lam_train"][0] == pytest.approx(0.5, abs=0.02)


def test_an_infeasible_palette_fails_or_is_adjusted_and_says_so() -> None:
    levels: dict[str, str | float] = {"humor": "max", "helpful": "max"}
    with pytest.raises(InputError, match=r"palette 'p'.*candidates can spend 2.77 nats") as fault:
        solve_palette(pool(), "p", levels, on_infeasible="fail")
    assert "would suffice" in str(fault.value)
    record = solve_palette(pool(), "p", levels, on_infeasible="adjust")
    assert record["adjusted"]
    assert 0.0 < record["reached"] < 1.0
    way = np.subtract(record["target"], record["base"]) / np.subtract(
        record["asked"], record["base"]
    )
    assert np.allclose(way, record["reached"])
    full = diagnosed(pool(), record)
    assert full["verdict"] == "supported"
    assert record["slack"] > 0
    assert full["warnings"][0].startswith("adjusted:")
    interval = diagnosed(pool(), record, resamples=10)["interval"]
    assert interval["solved"] >= 0.5
    assert interval["lam_low"][0] <= record["lam"][0] <= interval["lam_high"][0]
    shorter = solve_palette(pool(), "p", levels, on_infeasible="adjust", limits=Limits(max_norm=1))
    assert sum(shorter["lam"]) == pytest.approx(1.0, rel=1e-5)
    assert shorter["reached"] < record["reached"]


def test_an_infeasible_palette_is_reported_with_a_proof(tmp_path: Path) -> None:
    frame = pool().assign(free=lambda table: table["humor"] ** 2)
    record = solve_palette(frame, "p", {"humor": "max", "helpful": "max", "free": "mean-9sd"})
    assert (record["verdict"], record["status"]) == ("infeasible", "infeasible")
    assert record["lam"] == record["lam_train"] == [None] * 3
    # The proof by hand: no choice of candidates has the priced sum that is asked.
    fit = frame[frame["split"] == "fit"]
    names, proof = record["values"], record["proof"]
    scale = Base(fit[names].to_numpy(), pd.factorize(fit["prompt_id"])[0], "prompt").scale
    by_prompt = fit.groupby("prompt_id")[names]
    priced = np.array(proof["prices"]) / scale
    base = by_prompt.mean().mean().to_numpy()
    best = ((fit[names] @ priced).groupby(fit["prompt_id"]).max()).mean()
    assert sum(proof["prices"]) == pytest.approx(1.0)
    assert proof["most"] == pytest.approx(best - base @ priced)
    assert proof["asks"] == pytest.approx((record["asked"] - base) @ priced)
    assert proof["most"] < proof["asks"]
    assert record["slack"] == pytest.approx(proof["most"] - proof["asks"], abs=1e-6)
    full = diagnosed(frame, record)
    assert full["verdict"] == "infeasible"
    path = tmp_path / "p.json"
    path.write_text(json.dumps(full))
    palette = read_palettes([path])["p"]
    assert not palette.solved
    assert math.isnan(palette.lam["humor"])
    assert math.isnan(palette.kl)
    assert palette.adjusted == ""
    assert "no policy on these samples has more than" in palette.proof
    proof["prices"] = [1 - 8.6e-8, 8.6e-8, 0.0]
    path.write_text(json.dumps(full | {"proof": proof}))
    assert " of 1 × humor, in standard" in read_palettes([path])["p"].proof
    with pytest.raises(InputError, match=r"palette 'p' has no λ.*infeasible"):
        read_lam(path)


def test_a_palette_at_the_edge_is_reported_without_lambda() -> None:
    frame = split_table([[0.0, 1.0, 1.0]] * 4, "fit")
    record = solve_palette(frame, "p", {"humor": 1 + 3e-9}, scope="joint")
    assert (record["status"], record["verdict"], record["proof"]) == (
        "stalled",
        "unsupported",
        None,
    )
    assert record["lam"] == [None]
    assert "the target is at the edge" in diagnosed(frame, record)["message"]


def test_what_is_done_without_a_solution_changes_no_palette_that_has_one() -> None:
    solved = [
        solve_palette(
            pool(), "p", {"humor": "q65"}, on_infeasible=chosen, limits=Limits(max_norm=m)
        )
        for chosen, m in (("report", None), ("fail", None), ("adjust", 0.1))
    ]
    assert solved[0] == solved[1] == solved[2]


def test_limits_decide_the_verdict_and_leave_lambda_alone() -> None:
    frame = pool()
    record = solve_palette(frame, "p", {"humor": "q65", "helpful": "mean"})
    for limits in (Limits(min_ess=15.9), Limits(max_weight=0.07), Limits(max_kl_share=0.01)):
        full = diagnosed(frame, record, limits)
        assert full["verdict"] == "unsupported"
        assert full["message"] in full["warnings"]
        assert full["lam"] == record["lam"]


def test_diagnostics_of_a_palette() -> None:
    frame = pool(600, seed=5)
    record = diagnosed(
        frame, solve_palette(frame, "p", {"humor": "q65", "helpful": "mean"}), resamples=40
    )
    interval = record["interval"]
    assert interval["method"] == "bootstrap"
    assert interval["lam_low"][0] < record["lam"][0] < interval["lam_high"][0]
    delta = diagnosed(frame, record)["interval"]
    assert delta["method"] == "delta"
    assert delta["level_se"][0] == pytest.approx(interval["level_se"][0], rel=0.4)
    # Variances within and between prompts are 1 and 0.49: so much of a joint gain is choice.
    assert record["reweighting_share"][0] == pytest.approx(0.49 / 1.49, abs=0.06)
    assert record["reweighting_share"][1] is None
    assert record["budget"]["log_k"] == pytest.approx(math.log(16))
    assert record["budget"]["kl"] == pytest.approx(record["kl"], rel=0.2)
    assert -0.1 < record["log_z_bias"] < 0
    assert record["pareto_k"] < 0.7
    assert 1 < record["edges"]["supportable"] < record["edges"]["feasible"]
    assert record["sensitivity"]["nats"] == record["lam"]


def test_a_joint_palette_reports_what_is_only_choice_of_prompts() -> None:
    frame = pool(600, candidates=4, seed=6)
    record = diagnosed(frame, solve_palette(frame, "p", {"humor": "q65"}))
    assert record["scope"] == "joint"
    assert record["log_z_bias"] is None
    assert any("choice of prompts" in warning for warning in record["warnings"])
    assert not any("at the edge" in warning for warning in record["warnings"])
    alone = frame[frame["candidate"] == 0]
    record = diagnosed(alone, solve_palette(alone, "p", {"humor": "q65"}))
    assert record["reweighting_share"] is record["budget"] is None
    assert record["warnings"] == []


def test_a_joint_palette_is_held_against_what_choosing_within_prompts_can_spend() -> None:
    """Normal rewards of variance 1 within and 0.49 between prompts; a gain d needs d²/2 nats."""
    frame = pool(2000, candidates=4, seed=6)
    fit = frame[frame["split"] == "fit"]
    level = fit["humor"].mean() + 1.2
    record = diagnosed(frame, solve_palette(frame, "p", {"humor": level}))
    assert (record["scope"], record["verdict"]) == ("joint", "supported")
    assert record["budget"]["log_k"] == pytest.approx(math.log(4))
    assert record["budget"]["kl"] == pytest.approx(1.2**2 / 2, rel=0.1)
    # The best of 4 normals lies 1.03 above their mean, that of 6 lies 1.27 above it.
    assert record["budget"]["suffices"] in (5, 6)
    (warning,) = [one for one in record["warnings"] if "at the edge of selection" in one]
    assert "selection among 4 candidates can spend 1.39 nats" in warning


def test_what_selection_cannot_spend_is_a_warning() -> None:
    frame = pool(600, seed=7)
    fit = frame[frame["split"] == "fit"]
    groups = pd.factorize(fit["prompt_id"])[0]
    rewards = fit[["humor"]].to_numpy()
    greedy = float(fit.groupby("prompt_id")["humor"].max().mean())
    level = 0.999 * greedy + 0.001 * rewards.mean()
    assert solve(rewards, np.array([level]), groups=groups).verdict == "unsupported"
    record = diagnosed(frame, solve_palette(frame, "p", {"humor": level}))
    assert record["verdict"] == "unsupported"
    assert any("unsupported" in warning for warning in record["warnings"])


def split_table(rewards: list[list[float]], split: str) -> pd.DataFrame:
    """One list of rewards `humor` per prompt; `helpful` is their square."""
    rows = [(f"{split}{i}", j, one) for i, own in enumerate(rewards) for j, one in enumerate(own)]
    frame = pd.DataFrame(rows, columns=["prompt_id", "candidate", "humor"])
    return frame.assign(helpful=frame["humor"] ** 2, split=split)


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_expected_levels_on_test_prompts_by_hand(scope: str) -> None:
    frame = pd.concat(
        [
            split_table([[0.0, 1.0], [0.0, 2.0], [1.0, 1.0]], "fit"),
            split_table([[0.0, 1.0], [2.0], [1.0, 0.0, 0.0]], "test"),
        ]
    )
    solved = solve_palette(frame, "p", {"humor": 1.0, "helpful": "mean-9sd"}, scope=scope)
    lam = solved["lam"][0]
    assert (lam > 0, solved["lam"][1]) == (True, 0.0)
    found = diagnosed(frame, solved)["test"]
    tests = [np.array([0.0, 1.0]), np.array([2.0]), np.array([1.0, 0.0, 0.0])]
    weights = [np.exp(lam * own) for own in tests]
    levels = np.array(
        [[w @ own, w @ own**2] / w.sum() for w, own in zip(weights, tests, strict=True)]
    )
    share = np.array([w.sum() for w in weights]) if scope == "joint" else np.ones(3)
    share /= share.sum()
    expected = share @ levels
    se = np.sqrt(3 / 2 * (share**2) @ (levels - expected) ** 2)
    assert found["expected"] == pytest.approx(expected.tolist())
    assert found["se"] == pytest.approx(se.tolist())
    assert found["prompts"] == 3
    alone = pd.concat([frame[frame["split"] == "fit"], split_table([[0.0, 1.0]], "test")])
    assert diagnosed(alone, solved)["test"]["se"] == [0.0, 0.0]
    assert diagnosed(frame[frame["split"] == "fit"], solved)["test"] is None


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_lambda_for_training_is_that_of_the_limit(scope: str) -> None:
    frame = pool(200, candidates=9, seed=8)
    record = solve_palette(frame, "p", {"humor": "q60", "helpful": "mean-1sd"}, scope=scope)
    fit = frame[frame["split"] == "fit"]
    base = Base(fit[["humor", "helpful"]].to_numpy(), pd.factorize(fit["prompt_id"])[0], scope)
    limit = solve_limit(base, np.array(record["target"]), np.array(record["lam"]))
    assert limit is not None
    assert record["lam_train"] == pytest.approx(limit.raw.tolist())
    assert record["lam_train"][1] == 0.0
    bias = np.subtract(record["lam"], record["lam_train"])
    assert record["lam_bias"] == pytest.approx(bias.tolist())
    found = diagnosed(frame, record)["interval"]
    assert found["train_se"] == pytest.approx(limit.se().tolist(), rel=1e-4)
    assert found["train_low"][0] < record["lam_train"][0] < found["train_high"][0]


def test_a_bias_that_cannot_be_estimated_is_not_taken_off() -> None:
    # One candidate of four is best: towards its level λ grows without end.
    rewards = [[float(j == best) for j in range(4)] for best in (3, 1, 2, 0)]
    for level, told in ((0.27, ""), (0.5, "is uncertain: the second order"), (0.99, "too few to")):
        record = solve_palette(split_table(rewards, "fit"), "p", {"humor": level}, scope="prompt")
        assert record["lam"][0] == pytest.approx(math.log(3 * level / (1 - level)))
        warned = [one for one in _warned(rewards, record) if one.startswith("λ for training")]
        assert [told in one for one in warned] == [True] * bool(told)
        known = record["lam_bias"] is not None
        assert known == (level < 0.99)
        assert (record["lam_train"] == record["lam"]) != known


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_what_perfect_training_delivers_on_test_prompts_by_hand(scope: str) -> None:
    """Three candidates of 0 or 1; `limit_moments` is tested by enumeration on its own."""
    fit = split_table([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]] * 4, "fit")
    rewards = [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.5]]
    frame = pd.concat([fit, split_table(rewards, "test")])
    record = solve_palette(frame, "p", {"humor": 0.6}, scope=scope)
    lam = record["lam_train"][0]
    found = diagnosed(frame, record)["trained"]

    def mean_over(table: list[float], size: int) -> np.ndarray:
        parts = [np.array(part) for part in combinations(table, size)]
        z = [np.exp(lam * part) for part in parts]
        levels = [one @ part / one.sum() for one, part in zip(z, parts, strict=True)]
        return np.array([np.mean(levels), np.mean([np.log(one.mean()) for one in z])])

    jackknifed = [
        (9 * mean_over(table, 3) - 8 * mean_over(table, 2) + mean_over(table, 1)) / 2
        for table in rewards[:2]
    ]
    level, log_z = np.array([*jackknifed, [0.5, lam * 0.5]]).T
    kl = lam * level - log_z
    se = level.std(ddof=1) / math.sqrt(3)
    assert found["expected"] == pytest.approx([level.mean()])
    assert found["se"] == pytest.approx([se])
    assert found["low"] == pytest.approx([level.mean() - 1.959964 * se])
    assert found["high"] == pytest.approx([level.mean() + 1.959964 * se])
    assert found["kl"] == pytest.approx(kl.mean())
    assert found["kl_se"] == pytest.approx(kl.std(ddof=1) / math.sqrt(3))
    assert (found["prompts"], found["split"]) == (3, "test")
    alone = diagnosed(fit, solve_palette(fit, "p", {"humor": 0.6}, scope=scope))["trained"]
    assert (alone["prompts"], alone["split"]) == (8, "fit")
    if scope == "prompt":
        assert alone["expected"] == pytest.approx([0.6], abs=1e-6)
    single = frame[(frame["candidate"] == 0) | (frame["split"] == "fit")]
    assert diagnosed(single, record)["trained"] is None


def test_responses_that_were_cut_are_warned_of() -> None:
    """Of the prompts that λ was fitted on alone, from a fifth on."""
    frame = pool(600, seed=6)
    fit = frame["split"] == "fit"
    rank = frame.groupby("prompt_id").cumcount()
    for many, share in ((3, None), (4, "25%")):
        frame["truncated"] = (rank < many) | ~fit
        record = diagnosed(frame, solve_palette(frame, "p", {"humor": "q60"}))
        found = [one for one in record["warnings"] if one.startswith("cut off")]
        assert [one.split()[6] for one in found] == ([share] if share else [])


def test_a_joint_palette_that_asks_for_nothing_has_no_warning() -> None:
    frame = pool(600, candidates=4, seed=6)
    record = diagnosed(frame, solve_palette(frame, "p", {"humor": "mean"}))
    assert (record["scope"], record["warnings"]) == ("joint", [])
    assert record["edges"] is None
    assert record["reweighting_share"] == [None]


def _warned(rewards: list[list[float]], record: dict) -> list[str]:  # type: ignore[type-arg]
    return diagnosed(split_table(rewards, "fit"), record)["warnings"]


@pytest.mark.parametrize(("suffices", "warned"), [(16, False), (17, True), (None, True)])
def test_more_candidates_than_there_are_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, suffices: int | None, warned: bool
) -> None:
    found = Budget(kl=0.5, log_k=2.77, candidates=16, suffices=suffices)
    monkeypatch.setattr(diagnose, "budget", lambda base, target: found)
    frame = pool(40)
    record = diagnosed(frame, solve_palette(frame, "p", {"humor": "q60"}))
    assert any("at the edge of selection" in one for one in record["warnings"]) == warned
    assert record["budget"]["suffices"] == suffices


@pytest.mark.parametrize(("shape", "warned"), [(0.699, False), (0.7, False), (0.701, True)])
def test_a_heavy_tail_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, shape: float, warned: bool
) -> None:
    monkeypatch.setattr(diagnose, "tail_shape", lambda base, lam: shape)
    frame = pool(40)
    record = diagnosed(frame, solve_palette(frame, "p", {"humor": "q60"}))
    assert any("heavy tail" in one for one in record["warnings"]) == warned
    assert record["pareto_k"] == shape


def test_a_tail_needs_twenty_five_samples() -> None:
    draws = np.random.default_rng(1)
    for candidates, shown in ((12, False), (13, True)):
        rewards = draws.exponential(size=(2, candidates)).tolist()
        frame = split_table(rewards, "fit").iloc[: 24 if candidates == 12 else 25]
        record = diagnosed(frame, solve_palette(frame, "p", {"humor": "mean+0.2sd"}))
        assert (record["pareto_k"] is not None) == shown


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_values_that_are_not_raised_have_no_share_of_reweighting(scope: str) -> None:
    frame = pool(100, candidates=4, seed=2)
    frame["helpful"] += frame["humor"]  # rises with the other one, though it is not asked to
    asked: dict[str, str | float] = {"humor": "mean+0.3sd", "helpful": "mean"}
    record = diagnosed(frame, solve_palette(frame, "p", asked, scope=scope))
    share = record["reweighting_share"]
    assert share[1] is None
    fit = frame[frame["split"] == "fit"]
    rewards = fit[["humor", "helpful"]].to_numpy()
    groups = pd.factorize(fit["prompt_id"])[0]
    joint = solve(rewards, np.array(record["target"]), scope="joint")
    expected = reweighting_share(rewards, joint.lam, groups)[0]
    assert share[0] == pytest.approx(expected)
    warned = [one for one in record["warnings"] if f"up to {expected:.0%} of a gain" in one]
    assert len(warned) == (scope == "joint")
    tiny = frame.assign(humor=frame["humor"] * 1e-9)
    again = diagnosed(tiny, solve_palette(tiny, "p", asked, scope=scope))
    assert again["reweighting_share"] == [pytest.approx(expected, rel=1e-5), None]


def test_a_pool_without_prompts_to_fit_is_refused() -> None:
    frame = pool(4)
    with pytest.raises(InputError, match="no rows of the fit split"):
        solve_palette(frame[frame["split"] == "test"], "p", {"humor": "q60"})


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_without_resamples_the_interval_is_the_delta_methods(scope: str) -> None:
    frame = pool(60, candidates=9, seed=3)
    record = solve_palette(frame, "p", {"humor": "q60", "helpful": "mean"}, scope=scope)
    fit = frame[frame["split"] == "fit"]
    groups = pd.factorize(fit["prompt_id"])[0]
    base = Base(fit[["humor", "helpful"]].to_numpy(), groups, scope)
    exact = delta_interval(base, np.array(record["lam"]), np.array(record["target"]))
    found = diagnosed(frame, record)["interval"]
    assert found["lam_low"] == pytest.approx(exact.lam_low.tolist())
    assert found["level_high"] == pytest.approx(exact.level_high.tolist())


def test_two_candidates_are_enough_to_see_a_choice_of_prompts() -> None:
    frame = pool(100, candidates=2, seed=4)
    record = diagnosed(frame, solve_palette(frame, "p", {"humor": "mean+0.2sd"}))
    assert record["scope"] == "joint"
    assert record["budget"]["candidates"] == 2
    assert 0 < record["reweighting_share"][0] < 1


def test_ceilings_and_bands_in_the_records_of_a_study(tmp_path: Path) -> None:
    """Against the negated value, through the solution, its diagnostics and the reader."""
    frame = pool(400)
    turned = frame.assign(calm=-frame["humor"])
    levels = {"humor": "<= mean-0.3sd", "helpful": "between mean+0.1sd and q90"}
    found = diagnosed(frame, solve_palette(frame, "p", levels), resamples=20)
    other = {"calm": "mean+0.3sd", "helpful": "mean+0.1sd"}
    plain = diagnosed(turned, solve_palette(turned, "p", other), resamples=20)
    assert found["values"] == ["humor <=", "helpful >=", "helpful <="]
    for name in ("asked", "lam", "lam_train", "realised", "base"):
        assert found[name][0] == pytest.approx(-plain[name][0], abs=1e-6), name
        assert found[name][1] == pytest.approx(plain[name][1], abs=1e-6), name
    assert found["lam"][2] == 0
    for part, low, high in (
        ("interval", "lam_low", "lam_high"), ("interval", "train_low", "train_high"),
        ("trained", "low", "high"),
    ):  # fmt: skip
        assert found[part][low][0] == pytest.approx(-plain[part][high][0], abs=1e-4), low
    assert found["test"]["expected"][0] == pytest.approx(-plain["test"]["expected"][0])
    assert found["reweighting_share"][:2] == pytest.approx(plain["reweighting_share"], abs=1e-6)
    assert (found["verdict"], found["warnings"]) == (plain["verdict"], plain["warnings"])
    path = tmp_path / "p.json"
    path.write_text(json.dumps(found))
    palette = read_palettes([path])["p"]
    assert palette.lam == pytest.approx({"humor": found["lam"][0], "helpful": found["lam"][1]})
    assert palette.ceilings["humor"] == found["asked"][0] == palette.asked["humor"]
    assert lam_of(found, "lam") == palette.lam
    assert palette.raised == ["helpful"]


def test_a_budget_in_the_records_of_a_study() -> None:
    frame = pool(400)
    levels = {"humor": "maximise within 0.2 nats", "helpful": "mean"}
    found = diagnosed(frame, solve_palette(frame, "p", levels), resamples=10)
    assert found["kl"] == pytest.approx(0.2, abs=1e-8)
    assert found["asked"][0] == pytest.approx(found["realised"][0])
    assert found["interval"]["solved"] == 1.0
    short = solve_palette(frame, "p", {"humor": "maximise within 0.01 nats", "helpful": "q80"})
    told = diagnosed(frame, short)
    assert (told["status"], told["asked"][0], told["proof"]) == ("infeasible", None, None)
    assert "the other levels alone need" in told["message"]


def test_shares_and_groups_of_a_table_are_diagnosed() -> None:
    frame = pool(400)
    frame["topic"] = np.where(frame["prompt"].str.endswith(("1", "2")), "few", "many")
    levels = {"share(humor > 0.5)": 0.4, "helpful[topic=few]": "q60"}
    found = diagnosed(frame, solve_palette(frame, "p", levels), resamples=5)
    assert found["realised"] == pytest.approx(found["asked"], abs=1e-6)
    fit = frame[frame["split"] == "fit"]
    assert found["base"][0] == pytest.approx((fit["humor"] > 0.5).mean())
    few = fit[fit["topic"] == "few"]["helpful"]
    assert found["base"][1] == pytest.approx(few.mean())
    assert found["asked"][1] == pytest.approx(np.quantile(few, 0.6))
