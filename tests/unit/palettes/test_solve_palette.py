"""A study's palettes: solved on the pool, judged, and said to be adjusted where they are."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from pooldata import pool

from polyalign.errors import InputError
from polyalign.map import solve
from polyalign.map.dual import DEFAULT_LIMITS, Limits
from polyalign.palettes.diagnose import diagnose_palette
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


def test_the_jackknife_removes_most_of_the_bias_of_few_candidates() -> None:
    """Gaussian rewards: as K grows λ tends to (c − μ) / σ² within prompts; here it is 0.5."""
    frame = pool(4000, candidates=8, seed=3)
    base = frame.loc[frame["split"] == "fit", "humor"].mean()
    record = solve_palette(frame, "p", {"humor": base + 0.5})
    assert record["lam_decode"] == record["lam"]
    assert abs(record["lam"][0] - 0.5) > 0.04
    assert abs(record["lam_train"][0] - 0.5) < abs(record["lam"][0] - 0.5) / 2
    assert record["lam_bias"][0] == pytest.approx(record["lam"][0] - record["lam_train"][0])


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
        solve_palette(pool(), "p", levels)
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
    assert full["warnings"][0].startswith("adjusted:")
    interval = diagnosed(pool(), record, resamples=10)["interval"]
    assert interval["solved"] >= 0.5
    assert interval["lam_low"][0] <= record["lam"][0] <= interval["lam_high"][0]
    shorter = solve_palette(pool(), "p", levels, on_infeasible="adjust", limits=Limits(max_norm=1))
    assert sum(shorter["lam"]) == pytest.approx(1.0, rel=1e-5)
    assert shorter["reached"] < record["reached"]


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
