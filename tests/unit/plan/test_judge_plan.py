"""The jobs of judges: what they are told, what they wait for, and what runs them again."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from polyalign.plan import shown, stages
from polyalign.plan.jobs import jobs
from polyalign.plan.unchanged import compared_text
from polyalign.rewards.judging import PairJudge
from polyalign.study import Study, load

ROOT = Path(__file__).parents[3]
OF = {"family": "rloo", "variant": "funny"}


@pytest.fixture
def judged(text: str, write: Any) -> Study:
    """The small study with a judge of pairs and a value that a judge scores."""
    server = "endpoint: http://a/v1, model: m"
    value = f"polite: {{kind: judge, {server}, rubric: '{{response}}', low: 0, high: 1}}"
    text = text.replace("values:\n", f"values:\n  {value}\n", 1)
    judge = f"{{{server}, rubric: '{{first}}{{second}}', prompts: 7}}"
    return load(write(f"{text}evaluation:\n  judge: {judge}\n"))


def with_judge(study: Study, **settings: Any) -> Study:
    assert study.evaluation.judge is not None
    judge = study.evaluation.judge.model_copy(update=settings)
    evaluation = study.evaluation.model_copy(update={"judge": judge})
    return changed(study, evaluation=evaluation)


def changed(study: Study, **update: Any) -> Study:
    found = study.model_copy(update=update)
    found.__dict__.pop("as_compared", None)
    return found


def test_every_policy_but_the_opponent_is_judged(judged: Study) -> None:
    asked = [wildcards for stage, wildcards in jobs(judged) if stage == "judge"]
    assert len(asked) == len(judged.all_policies) > 2
    assert {"family": "base", "variant": "base"} not in asked
    inputs = stages.STAGES["judged"].inputs(judged, {})
    assert inputs["votes"] == [
        f"results/small/policies/{one['family']}/{one['variant']}/votes.jsonl" for one in asked
    ]
    assert inputs["opponent"] == "results/small/policies/base/base/rewards.parquet"
    assert "rloo/funny" in judged.as_compared.all_policies
    gone = judged.without({"rloo/funny": "no λ"}, ())
    assert "rloo/funny" not in gone.as_compared.all_policies
    assert len(stages.STAGES["judged"].inputs(gone, {})["votes"]) == len(asked) - 1
    assert "judge" in shown.tables(judged)
    assert "up to 7 of {prompts}" in shown.captions(judged)["judge"]


@pytest.mark.parametrize("stage", ["judge", "judged"])
def test_settings_are_what_the_script_takes(judged: Study, stage: str) -> None:
    found = spec_from_file_location("script", ROOT / f"workflow/scripts/{stage}.py")
    assert found is not None
    assert found.loader is not None
    script = module_from_spec(found)
    found.loader.exec_module(script)
    told = json.loads(stages.settings_text(judged, stage, OF))
    signature(script.main).bind(None, **told)
    if stage == "judge":
        assert PairJudge(**told["judge"]).folder == "results/small/calls/pairs"


def test_how_a_judge_is_asked_runs_nothing_again_and_what_it_is_asked_does(judged: Study) -> None:
    before = compared_text(judged, "judge", OF)
    conduct = {"key_env": "K", "max_calls": 5, "timeout": 1.0, "parallel": 2, "folder": "x"}
    other = with_judge(judged, **conduct)
    assert compared_text(other, "judge", OF) == before
    assert stages.settings_text(other, "judge", OF) != before
    for change in ({"model": "n"}, {"rubric": "{second}{first}"}, {"prompts": 8}, {"seed": 1}):
        assert compared_text(with_judge(judged, **change), "judge", OF) != before
    at = {**OF, "value": "polite", "i": "0", "n": "1"}
    scored = compared_text(judged, "annotate", at)
    for change, same in ((conduct, True), ({"model": "n"}, False), ({"low": -1.0}, False)):
        spec = judged.values["polite"].model_copy(update=change)
        other = changed(judged, values={**judged.values, "polite": spec})
        assert (compared_text(other, "annotate", at) == scored) is same


def test_the_page_and_the_methods_show_no_conduct(judged: Study) -> None:
    spec = judged.values["polite"].model_copy(update={"key_env": "SOME_KEY", "max_calls": 5})
    keyed = changed(judged, values={**judged.values, "polite": spec})
    said = json.dumps(shown.method_settings(keyed)["values"]["polite"])
    assert "http://a/v1" in said
    assert "SOME_KEY" not in said
    assert "calls/values" not in said
    assert stages.STAGES["overview"].inputs(judged, {})["judge"] == [
        "results/small/tables/judge.csv"
    ]
