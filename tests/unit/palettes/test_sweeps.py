import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polyalign.data.rewards_table import read_rewards, rewards_array
from polyalign.errors import InputError
from polyalign.map.diagnostics import bootstrap_interval
from polyalign.map.dual import solve
from polyalign.palettes.solve import solve_palette
from polyalign.palettes.sweeps import fronts, paths, random_lambda, replicates, rounds

REFERENCE = Path(__file__).parents[4] / "shared/reference/llama2_chat-Anthropic-harmless.json"
VALUES = ["humor", "helpful", "harmless"]


def pool(prompts: int = 40, candidates: int = 10) -> pd.DataFrame:
    """Three values in units of their own; the first two fight, the third is apart."""
    draws = np.random.default_rng(1)
    noise = draws.normal(size=(prompts * candidates, 3))
    noise[:, 1] -= 0.6 * noise[:, 0]
    frame = pd.DataFrame(noise * [2.0, 0.5, 30.0] + [1.0, -1.0, 100.0], columns=VALUES)
    index = np.arange(prompts * candidates)
    frame["prompt_id"] = [f"p{i // candidates}" for i in index]
    frame["candidate"] = index % candidates
    frame["split"] = np.where(index // candidates % 2 == 0, "fit", "test")
    return frame


def palettes(frame: pd.DataFrame) -> dict[str, dict]:  # type: ignore[type-arg]
    asked = {"humor": "q65", "helpful": "q60", "harmless": "mean"}
    return {"both": json.loads(json.dumps(solve_palette(frame, "both", asked)))}


def expected_levels(frame: pd.DataFrame, lam: np.ndarray) -> tuple[np.ndarray, float]:
    """Levels and KL of p_λ on the test prompts, candidate by candidate."""
    levels, nats = [], []
    for _, rows in frame[frame["split"] == "test"].groupby("prompt_id"):
        rewards = rows[VALUES].to_numpy()
        weight = np.exp(rewards @ lam - (rewards @ lam).max())
        weight /= weight.sum()
        levels.append(weight @ rewards)
        nats.append(float(weight @ np.log(weight * len(weight))))
    return np.mean(levels, axis=0), float(np.mean(nats))


RANDOM = {"values": VALUES, "scope": "prompt", "draws": 30, "max_norm": 3.0, "seed": 2}
FRONTS = {
    "values": VALUES,
    "traded": VALUES[:2],
    "scope": "prompt",
    "budgets": [0.1, 0.4],
    "points": 5,
}


def test_random_lambda_is_judged_on_test_prompts() -> None:
    frame = pool()
    table = random_lambda.compute(frame, {}, **RANDOM)
    assert set(table["n_values"]) == {2, 3}
    for _, row in table.iloc[::17].iterrows():
        lam = row[[f"{value}_lam" for value in VALUES]].to_numpy(dtype=float)
        levels, kl = expected_levels(frame, lam)
        assert row[[f"{value}_level" for value in VALUES]].tolist() == pytest.approx(levels)
        assert row["kl"] == pytest.approx(kl)


def test_random_lambda_keeps_its_norm_and_its_values() -> None:
    frame = pool()
    table = random_lambda.compute(frame, {}, **RANDOM)
    weights = table[[f"{value}_weight" for value in VALUES]].to_numpy()
    assert weights.min() >= 0
    assert weights.sum(axis=1).max() <= 3.0
    assert (weights[table["n_values"] == 2][:, 2] == 0).all()
    spread = frame.loc[frame["split"] == "fit", "helpful"].std(ddof=0)
    assert table["helpful_weight"].to_numpy() == pytest.approx(table["helpful_lam"] * spread)
    reference = table[table["kind"] == "reference"]
    assert len(reference) == 2 * 30
    kept = table[(table["kind"] == "palette") & (table["n_values"] == 2)]
    assert len(kept) == round(30 * kept["share"].iloc[0])


def test_random_palettes_need_the_lambda_they_are_shown_with() -> None:
    frame = pool()
    table = random_lambda.compute(frame, {}, **RANDOM)
    row = table[(table["kind"] == "palette") & (table["n_values"] == 3)].iloc[0]
    lam = row[[f"{value}_lam" for value in VALUES]].to_numpy(dtype=float)
    rewards, groups = rewards_array(frame[frame["split"] == "fit"], VALUES)
    weights = np.exp(rewards @ lam)
    weights /= np.bincount(groups, weights)[groups]
    target = (weights @ rewards) / (groups.max() + 1)
    assert solve(rewards, target, groups=groups, scope="prompt").lam == pytest.approx(lam, rel=1e-5)


def test_fronts_have_the_budgets_of_the_palettes() -> None:
    spent = (0.4, 0.2, 0.21, 0.0, 0.5, 0.7)
    palettes = {str(kl): {"status": "solved", "kl": kl} for kl in spent}
    palettes["none"] = {"status": "infeasible", "kl": None}
    assert fronts.palette_budgets(palettes) == [0.2, 0.5, 0.7]
    assert fronts.palette_budgets({"0.3": {"status": "solved", "kl": 0.3}}) == [0.3]
    table = fronts.compute(pool(), palettes, **{**FRONTS, "budgets": None})
    assert sorted(set(table["budget"])) == [0.2, 0.5, 0.7]
    with pytest.raises(InputError, match=r"give `explore\.budgets`"):
        fronts.palette_budgets({"none": palettes["none"]})


def test_fronts_spend_their_budget_and_end_at_single_values() -> None:
    frame = pool()
    table = fronts.compute(frame, {}, **FRONTS)
    assert len(table) == 10
    for _, front in table.groupby("budget"):
        # λ runs from humor alone to helpful alone, and so do the levels.
        assert (front["humor_lam"].iloc[-1], front["helpful_lam"].iloc[0]) == (0, 0)
        assert (np.diff(front["helpful_level"]) > 0).all()
        assert (front["harmless_lam"] == 0).all()
    rewards, groups = rewards_array(frame[frame["split"] == "fit"], VALUES)
    lam = table[table["budget"] == 0.4].iloc[2][[f"{v}_lam" for v in VALUES]].to_numpy(dtype=float)
    weights = np.exp(rewards @ lam)
    weights /= np.bincount(groups, weights)[groups]
    spent = float(weights @ np.log(weights * 10)) / (groups.max() + 1)
    assert spent == pytest.approx(0.4, abs=1e-6)


def test_rounds_start_at_the_base_and_end_at_the_joint_solution() -> None:
    frame = pool()
    solved = palettes(frame)
    table = rounds.compute(frame, solved, values=VALUES, rounds=60)
    fit = frame[frame["split"] == "fit"]
    first, last = (table[table["round"] == turn].set_index("value") for turn in (0, 60))
    assert first["level"].to_dict() == pytest.approx(fit[VALUES].mean().to_dict())
    assert (first["lam"] == 0).all()
    assert last["lam"].tolist() == pytest.approx(solved["both"]["lam"], rel=1e-4, abs=1e-9)
    assert last["level"].tolist() == pytest.approx(solved["both"]["realised"], rel=1e-5)
    none = {**solved["both"], "status": "infeasible", "lam": [None, None]}
    assert rounds.compute(frame, {"none": none, **solved}, values=VALUES, rounds=60).equals(table)


def test_a_path_leads_through_the_palette_to_where_nothing_is_feasible() -> None:
    frame = pool()
    solved = palettes(frame)
    table = paths.compute(frame, solved, steps=40, beyond=8.0, limits={}).set_index("share")
    assert table.loc[0.0, ["kl", "ess_share"]].tolist() == pytest.approx([0.0, 1.0], abs=1e-9)
    assert table.loc[1.0, "kl"] == pytest.approx(solved["both"]["kl"], rel=1e-6)
    samples = len(frame) / 2
    assert table.loc[1.0, "ess_share"] == pytest.approx(solved["both"]["ess"] / samples, rel=1e-6)
    order = list(dict.fromkeys(table["verdict"]))
    assert order == ["supported", "unsupported", "infeasible"]
    assert table["kl"].isna().tolist() == (table["verdict"] == "infeasible").tolist()


def test_a_path_is_judged_by_the_limits_of_the_study() -> None:
    frame = pool()
    solved = palettes(frame)
    lenient, held = (
        paths.compute(frame, solved, steps=4, beyond=1.0, limits=limits)
        for limits in ({}, {"max_norm": 1e-6})
    )
    assert lenient["verdict"].tolist() == ["supported"] * 5
    assert held["verdict"].tolist() == ["supported", *["unsupported"] * 4]
    assert lenient["kl"].tolist() == held["kl"].tolist()


@pytest.mark.parametrize(
    ("module", "settings", "fault"),
    [
        (random_lambda, RANDOM | {"values": ["humor"]}, "random λ need at least 2 values"),
        (fronts, FRONTS | {"traded": ["humor"]}, "a front needs 2 values to trade"),
        (rounds, {"values": VALUES, "rounds": 2}, "needs a palette; the study has none"),
        (
            paths,
            {"steps": 2, "beyond": 1.0, "limits": {}},
            "a path leads to a palette; the study has none",
        ),
    ],
)
def test_studies_that_are_too_small_are_refused(module, settings, fault) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=fault):
        module.compute(pool(), {}, **settings)


def test_a_value_without_spread_is_named() -> None:
    with pytest.raises(InputError, match="value 'helpful' is the same in all samples"):
        random_lambda.compute(pool().assign(helpful=1.0), {}, **RANDOM)


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference data is not beside the checkout")
def test_published_rounds() -> None:
    """Sequential alignment at hhh-70 leaves helpful at -1.083 after round 1, -0.462 after 10."""
    names = ["humor", "gpt2-helpful", "gpt2-harmless", "diversity", "coherence", "perplexity"]
    frame = read_rewards(REFERENCE).assign(split="fit")
    asked = dict.fromkeys(names[:3], "q70") | dict.fromkeys(names[3:], "mean")
    # As a study has it: settings are sorted by name, and sequential alignment goes by the order.
    record = solve_palette(frame, "hhh-70", dict(sorted(asked.items())), scope="joint")
    table = rounds.compute(frame, {"hhh-70": record}, values=names, rounds=10)
    assert list(dict.fromkeys(table["value"])) == names
    helpful = table[table["value"] == "gpt2-helpful"].set_index("round")["level"]
    assert helpful[[1, 5, 10]].tolist() == pytest.approx([-1.083, -0.467, -0.462], abs=1e-3)


def test_models_that_agree_add_no_uncertainty() -> None:
    """A model in other units has another λ and the same gain; intervals are those of diagnosis."""
    frame = pool()
    frame["same"] = frame["humor"]
    frame["scaled"] = 4 * frame["humor"] + 7
    records = palettes(frame)
    settings = {"replicates": {"humor": ["same", "scaled"]}, "resamples": 200, "seed": 3}
    table = replicates.compute(frame, records, **settings).set_index("model")
    assert list(table.index) == ["humor", "same", "scaled", "all models"]
    assert set(table["value"]) == {"humor"}
    first, record = table.loc["humor"], records["both"]
    at = record["values"].index("humor")
    rewards, groups = rewards_array(frame[frame["split"] == "fit"], record["values"])
    sd, base = rewards[:, at].std(), rewards[:, at].mean()
    assert first["lam"] == pytest.approx(record["lam"][at], rel=1e-6)
    assert first["gain"] == pytest.approx((record["realised"][at] - base) / sd, abs=1e-6)
    assert first["asked"] == pytest.approx((record["target"][at] - base) / sd, abs=1e-9)
    numbers = ["lam_low", "lam_high", "gain_low", "gain_high"]
    assert table.loc["same", numbers].tolist() == table.loc["humor", numbers].tolist()
    assert table.loc["scaled", "lam"] == pytest.approx(first["lam"] / 4, rel=1e-5)
    gains = ["gain", "gain_low", "gain_high", "asked"]
    for other in ("scaled", "all models"):
        np.testing.assert_allclose(
            table.loc[other, gains].astype(float), first[gains].astype(float), atol=0.02
        )
    known = bootstrap_interval(
        rewards, record["levels"], names=record["values"], groups=groups, scope="prompt",
        resamples=200, seed=1,
    )  # fmt: skip
    width = known.lam_high[at] - known.lam_low[at]
    assert first["lam_high"] - first["lam_low"] == pytest.approx(width, rel=0.3)


def test_a_model_that_disagrees_widens_the_interval() -> None:
    frame = pool()
    frame["other"] = 0.3 * frame["humor"] + np.random.default_rng(5).normal(size=len(frame))
    records = palettes(frame)
    settings = {"replicates": {"humor": ["other"]}, "resamples": 60, "seed": 3}
    table = replicates.compute(frame, records, **settings).set_index("model")
    first, other, both = (table.loc[name] for name in ("humor", "other", "all models"))
    fit = frame[frame["split"] == "fit"]
    # The policy's gain by the other model, prompt by prompt.
    z = (fit["other"] - fit["other"].mean()) / fit["other"].std(ddof=0)
    lam = np.array(records["both"]["lam"])
    gains = []
    for _, rows in fit.groupby("prompt_id"):
        weight = np.exp(rows[records["both"]["values"]].to_numpy() @ lam)
        gains.append(weight @ z[rows.index] / weight.sum())
    assert other["gain"] == pytest.approx(np.mean(gains) - z.mean(), abs=1e-6)
    assert other["gain"] < 0.7 * first["gain"]
    assert both["gain_low"] <= other["gain"] <= first["gain"] <= both["gain_high"]
    assert both["gain_high"] - both["gain_low"] > 1.4 * (first["gain_high"] - first["gain_low"])


def test_a_palette_without_its_own_lambda_has_no_replicates() -> None:
    frame = pool()
    record = palettes(frame)["both"]
    records = {"a": {**record, "adjusted": True}, "b": {**record, "status": "infeasible"}}
    settings = {"replicates": {"humor": ["humor"]}, "resamples": 2, "seed": 0}
    assert replicates.compute(frame, records, **settings).empty
