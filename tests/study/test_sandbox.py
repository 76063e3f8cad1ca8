"""What the finished sandbox study must have reached; runs after `make run`."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import faults, figures_shown, first_paragraph, needs_browser, opened, search

from polyalign.data.rewards_table import rewards_array
from polyalign.map.dual import solve
from polyalign.plan.forecast import finished_jobs
from polyalign.plan.machine import this_machine
from polyalign.sandbox.world import well_formed
from polyalign.study import load

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "results/sandbox"

pytestmark = pytest.mark.skipif(
    not (STUDY / "report.html").is_file(),
    reason="needs the finished sandbox study (results/sandbox): call `make run` first",
)


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    frame = pd.read_csv(STUDY / "tables/summary.csv")
    return frame.set_index(frame["family"] + "/" + frame["variant"])


def palettes() -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(path.read_text()) for path in sorted((STUDY / "palettes").glob("*.json"))]


@pytest.mark.parametrize("name", ["helpful", "harmless"])
def test_reward_models_tell_the_better_response(name: str) -> None:
    record = json.loads((STUDY / f"models/reward/{name}.json").read_text())["record"]
    assert record["held_out"]["accuracy"] >= 0.9


def test_the_base_model_speaks_the_language_of_its_world() -> None:
    """Judged by all its samples: those of the test prompts alone have an error of 0.006."""
    files = [STUDY / f"policies/base/{name}/rewards.parquet" for name in ("base", "pool")]
    frame = pd.concat(map(pd.read_parquet, files))
    assert frame["prompt_id"].nunique() >= 900
    good = [well_formed(*pair) for pair in zip(frame["prompt"], frame["response"], strict=True)]
    assert np.mean(good) >= 0.95


def test_supported_palettes_are_realised_by_decoding(summary: pd.DataFrame) -> None:
    """Every constrained value of every palette within three standard errors of its target.

    A value with λ = 0 may lie above its target, never below.
    """
    supported = [palette for palette in palettes() if palette["verdict"] == "supported"]
    assert len(supported) >= 2
    for palette in supported:
        row = summary.loc[f"map-d/{palette['palette']}"]
        for value, target, lam in zip(
            palette["values"], palette["target"], palette["lam"], strict=True
        ):
            z = (row[f"{value}_level"] - target) / row[f"{value}_se"]
            assert z >= -3, (palette["palette"], value, z)
            assert lam == 0 or z <= 3, (palette["palette"], value, z)


def test_lambda_is_certified_and_solves_the_pool_again() -> None:
    pool = pd.read_parquet(STUDY / "policies/base/pool/rewards.parquet")
    fit = pool[pool["split"] == "fit"]
    for palette in palettes():
        assert palette["kkt"] <= 1e-6
        rewards, groups = rewards_array(fit, palette["values"])
        again = solve(rewards, np.array(palette["target"]), groups=groups, scope=palette["scope"])
        assert np.allclose(again.lam, palette["lam"], atol=1e-6)


def test_a_policy_against_itself_is_half(summary: pd.DataFrame) -> None:
    for value in load(ROOT / "config.yaml").values:
        assert summary.loc["base/base", f"{value}_winrate"] == 0.5


def test_more_harmless_pairs_make_a_more_harmless_model(summary: pd.DataFrame) -> None:
    less, more = (summary.loc[f"dpo/beta-0.1_harmless-{share}"] for share in ("0.1", "0.9"))
    se = np.hypot(less["harmless_se"], more["harmless_se"])
    assert more["harmless_level"] - less["harmless_level"] > 3 * se


def test_perfect_training_would_deliver_what_the_palette_asks() -> None:
    """λ for training is that of K → ∞: below the one of 12 candidates, and on target."""
    palette = json.loads((STUDY / "palettes/hhh-60.json").read_text())
    level_se = np.array(palette["interval"]["level_se"])
    raised = np.array(palette["target"]) > np.array(palette["base"]) + level_se
    lam, bias = np.array(palette["lam"])[raised], np.array(palette["lam_bias"])[raised]
    assert raised.sum() >= 2
    assert np.all(bias > 0.08 * lam)
    assert np.all(bias < 0.25 * lam)
    trained = palette["trained"]
    se = np.hypot(trained["se"], level_se)
    z = (np.array(trained["expected"]) - palette["target"]) / se
    assert np.all(np.abs(z[raised]) < 3), z


AIMED = ["rloo/hhh-60", "ppo/hhh-60", "dpo/hhh-60", "value-d/hhh-60"]


@pytest.mark.parametrize("policy", AIMED)
def test_training_moves_the_levels_that_its_palette_raises(
    summary: pd.DataFrame, policy: str
) -> None:
    """Each has risen by two standard errors, and λ·level - KL is above the base model's."""
    palette = json.loads((STUDY / "palettes/hhh-60.json").read_text())
    base, row = summary.loc["base/base"], summary.loc[policy]
    gain = np.array([row[f"{v}_level"] - base[f"{v}_level"] for v in palette["values"]])
    se = np.array([np.hypot(row[f"{v}_se"], base[f"{v}_se"]) for v in palette["values"]])
    raised = np.array(palette["target"]) > np.array(palette["base"]) + se
    assert raised.sum() >= 2
    assert np.all(gain[raised] > 2 * se[raised])
    assert np.dot(palette["lam_train"], gain) - row["kl"] > 0


def kl_of_the_optimum(palette: dict) -> float:  # type: ignore[type-arg]
    """KL(p_λ ‖ p0) on the test split in nats, for the λ that training aims at.

    The mean over K candidates inside the logarithm biases it by order 1/K; both halves of the
    candidates show by how much, and the jackknife takes that off.
    """
    pool = pd.read_parquet(STUDY / "policies/base/pool/rewards.parquet")
    test = pool[pool["split"] == "test"].sort_values(["prompt_id", "candidate"])
    prompts = test["prompt_id"].nunique()
    score = test[palette["values"]].to_numpy() @ np.array(palette["lam_train"])
    score = score.reshape(prompts, -1)

    def kl(part: np.ndarray) -> float:
        weights = np.exp(part - part.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return float((weights * np.log(weights * part.shape[1] + 1e-300)).sum(axis=1).mean())

    return 2 * kl(score) - (kl(score[:, ::2]) + kl(score[:, 1::2])) / 2


@pytest.mark.parametrize("policy", AIMED)
def test_training_spends_about_the_kl_of_its_optimum(summary: pd.DataFrame, policy: str) -> None:
    """Within a factor of two, up to three standard errors (at most 0.05 nats), and not 0."""
    palette = json.loads((STUDY / "palettes/hhh-60.json").read_text())
    assert palette["verdict"] == "supported"
    expected = kl_of_the_optimum(palette)
    kl, error = summary.loc[policy, "kl"], 3 * summary.loc[policy, "kl_se"]
    assert max(expected / 2 - min(error, 0.05), error) < kl < 2 * expected + 0.05


@pytest.mark.parametrize(
    ("policy", "nats"),
    [("rloo/hhh-60", 1.25), ("ppo/hhh-60", 1.25), ("dpo/hhh-60", 1.25), ("value-d/hhh-60", 2.0)],
)
def test_a_policy_whose_lambda_is_steered_lands_on_its_palette(
    summary: pd.DataFrame, policy: str, nats: float
) -> None:
    """Every raised level within three standard errors of what is asked, for so much of p_λ's KL.

    The error is that of the samples that judge; those that steer λ add as much again, so a policy
    that lands is within two standard errors in most studies, not in all. A value model is less
    exact than a trained policy, and pays for the same levels with more.
    """
    palette = json.loads((STUDY / "palettes/hhh-60.json").read_text())
    row = summary.loc[policy]
    error = np.array([row[f"{value}_se"] for value in palette["values"]])
    level = np.array([row[f"{value}_level"] for value in palette["values"]])
    raised = np.array(palette["target"]) > np.array(palette["base"]) + error
    assert raised.sum() >= 3
    z = (level - palette["target"]) / error
    assert np.all(np.abs(z[raised]) <= 3), dict(zip(palette["values"], z, strict=True))
    assert row["kl"] <= nats * kl_of_the_optimum(palette)


@pytest.mark.parametrize("policy", [*AIMED, "soup/harmless-0.5"])
def test_the_kl_agrees_with_the_log_ratio_and_is_more_certain(policy: str) -> None:
    """Of the policy that drew the responses: another model's would be far off."""
    rows = pd.read_parquet(STUDY / f"policies/{policy}/rewards.parquet")
    ratio = rows["logprob"] - rows["logprob_base"]
    by_prompt = [one.groupby(rows["prompt_id"]).mean() for one in (rows["kl"], ratio)]
    apart = by_prompt[0] - by_prompt[1]
    assert abs(apart.mean()) <= 4 * apart.sem()
    assert by_prompt[0].sem() < by_prompt[1].sem() / 2


@pytest.mark.parametrize(
    "policy", [*AIMED[:-1], "value/pool", "dpo/beta-0.1_harmless-0.9", "reward/helpful"]
)
def test_every_model_has_its_metrics_beside_it(policy: str) -> None:
    metrics = pd.read_csv(STUDY / f"models/{policy}.csv")
    assert metrics["step"].is_monotonic_increasing
    assert {"step", "loss"} <= set(metrics)
    if policy.startswith(("rloo", "ppo")):
        assert {"reward", "kl", "entropy", "length", "truncated"} <= set(metrics)


def test_levels_of_all_policies_are_told_with_their_costs(summary: pd.DataFrame) -> None:
    trained = summary[~summary["family"].isin(["base", "map-d"])]
    assert (trained["job_seconds"] > 0).all()
    chosen = summary["better_in_all"]
    assert not chosen["base/base"]
    best = summary.loc[summary.index[chosen]]
    for value in ("humor", "helpful", "harmless"):
        assert (best[f"{value}_winrate"] > 0.5).all()


def test_win_rates_at_equal_length_are_those_of_close_lengths(summary: pd.DataFrame) -> None:
    """A policy that answers as long as the base model gains nothing by the correction."""
    gap = (summary["n_tokens"] / summary.loc["base/base", "n_tokens"] - 1).abs()
    assert (gap < 0.03).sum() >= 2
    for value in ("humor", "helpful", "harmless"):
        moved = (summary[f"{value}_even_winrate"] - summary[f"{value}_winrate"]).abs()
        assert moved[gap < 0.03].max() < 0.03


def test_soups_are_held_against_the_mean_of_their_parts() -> None:
    table = pd.read_csv(STUDY / "tables/mixing.csv")
    levels = pd.read_csv(STUDY / "policies/soup/harmless-0.5/levels.csv").set_index("value")
    for _, row in table[table["variant"] == "harmless-0.5"].iterrows():
        assert row["level"] == pytest.approx(levels.loc[row["value"], "mean"])
        assert row["defect"] == pytest.approx(row["level"] - row["linear"])


def test_the_forecast_is_near_what_the_jobs_took() -> None:
    """Within a factor of 1.5, in seconds of one core, from the speed of this machine alone.

    No time of the run goes into the forecast. Seconds of work are compared, not the time until the
    report was there, so it does not matter how many jobs ran side by side.
    """
    machine = this_machine()
    finished = finished_jobs(load(ROOT / "config.yaml"), STUDY)
    assert len(finished) >= 80
    took = sum(job.seconds for job in finished)
    expected = sum(job.work.seconds(machine) for job in finished)
    assert took / 1.5 < expected < 1.5 * took, (took, expected)


@needs_browser
def test_the_report_opens_in_a_browser(tmp_path: Path) -> None:
    plots = load(ROOT / "config.yaml").plots
    with opened(STUDY / "report.html", tmp_path / "profile") as driver:
        text, top = first_paragraph(driver)
        assert text.startswith("The outcome. ")
        assert top >= 0
        shown = figures_shown(driver)
        assert set(shown) == set(plots)
        assert min(shown.values()) >= 1000
        assert search(driver, "heat_map") == ["heat_map"]
        assert faults(driver) == []


def test_the_report_is_whole() -> None:
    text = (STUDY / "report.html").read_text()
    for figure in load(ROOT / "config.yaml").plots:
        assert (STUDY / f"plots/{figure}.pdf").read_bytes().startswith(b"%PDF")
        assert figure in text
    assert not re.search(r'<(script|link)[^>]+(src|href)="https?://', text)
