"""Policies with several seeds: what they add to a plan, and what they leave as it is."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from polyalign.errors import InputError
from polyalign.families import Policy
from polyalign.plan import shown, stages
from polyalign.plan.jobs import jobs
from polyalign.plan.left_out import Failed, kept
from polyalign.study import Study, validate

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "config.yaml"
SHOWS = {"tables", "overview", "plot", "seeds"}


def with_seeds(**seeds: list[int]) -> Study:
    """The sandbox study, with seeds for some sections; `labelled` is that of dpo."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    policies = config["policies"]
    for name, asked in seeds.items():
        section = policies["dpo"]["labelled"] if name == "labelled" else policies[name]
        section["seeds"] = asked
    return validate(config)


def plan(study: Study) -> dict[str, str]:
    """Stage and wildcards of every job → its settings and inputs."""
    return {
        f"{stage} {json.dumps(wildcards)}": stages.settings_text(study, stage, wildcards)
        + json.dumps(stages.STAGES[stage].inputs(study, wildcards))
        for stage, wildcards in jobs(study)
    }


def of(stage_and_wildcards: str) -> tuple[str, str]:
    """Stage and policy of a job of `plan`."""
    stage, _, wildcards = stage_and_wildcards.partition(" ")
    found = json.loads(wildcards)
    return stage, f"{found.get('family')}/{found.get('variant')}"


@pytest.fixture(scope="module")
def plain() -> dict[str, str]:
    return plan(with_seeds())


def test_a_study_without_seeds_knows_nothing_of_them(plain: dict[str, str]) -> None:
    study = with_seeds()
    assert study.repeated == {}
    assert study.distinct == study.evaluated
    assert "seeds" not in shown.tables(study)
    assert not any("seed-" in job or job.startswith("seeds") for job in plain)
    assert not any(shown.SEVERAL_SEEDS in told for told in plain.values())


def test_seeds_add_jobs_and_change_only_what_shows_all_policies(plain: dict[str, str]) -> None:
    study = with_seeds(rloo=[1, 2, 3], labelled=[1, 5])
    found = plan(study)
    changed = {of(job)[0] for job in plain if found[job] != plain[job]}
    assert changed == SHOWS - {"seeds"}
    added = {of(job) for job in found.keys() - plain.keys()}
    assert {policy for _, policy in added} == {
        *("rloo/hhh-60.seed-2", "rloo/hhh-60.seed-3", "dpo/hhh-60.seed-5"),
        "None/None",
    }
    own = {"train", "generate", "annotate", "merge", "levels", "winrate"}
    assert {stage for stage, policy in added if policy == "rloo/hhh-60.seed-3"} == own
    assert {stage for stage, policy in added if policy == "None/None"} == {"seeds"}
    assert study.repeated == {
        "dpo/hhh-60": ["dpo/hhh-60", "dpo/hhh-60.seed-5"],
        "rloo/hhh-60": ["rloo/hhh-60", "rloo/hhh-60.seed-2", "rloo/hhh-60.seed-3"],
    }


def test_a_further_seed_trains_itself_alone() -> None:
    two, three = (plan(with_seeds(ppo=seeds)) for seeds in ([1, 2], [1, 2, 3]))
    changed = {of(job)[0] for job in two if two[job] != three[job]}
    assert changed == SHOWS
    assert {of(job)[1] for job in three.keys() - two.keys()} == {"ppo/hhh-60.seed-3"}


def test_a_repetition_differs_in_its_seed_alone() -> None:
    study = with_seeds(rloo=[7, 2])
    told = [
        json.loads(stages.settings_text(study, stage, {"family": "rloo", "variant": name, **item}))
        for stage, item in (("train", {}), ("generate", {"i": "0", "n": "1"}))
        for name in ("hhh-60", "hhh-60.seed-2")
    ]
    assert [one["seed"] for one in told] == [7, 2, 7, 2]
    for first, second in (told[:2], told[2:]):
        differ = {key for key in first if first[key] != second[key]}
        assert differ == {"seed", "variant"} & first.keys() or differ == {"seed", "policy", "model"}
    first, second = (study.all_policies[f"rloo/{name}"] for name in ("hhh-60", "hhh-60.seed-2"))
    assert first.start == second.start == "dpo/hhh-60"
    assert first.palette == second.palette == "hhh-60"
    inputs = [
        stages.STAGES["train"].inputs(study, {"family": "rloo", "variant": one.variant})
        for one in (first, second)
    ]
    assert inputs[0] == inputs[1]


def test_every_seed_starts_from_the_first_model_of_the_other_family() -> None:
    study = with_seeds(rloo=[1, 2], labelled=[1, 2])
    assert study.all_policies["rloo/hhh-60.seed-2"].start == "dpo/hhh-60"


def test_mixtures_have_seeds_and_random_lam_has_none() -> None:
    study = with_seeds(dpo=[1, 2])
    assert study.repeated.keys() == {f"dpo/beta-0.1_harmless-{share}" for share in ("0.1", "0.9")}
    again = study.all_policies["dpo/beta-0.1_harmless-0.1.seed-2"]
    first = study.all_policies["dpo/beta-0.1_harmless-0.1"]
    assert again.preferences == first.preferences
    assert "seeds" not in again.settings
    assert again.settings == first.settings
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["policies"]["rloo"] |= {"seeds": [4, 5], "morl": {"count": 1, "values": ["humor"]}}
    drawn = validate(config).all_policies["rloo/draw-1"]
    assert (drawn.seed, drawn.repeats) == (None, None)
    assert "seeds" not in drawn.settings


def test_families_count_every_policy_once() -> None:
    study = with_seeds(rloo=[1, 2])
    told = stages.STAGES["families"].settings(study, {})
    assert "rloo/hhh-60" in told["policies"]
    assert "rloo/hhh-60.seed-2" not in told["policies"]
    paths = stages.STAGES["families"].inputs(study, {})["rewards"]
    assert len(paths) == len(told["policies"]) == len(study.evaluated) - 1


def test_the_table_waits_for_every_seed_and_the_opponent() -> None:
    study = with_seeds(rloo=[1, 2])
    asked = stages.STAGES["seeds"].inputs(study, {})
    assert asked == {
        "rewards": [
            "results/sandbox/policies/rloo/hhh-60/rewards.parquet",
            "results/sandbox/policies/rloo/hhh-60.seed-2/rewards.parquet",
        ],
        "opponent": "results/sandbox/policies/base/base/rewards.parquet",
    }
    assert stages.STAGES["seeds"].settings(study, {})["groups"] == [
        ("rloo/hhh-60", ["rloo/hhh-60", "rloo/hhh-60.seed-2"])
    ]
    tables = stages.STAGES["tables"].inputs(study, {})
    assert tables["seeds"] == "results/sandbox/tables/seeds.csv"
    assert shown.SEVERAL_SEEDS in shown.captions(study)["levels"]


def test_what_is_left_of_the_seeds_is_still_compared() -> None:
    study = with_seeds(rloo=[1, 2, 3])
    without = kept(study, {}, Failed({"rloo/hhh-60": "a.log"}))
    assert without.repeated == {"rloo/hhh-60": ["rloo/hhh-60.seed-2", "rloo/hhh-60.seed-3"]}
    assert Policy.parse("rloo/hhh-60.seed-2").name in {one.name for one in without.distinct}
    none = kept(study, {"hhh-60": "infeasible"}, Failed())
    assert none.repeated == {}
    assert "seeds" not in shown.tables(none)


@pytest.mark.parametrize(
    ("seeds", "said"),
    [([1], "policies.rloo.seeds"), ([1, 1], "stands twice"), ([1, -2], "policies.rloo.seeds")],
)
def test_wrong_seeds_are_refused(seeds: list[int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        with_seeds(rloo=seeds)


def test_a_palette_with_the_name_of_a_seed_is_refused() -> None:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["palettes"]["hhh-60.seed-2"] = config["palettes"]["hhh-60"]
    config["policies"]["ppo"] |= {"palettes": ["hhh-60", "hhh-60.seed-2"], "start": None}
    assert "ppo/hhh-60.seed-2" in validate(config).all_policies
    config["policies"]["ppo"]["seeds"] = [1, 2]
    with pytest.raises(InputError, match=r"two policies would have the name 'ppo/hhh-60\.seed-2'"):
        validate(config)


def test_the_script_takes_what_the_stage_tells() -> None:
    tree = ast.parse((ROOT / "workflow/scripts/seeds.py").read_text(encoding="utf-8"))
    (main,) = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == "main"]
    told = stages.STAGES["seeds"].settings(with_seeds(rloo=[1, 2]), {})
    assert {argument.arg for argument in main.args.kwonlyargs} == told.keys()


def test_the_methods_name_the_seeds() -> None:
    told = shown.method_settings(with_seeds(ppo=[1, 2, 3]))["families"]
    (ppo,) = [one for one in told if one["name"] == "ppo"]
    assert "seeds = 1, 2 and 3" in ppo["settings"]
    assert ppo["policies"] == 3
