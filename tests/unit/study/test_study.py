"""What a valid study is, and what the rules get from it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from polyalign import families, plots
from polyalign.families import Policy
from polyalign.study import ConfigError, load

ROOT = Path(__file__).parents[3]
SCORES = """\
study: scored
rewards: scores.csv
values:
  humor: {kind: column, label: Humor}
  wit: {kind: column, column: humor}
palettes:
  funny: {humor: q70}
policies:
  map-d: {palettes: [funny]}
plots: [radar]
"""


def test_defaults_are_filled_in(text: str, write) -> None:
    study = load(write(text))
    assert study.seed == 3
    assert study.sandbox is not None
    assert study.sandbox.steps == 10
    assert study.sandbox.dialogues == 12000
    assert study.sampling.top_p == 1.0
    assert study.evaluation.bootstrap == 1000
    assert study.map.on_infeasible == "report"


def test_a_study_cannot_be_changed(text: str, write) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(write(text)).seed = 4  # type: ignore[misc]


def test_policies_in_the_order_of_the_config(text: str, write) -> None:
    made = load(write(text)).all_policies
    assert list(made) == [
        "map-d/funny",
        "map-d/plain",
        "dpo/beta-0.1_mostly",
        "dpo/beta-0.5_mostly",
        "soup/half",
        "rloo/funny",
    ]
    assert made["map-d/plain"] == Policy("map-d", "plain", {"draws": 1}, palette="plain")
    assert made["dpo/beta-0.5_mostly"] == Policy(
        "dpo",
        "beta-0.5_mostly",
        {
            "beta": 0.5,
            "mixture": {"helpful": 0.7, "harmless": 0.3},
            "pairs": 10000,
            "test_pairs": 500,
            "epochs": 1,
            "learning_rate": 5.0e-4,
            "batch_size": 32,
            "accumulation": 1,
            "gradient_checkpointing": False,
            "lora": None,
            "report_to": "none",
            "save_every": 50,
        },
        preferences=("harmless", "helpful"),
    )
    assert made["soup/half"].parts == ("dpo/beta-0.1_mostly", "dpo/beta-0.5_mostly")
    assert made["rloo/funny"].palette == "funny"
    assert made["rloo/funny"].settings["batch_size"] == 128
    json.dumps([policy.settings for policy in made.values()])


def test_lambda_of_ones_own_is_a_policy_without_a_palette(text: str, write) -> None:
    own = "palettes: [funny, plain]\n    lam:\n      mine: {humor: 2, diversity: 0.5}"
    study = load(write(text.replace("palettes: [funny, plain]", own)))
    made = study.all_policies
    assert list(made)[:3] == ["map-d/funny", "map-d/plain", "map-d/mine"]
    assert made["map-d/plain"] == Policy("map-d", "plain", {"draws": 1}, palette="plain")
    assert made["map-d/mine"] == Policy(
        "map-d",
        "mine",
        {"draws": 1, "lam": {"humor": 2.0, "diversity": 0.5}},
        values=("humor", "diversity"),
    )
    assert study.weighed(made["map-d/mine"]) == ["humor", "diversity"]
    assert study.weighed(made["map-d/plain"]) == ["humor"]
    alone = load(write(text.replace("palettes: [funny, plain]", "lam: {mine: {fluency: 1}}")))
    assert "map-d/mine" in alone.all_policies


def test_a_data_set_with_share_zero_is_not_needed() -> None:
    dpo = families.family("dpo")
    section = dpo.settings(mixtures={"all": {"helpful": 1.0, "harmless": 0.0}})
    (policy,) = dpo.policies(section)
    assert policy.name == "dpo/beta-0.1_all"
    assert policy.preferences == ("helpful",)


def test_dpo_for_palettes_is_named_after_them_and_takes_candidates() -> None:
    dpo = families.family("dpo")
    section = dpo.settings(
        mixtures={"all": {"helpful": 1.0}}, labelled={"palettes": ["plain"], "pairs": 7}
    )
    mixed, labelled = dpo.policies(section)
    assert mixed.variant == "beta-0.1_all"
    assert not mixed.uses_pool
    assert labelled.variant == labelled.palette == "plain"
    assert labelled.uses_pool
    assert labelled.settings["pairs"] == 7
    assert "beta" not in labelled.settings, "it is tied to λ"


def test_a_name_of_a_policy_is_parsed_as_it_is_written() -> None:
    policy = Policy.parse("map-d/a.b_c-70")
    assert (policy.family, policy.variant, policy.name) == ("map-d", "a.b_c-70", "map-d/a.b_c-70")
    for wrong in ("rloo", "rloo/", "/hhh-60", "a/b/c", ""):
        with pytest.raises(ValueError, match="expected family/variant"):
            Policy.parse(wrong)


def test_fluency_is_scored_under_the_base_model(text: str, write) -> None:
    study = load(write(text.replace("dtype: float32", "dtype: bfloat16\n  revision: abc")))
    settings = study.scorer("fluency")
    assert settings["kind"] == "log_likelihood"
    assert settings["model"] == "results/small/models/base/base"
    assert settings["revision"] == "abc"
    assert settings["dtype"] == "bfloat16"
    assert settings["template"] == "Human: {prompt} Assistant:"


def test_a_label_is_no_part_of_what_scores_depend_on(text: str, write) -> None:
    before = load(write(text)).scorer("humor")
    renamed = load(write(text.replace("label: Humor", "label: Wit")))
    assert renamed.scorer("humor") == before
    assert renamed.labels == {"humor": "Wit", "diversity": "diversity", "fluency": "fluency"}


def test_a_study_from_scores_alone(text: str, write) -> None:
    study = load(write(SCORES))
    assert study.columns == {"humor": "humor", "wit": "humor"}
    assert study.model is None
    assert list(study.all_policies) == ["map-d/funny"]


def test_a_study_from_scores_has_nothing_that_needs_a_model(text: str, write) -> None:
    config = SCORES.replace("wit: {kind: column, column: humor}", "wit: {kind: ngram_diversity}")
    config = config.replace("scores.csv", "scores.txt")
    config += "sampling: {shards: 2}\nprompts: {limit: 3}\n"
    with pytest.raises(ConfigError) as caught:
        load(write(config))
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0:2] for line in lines] == [
        ["study.yaml:2", "rewards"],
        ["study.yaml:5", "values.wit.kind"],
        ["study.yaml:11", "sampling"],
        ["study.yaml:12", "prompts.limit"],
    ]
    assert "write 'column'" in lines[1]


def test_a_study_from_scores_trains_nothing(
    text: str, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SCORES.replace("map-d: {palettes", "rloo: {palettes")
    with pytest.raises(ConfigError, match=r"study\.yaml:9: policies\.rloo: needs a model"):
        load(write(config))


def test_without_test_prompts_there_is_nothing_to_judge_policies_on(text: str, write) -> None:
    config = SCORES + "prompts: {test_share: 0}\n"
    with pytest.raises(ConfigError, match=r"yaml:11: prompts\.test_share: 0 leaves no prompt"):
        load(write(config))
    alone = config.replace("policies:\n  map-d: {palettes: [funny]}\n", "")
    assert load(write(alone)).prompts.test_share == 0
    with_a_model = re.sub(r"test_share: \S+", "test_share: 0", text)
    with pytest.raises(ConfigError, match="expected more in a study with a model; raise it"):
        load(write(with_a_model))


@pytest.mark.parametrize(
    "name", ["config.yaml", "configs/paper.yaml", "configs/imdb.yaml", "configs/scores-only.yaml"]
)
def test_shipped_studies_are_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = load(name)
    assert study.palettes
    assert study.all_policies


def test_figures_are_found_by_their_files() -> None:
    folder = ROOT / "workflow/polyalign/plots/figures"
    found = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert set(plots.names()) == found >= {"heat_map", "pareto", "delivery"}


def test_the_config_imports_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "trl", "datasets", "scipy", "pandas", "matplotlib"]
    code = (
        "import sys; from polyalign import families, rewards; from polyalign.study import load\n"
        "[families.family(name) for name in families.NAMES]\n"
        "[rewards.module(kind) for kind in rewards.KINDS]\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "workflow")},
    )
    assert done.stdout.strip() == "[]"


def test_values_by_their_part_in_the_study(text: str, write) -> None:
    study = load(write(text))
    assert study.chosen == study.explored[:1] == ["humor"]
    assert study.maintained == ["diversity"]
    assert study.explored == ["humor", "diversity"]  # fluency is in no palette
    assert study.traded == ["humor"]
    given = text.replace("map:", "evaluation:\n  values: [fluency, humor]\nmap:")
    study = load(write(given))
    assert study.chosen == ["humor", "fluency"]
    assert study.traded == ["humor"]  # λ never weighs fluency


def test_without_palettes_all_values_count_but_those_evaluated_only(text: str, write) -> None:
    scores = SCORES.replace("palettes:\n  funny: {humor: q70}\n", "")
    scores = scores.replace("policies:\n  map-d: {palettes: [funny]}\n", "")
    study = load(write(scores + "evaluation: {evaluate_only: [wit], slack: published-0.06}\n"))
    assert study.chosen == ["humor"]
    assert study.explored == ["humor"]
    assert study.maintained == []
    assert study.slack == 0.06
    assert load(write(text)).slack == 0.0
