"""What a study goes on without, and which jobs start first."""

import json
from pathlib import Path
from typing import Any

import pytest

from polyalign.cli.run import Started, missing
from polyalign.plan import shown, stages
from polyalign.plan.left_out import (
    Failed,
    kept,
    lost,
    read_failed,
    read_lam,
    verdict_files,
    without_solution,
)
from polyalign.plan.priority import priority
from polyalign.plan.stages.shared import limits
from polyalign.study import Study, load, validate
from polyalign.study.messages import ConfigError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def study() -> Study:
    return load(ROOT / "config.yaml")


def changed(**sections: Any) -> Study:
    whole = json.loads(load(ROOT / "config.yaml").model_dump_json(exclude_unset=True))
    return validate({**whole, **sections})


def test_policies_of_a_palette_without_solution_are_left_out_with_their_figures(
    study: Study,
) -> None:
    rest = kept(study, {"hhh-60": "infeasible"}, Failed())
    gone = {name for name, made in study.all_policies.items() if made.palette == "hhh-60"}
    assert {"rloo/hhh-60", "map-d/hhh-60", "dpo/hhh-60"} <= gone
    assert set(rest.left_out) == gone == set(study.all_policies) - set(rest.all_policies)
    assert set(study.plots) - set(rest.plots) == {one for one in study.plots if "hhh-60" in one}
    # What is asked for stays: the claims are about the same values.
    assert (rest.palettes, rest.chosen, rest.explored) == (
        study.palettes,
        study.chosen,
        study.explored,
    )
    said = shown.left_out(rest)
    assert said.startswith("Left out: map-d/hhh-60, ")
    assert said.endswith("(palette hhh-60 is infeasible).")
    assert shown.left_out(study) == shown.left_out(kept(study, {}, Failed())) == ""
    assert study.left_out == {}


def test_the_methods_text_names_no_palette_whose_policies_are_left_out(study: Study) -> None:
    def told(one: Study) -> dict[str, str]:
        families = shown.method_settings(one)["families"]
        return {family["name"]: family["settings"] for family in families}

    whole, rest = told(study), told(kept(study, {"hhh-60": "infeasible"}, Failed()))
    for family in ("map-d", "rloo", "dpo"):
        assert "hhh-60" in whole[family]
        assert family not in rest or "hhh-60" not in rest[family]
    assert whole["map-d"].replace("hhh-60, ", "") == rest["map-d"]
    (soup,) = study.policies["soup"].model_dump()["models"]
    without = told(kept(study, {}, Failed(policies={f"soup/{soup}": "a.log", "rloo/x": "b.log"})))
    assert "soup" not in without
    assert without["rloo"] == whole["rloo"]


def test_what_compares_waits_for_the_others_alone(study: Study) -> None:
    rest = kept(study, {"hhh-60": "infeasible"}, Failed())
    for stage in ("tables", "families", "overview"):
        before, after = (stages.STAGES[stage].inputs(one, {}) for one in (study, rest))
        files = [path for paths in before.values() for path in paths]
        left = [path for paths in after.values() for path in paths]
        of_policies = [path for path in files if "/policies/" in path and "hhh-60" in path]
        assert of_policies
        assert set(files) - set(left) == set(of_policies) | {
            path for path in files if "/models/" in path and path.endswith("/hhh-60.json")
        } - set(left)
        assert "results/sandbox/palettes/hhh-60.json" in left or stage == "families"
    assert all(stages.STAGES[name].compares for name in ("tables", "families", "mixing", "plot"))


def test_a_soup_is_left_out_with_a_part_that_stands_behind_it() -> None:
    models = {"mix": {"rloo/hhh-60": 0.5, "ppo/hhh-60": 0.5}}
    policies = json.loads(load(ROOT / "config.yaml").model_dump_json(exclude_unset=True))[
        "policies"
    ]
    made = changed(
        policies={
            "soup": {"models": models},
            **{one: policies[one] for one in ("dpo", "rloo", "ppo")},
        },
        plots=[],
    )
    rest = kept(made, {"hhh-60": "infeasible"}, Failed())
    assert rest.left_out["soup/mix"].startswith("made from ")
    assert not {"rloo/hhh-60", "ppo/hhh-60", "dpo/hhh-60"} & set(rest.all_policies)
    assert shown.tables(made) == [*shown.tables(rest), "mixing"]
    assert kept(made, {}, Failed({"ppo/hhh-60": "a.log"})).left_out == {
        "soup/mix": "made from ppo/hhh-60",
        "ppo/hhh-60": "its job failed, see a.log",
    }


def test_figures_that_need_what_is_not_there_are_left_out(study: Study) -> None:
    none = kept(study, dict.fromkeys(study.palettes, "infeasible"), Failed())
    assert {"delivery", "before_after", "sequential"} <= set(study.plots) - set(none.plots)
    assert {"palette_path", "heat_map", "random_levels"} <= set(none.plots)
    failed = Failed(figures={"heat_map": "r.log"}, tables={"random": "x.log"})
    rest = kept(study, {}, failed)
    assert set(study.plots) - set(rest.plots) >= {"heat_map", "random_levels", "feasible_lambda"}
    assert rest.left_out == {}
    assert failed.sentences() == [
        "The figure heat_map is missing, since its job failed; its log is r.log.",
        "The table random is missing, since its job failed; its log is x.log.",
    ]


def test_the_palette_of_the_opponent_is_never_left_out(study: Study) -> None:
    made = changed(evaluation={"opponent": "rloo/hhh-60"}, map={})
    assert made.on_infeasible("hhh-60") == "fail"
    assert made.on_infeasible("hhh-65") == "report"
    assert verdict_files(made, of_policies=False) == verdict_files(study, of_policies=False)
    assert lost(made, Failed({"rloo/hhh-60": "x"}))
    assert not lost(made, Failed({"ppo/hhh-60": "x"}))


def test_what_is_done_can_be_said_by_palette() -> None:
    made = changed(map={"on_infeasible": {"hhh-65": "adjust", "hhh-60": "fail"}})
    chosen = {name: made.on_infeasible(name) for name in made.palettes}
    assert chosen == {
        "hhh-60": "fail",
        "hhh-65": "adjust",
        "humor-70": "report",
        "harmless-70": "report",
    }
    assert stages.if_infeasible(made, "hhh-65")["limits"] == limits(made)
    with pytest.raises(ConfigError, match=r"map.on_infeasible.hhh-6: no palette 'hhh-6'"):
        changed(map={"on_infeasible": {"hhh-6": "adjust"}})


def test_only_a_palette_that_it_changed_is_solved_again(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("results/sandbox/palettes/lam/hhh-60.json")
    path.parent.mkdir(parents=True)

    def told(on_infeasible: str) -> dict[str, Any]:
        made = changed(map={"on_infeasible": on_infeasible})
        text = stages.settings_text(made, "solve", {"palette": "hhh-60"})
        chosen: dict[str, Any] = json.loads(text)["if_infeasible"]
        return chosen

    first = told("fail")
    assert first == {"on_infeasible": "fail"}
    for status, reached, again in (
        ("solved", 1.0, False),
        ("solved", 0.6, True),
        ("stalled", None, True),
    ):
        record = {"status": status, "verdict": "infeasible", "reached": reached}
        path.write_text(json.dumps({**record, "if_infeasible": first}))
        assert (told("adjust") != first) == again
        assert told("fail") == first
    path.write_text("broken")
    assert told("report") == {"on_infeasible": "report"}
    assert without_solution(read_lam(path)) == ""
    assert without_solution({"status": "stalled", "verdict": "unsupported"}) == "unsupported"


def test_failed_jobs_are_what_a_report_lacks(study: Study, tmp_path: Path) -> None:
    logs = {
        "train_rloo": "train/rloo-hhh-60.log",
        "annotate": "annotate/ppo-hhh-60_humor_0-of-1.log",
        "plot": "plot/reward_histograms/rloo/hhh-60.log",
        "explore_random": "explore/random.log",
    }
    jobs = [Started(rule, Path("results/s/logs") / log, 0.0) for rule, log in logs.items()]
    found = missing(study, jobs)
    assert isinstance(found, Failed)
    assert set(found.policies) == {"rloo/hhh-60", "ppo/hhh-60"}
    assert found.policies["rloo/hhh-60"] == "results/s/logs/train/rloo-hhh-60.log"
    assert set(found.figures) == {"reward_histograms/rloo/hhh-60"}
    assert set(found.tables) == {"random"}
    path = tmp_path / "failed.json"
    path.write_text(json.dumps(vars(found)))
    assert read_failed(str(path)) == found
    assert read_failed(None) == Failed()
    for rule, log in (("solve", "solve/hhh-60.log"), ("tables", "tables.log")):
        assert "which failed" in missing(study, [Started(rule, Path("logs") / log, 0.0)])
    base = Started("generate", Path("logs/generate/base-pool_0-of-2.log"), 0.0)
    assert "compared with" in missing(study, [base])


def test_lambda_comes_before_what_does_not_need_it(study: Study) -> None:
    pool = {"family": "base", "variant": "pool", "i": "0", "n": "2"}

    def of(stage: str, **wildcards: str) -> int:
        return priority(study, stage, wildcards)

    first = of("prompts")
    rewards = of("reward_model", variant="humor")
    sampled = of("generate", **pool)
    scored = of("annotate", **pool, value="humor")
    trained = {
        variant: of("train", family=family, variant=variant)
        for family, variant in (("ppo", "hhh-60"), ("dpo", "beta-0.1_harmless-0.1"))
    }
    assert first > rewards > sampled == scored == of("solve", palette="hhh-60")
    assert sampled > trained["hhh-60"] > trained["beta-0.1_harmless-0.1"] > 0
    assert of("generate", family="rloo", variant="hhh-60", i="0", n="1") == 0
    only = changed(palettes={"p": {"humor": "q60"}}, policies={}, plots=[], evaluation={})
    assert priority(only, "annotate", {**pool, "value": "helpful"}) == 0
    assert priority(only, "reward_model", {"variant": "helpful"}) == 0
    assert priority(only, "reward_model", {"variant": "humor"}) == rewards
