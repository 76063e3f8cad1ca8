"""The value model in the plan: one job for all λ of a study, which waits for the pool alone."""

from pathlib import Path

import pytest
import yaml

from polyalign.errors import InputError
from polyalign.families import VALUE, Policy
from polyalign.families.value_d import ALL_ANSWERS
from polyalign.plan import resources, shown, work
from polyalign.plan.counts import counts
from polyalign.plan.jobs import jobs, rule_of_job
from polyalign.plan.stages import STAGES, Exists, paths, settings_text
from polyalign.plan.targets import known_files
from polyalign.study import Study, load

CONFIG = Path(__file__).parents[3] / "config.yaml"


DEFAULT = "  value-d: {palettes: [hhh-60]}\n"


def study(tmp_path: Path, section: str, more: str = "") -> Study:
    text = CONFIG.read_text().replace(DEFAULT, f"  value-d: {section}\n")
    if more:
        text = text.replace("palettes:\n  hhh-60", f"palettes:\n  {more}\n  hhh-60", 1)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load(path)


def job(variant: str) -> dict[str, str]:
    return {"family": "value-d", "variant": variant, "i": "0", "n": "1"}


def test_one_model_is_trained_for_all_lambda(tmp_path):
    found = study(tmp_path, "{palettes: [hhh-60, hhh-65], lam: {kind: {helpful: 0.4}}}")
    rules = [rule_of_job(stage, wildcards) for stage, wildcards in jobs(found)]
    assert rules.count("value_model") == 1
    assert rules.count("generate_value_d") == 3
    model = paths(found).model(VALUE)
    told = STAGES["value_model"].settings(found, {})
    assert told["values"] == list(found.values)
    assert "palettes" not in told["training"]
    assert "values" not in told["training"]
    waits = STAGES["value_model"].inputs(found, {})
    assert set(waits) == {"base", "samples", "scores"}
    assert f"{model}.json" in set(known_files(found))
    assert f"{model}.csv" in shown.training_metrics(found)


@pytest.mark.parametrize(
    ("more", "section", "humor"),
    [
        ('capped: {humor: "<= mean"}', "{palettes: [hhh-60]}", 0),
        ('capped: {coherence: "<= mean-0.1sd", diversity: between mean and q60}',
         "{palettes: [capped]}", 1),
    ],
)  # fmt: skip
def test_lambda_has_the_signs_of_floors_and_ceilings(tmp_path, more, section, humor):
    """The value model must know λ < 0 of what has ceilings, of whatever palette of the study."""
    told = STAGES["value_model"].settings(study(tmp_path, section, more), {})
    assert told["signs"]["humor"] == humor
    assert told["signs"]["helpful"] == 1
    if "coherence" in more:
        assert told["signs"]["diversity"] == 0
        assert {"coherence", "diversity"} <= set(told["raised"])


def test_a_ceiling_alone_has_one_sign_and_own_lambda_the_other(tmp_path):
    config = yaml.safe_load(CONFIG.read_text())
    config |= {"plots": [], "palettes": {"low": {"humor": "<= mean", "helpful": "q60"}}}
    for own, sign in (("helpful", -1), ("humor", 0)):
        config["policies"] = {"value-d": {"palettes": ["low"], "lam": {"own": {own: 1.0}}}}
        path = tmp_path / f"{own}.yaml"
        path.write_text(yaml.safe_dump(config))
        assert load(path).learnt_signs["humor"] == sign


def test_a_study_without_the_family_trains_none(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.read_text().replace(DEFAULT, ""))
    found = load(path)
    assert found.value_training is None
    assert "value_model" not in {stage for stage, _ in jobs(found)}


def test_a_policy_waits_for_the_model_and_for_no_reward(tmp_path):
    found = study(tmp_path, "{palettes: [hhh-60], adapt: false, lam: {kind: {helpful: 0.4}}}")
    assert found.steered == []
    model = paths(found).model(VALUE)
    for variant, lam in (("hhh-60", paths(found).lam("hhh-60")), ("kind", [])):
        waits = STAGES["generate_guided"].inputs(found, job(variant))
        assert waits["value_model"] == [f"{model}.json", model]
        assert isinstance(waits["value_model"][1], Exists)
        assert waits["palette"] == lam
        assert "steered" not in waits
        assert "rewards" not in waits
        told = STAGES["generate_guided"].settings(found, job(variant))
        assert told["guided"]["value_model"] == model
        assert "values" not in told["guided"]
        assert STAGES["generate_guided"].values(found, job(variant)) == []
    assert told["guided"]["settings"] == {"lam": {"helpful": 0.4}}


def test_a_new_palette_or_lambda_leaves_the_model_as_it_is(tmp_path):
    before = study(tmp_path, "{palettes: [hhh-60]}")
    after = study(
        tmp_path, "{palettes: [hhh-60, funny], lam: {kind: {helpful: 0.4}}}", "funny: {humor: q65}"
    )
    assert settings_text(before, "value_model", {}) == settings_text(after, "value_model", {})
    another = study(tmp_path, "{palettes: [hhh-60], rank: 2}")
    assert settings_text(before, "value_model", {}) != settings_text(another, "value_model", {})
    told = [settings_text(one, "generate_guided", job("hhh-60")) for one in (before, another)]
    assert told[0] == told[1]


def test_only_the_given_values_are_learnt(tmp_path):
    found = study(tmp_path, "{lam: {kind: {helpful: 0.4}}, values: [helpful, humor]}")
    assert found.learnt_values == ["humor", "helpful"]
    with pytest.raises(InputError, match="lack 'harmless', which value-d/kind weighs"):
        study(tmp_path, "{lam: {kind: {harmless: 0.4}}, values: [helpful]}")
    with pytest.raises(InputError, match="lack 'coherence', which value-d/hhh-60 weighs"):
        study(tmp_path, "{palettes: [hhh-60], values: [helpful, humor, harmless, diversity]}")
    with pytest.raises(InputError, match="helpfull"):
        study(tmp_path, "{palettes: [hhh-60], values: [helpfull]}")


def test_time_and_memory_are_foretold(tmp_path):
    found = study(tmp_path, "{palettes: [hhh-60], epochs: 1}")
    longer = study(tmp_path, "{palettes: [hhh-60], epochs: 3}")
    needs = [resources.value_model(one).seconds - resources.START for one in (found, longer)]
    assert needs[1] > 2 * needs[0]
    counted = counts(found)
    works = [work.of_job(one, "value_model", {}, counted).operations for one in (found, longer)]
    assert 2 < works[1] / works[0] < 3
    # It decodes at the cost of the base model: a second copy in memory, and no reward.
    need = resources.generate(found, Policy("value-d", "hhh-60", palette="hhh-60"))
    assert need == resources.generate(found, found.all_policies["rloo/hhh-60"])
    decoding = work.of_job(found, "generate_guided", job("hhh-60"), counted)
    of_base = work.of_job(found, "generate", {**job("base"), "family": "base"}, counted)
    # Its answers are read by both models, as those of a trained policy are.
    assert decoding.draws == of_base.draws
    trained = work.of_job(found, "generate", {"family": "rloo", "variant": "hhh-60"}, counted)
    assert of_base.operations < decoding.operations == trained.operations


def test_lambda_of_a_palette_is_moved_first(tmp_path):
    """By one job per policy, which draws, scores and waits for that; the answers wait for it."""
    found = study(tmp_path, "{palettes: [hhh-60], random: 2, lam: {kind: {helpful: 0.4}}}")
    steered = [wildcards["variant"] for stage, wildcards in jobs(found) if stage == "steer"]
    assert steered == ["hhh-60", "random-01", "random-02"]
    lam = "results/sandbox/policies/value-d/hhh-60/lam.json"
    waits = STAGES["generate_guided"].inputs(found, job("hhh-60"))
    assert waits["steered"] == lam
    assert "palette" not in waits
    assert lam in set(known_files(found))
    assert lam in STAGES["tables"].inputs(found, {})["steered"]
    here = {"family": "value-d", "variant": "hhh-60"}
    waits = STAGES["steer"].inputs(found, here)
    assert waits["palette"] == paths(found).lam("hhh-60")
    assert "results/sandbox/models/reward/humor.json" in waits["rewards"]
    told = STAGES["steer"].settings(found, here)
    assert set(told["values"]) == set(found.palettes["hhh-60"])
    assert STAGES["steer"].values(found, here) == list(found.palettes["hhh-60"])
    own = STAGES["generate_guided"].settings(found, job("kind"))["guided"]["settings"]
    assert own == {"lam": {"helpful": 0.4}}


def test_another_value_or_palette_moves_no_lambda_again(tmp_path):
    here = {"family": "value-d", "variant": "hhh-60"}
    before = study(tmp_path, "{palettes: [hhh-60]}")
    after = study(tmp_path, "{palettes: [hhh-60, funny], random: 3}", "funny: {humor: q65}")
    added = after.model_copy(update={"values": {**after.values, "more": after.values["humor"]}})
    told = [settings_text(one, "steer", here) for one in (before, after, added)]
    assert told[0] == told[1] == told[2]
    waits = [STAGES["steer"].inputs(one, here) for one in (before, after, added)]
    assert waits[0] == waits[1] == waits[2]


def test_drawing_and_scoring_are_foretold(tmp_path):
    found, here = (
        study(tmp_path, "{palettes: [hhh-60]}"),
        {"family": "value-d", "variant": "hhh-60"},
    )
    asked = work.of_job(found, "steer", here, counts(found))
    drawn = work.of_job(found, "generate_guided", job("hhh-60"), counts(found))
    answers = ALL_ANSWERS / (350 * found.sampling.evaluation_candidates)
    assert asked.draws == pytest.approx(answers * drawn.draws, rel=0.05)
    assert asked.operations > answers * drawn.operations
    need = resources.steer(found, found.all_policies["value-d/hhh-60"])
    assert need.mem_mb >= resources.generate(found, found.all_policies["value-d/hhh-60"]).mem_mb
