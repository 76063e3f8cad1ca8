"""What each rule is told binds to what its script takes; what it waits for is what others make."""

import functools
import importlib.util
import inspect
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from polyalign.families import BASE, POOL, VALUE, Policy, family
from polyalign.plan import shown, stages
from polyalign.plan.jobs import jobs
from polyalign.plan.stages.shared import base_model
from polyalign.report.registry import TABLES
from polyalign.runtime.code import canonical
from polyalign.study import Study, load, validate

ROOT = Path(__file__).parents[3]
SHIPPED = ("config.yaml", "configs/imdb.yaml", "configs/paper.yaml", "configs/scores-only.yaml")


@pytest.fixture(scope="module", params=SHIPPED)
def study(request: pytest.FixtureRequest) -> Iterator[Study]:
    """Each shipped study; paths start at the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield load(request.param)


def script(name: str) -> Callable[..., None]:
    """The function `main` of a script."""
    path = ROOT / f"workflow/scripts/{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[..., None] = module.main
    return main


def check_call(function: Callable[..., Any], first: tuple[Any, ...], told: dict[str, Any]) -> None:
    """Assert that a function takes these keywords, all that it needs, of these types."""
    signature = inspect.signature(function)
    bound = signature.bind(*first, **told)
    for name, value in bound.kwargs.items():
        kind = signature.parameters.get(name)
        if name in told and kind is not None and kind.annotation is not inspect.Parameter.empty:
            TypeAdapter(kind.annotation).validate_json(json.dumps(value), strict=True)


@pytest.mark.parametrize("name", sorted(stages.STAGES))
def test_settings_bind_to_what_the_script_takes(study: Study, name: str) -> None:
    main = script(stages.STAGES[name].script)
    for stage, wildcards in jobs(study):
        if stage == name:
            told = json.loads(stages.settings_text(study, stage, wildcards))
            check_call(main, (None,), told)


def test_prompts_wait_for_a_model_only_where_it_counts_their_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    plain = load("config.yaml")
    told = plain.prompts.model_copy(update={"longest": 50})
    limited = plain.model_copy(update={"prompts": told})
    settings = [stages.STAGES["prompts"].settings(study, {}) for study in (plain, limited)]
    inputs = [stages.STAGES["prompts"].inputs(study, {}) for study in (plain, limited)]
    model = {"source": plain.model.source, "revision": None} if plain.model else {}
    measured = {"tokens": 50, "template": plain.prompts.template, **model}
    assert settings[1] == {**settings[0], "longest": measured}
    assert inputs[1] == {**inputs[0], "base": base_model(plain)}
    check_call(script("prompts"), (None,), settings[1])


def test_settings_bind_to_what_the_settings_choose(study: Study) -> None:
    """Of a family, the function that makes a policy; of a sweep, its `compute`."""
    for stage, wildcards in jobs(study):
        told = json.loads(stages.settings_text(study, stage, wildcards))
        if stage == "decode":
            decode = family(wildcards["family"]).implementation()
            check_call(decode, (None, None), {**told["settings"], "seed": told["seed"]})
        if stage == "generate_guided":
            guide = family(wildcards["family"]).implementation()
            check_call(guide, (None, None, None, None), told["guided"])
        if stage == "explore":
            sweep = import_module(f"polyalign.palettes.sweeps.{told['kind']}")
            check_call(sweep.compute, (None, {}), told["settings"])


def test_every_input_is_made_by_a_rule_or_is_the_users(study: Study) -> None:
    """Nobody waits for a file below results/ that no rule makes."""
    paths = stages.paths(study)
    made = {paths.file(name) for name in ("prompts.parquet", "config.json", "overview.html")}
    made |= {paths.world(name) for name in ("corpus.jsonl", "humor.jsonl")}
    made |= {
        paths.world(f"hh/{value}-base/{split}.jsonl.gz")
        for value in ("helpful", "harmless")
        for split in ("train", "test")
    }
    made |= {paths.rewards(POOL), paths.explored("jobs", "dot")}
    made |= {paths.plot(name, "png") for name in study.plots}
    made |= {paths.table(name, kind) for name in shown.tables(study) for kind in TABLES[name].kinds}
    models = [Policy("reward", name) for name in study.reward_models]
    learnt = [VALUE] if study.value_training else []
    if study.value_training:
        made.add(paths.calibration())
    for policy in [BASE, *models, *learnt, *study.of_kind("train")]:
        made |= {paths.model(policy), paths.manifest(policy), paths.metrics(policy)}
    for policy in study.evaluated:
        made |= {paths.rewards(policy), paths.levels(policy), paths.winrate(policy)}
    for palette in study.palettes:
        made |= {paths.lam(palette), paths.palette(palette)}
    for stage, wildcards in jobs(study):
        if stage in ("generate", "generate_guided"):
            policy = Policy(wildcards["family"], wildcards["variant"])
            made.add(paths.samples(policy, wildcards["i"], wildcards["n"]))
        if stage == "annotate":
            policy = Policy(wildcards["family"], wildcards["variant"])
            value = wildcards["value"]
            made.add(paths.shard(policy, value, wildcards["i"], wildcards["n"]))
        if stage == "steer":
            made.add(paths.steered(Policy(wildcards["family"], wildcards["variant"])))
        if stage == "explore":
            made.add(paths.explored(wildcards["name"]))
    for stage, wildcards in jobs(study):
        inputs = stages.STAGES[stage].inputs(study, wildcards)
        files = [
            file for one in inputs.values() for file in ([one] if isinstance(one, str) else one)
        ]
        ours = {file for file in files if file.startswith(f"{paths.results}/")}
        assert ours <= made, (stage, wildcards, ours - made)


def test_code_of_a_job_is_what_it_imports_and_what_its_settings_choose(study: Study) -> None:
    for stage, wildcards in jobs(study):
        files = {
            entry.partition("=")[0] for entry in stages.code_text(study, stage, wildcards).split()
        }
        assert f"scripts/{stages.STAGES[stage].script}.py" in files
        assert not {file for file in files if file.startswith("polyalign/runtime/")}
        kinds = {file for file in files if file.startswith("polyalign/rewards/kinds/")}
        scored = stages.STAGES[stage].values(study, wildcards)
        chosen = {f"polyalign/rewards/kinds/{study.values[name].kind}.py" for name in scored}
        assert chosen <= kinds
        if stage == "plot":
            figure = wildcards["figure"].partition("/")[0]
            assert f"polyalign/plots/figures/{figure}.py" in files
        if stage in ("decode", "train", "generate_guided"):
            assert f"{family(wildcards['family']).module.replace('.', '/')}.py" in files


def test_a_key_that_one_job_is_not_told_changes_nothing_of_it(study: Study) -> None:
    """Of two policies of a family, each is told its own settings alone."""
    told = {
        wildcards["variant"]: stages.settings_text(study, "train", wildcards)
        for stage, wildcards in jobs(study)
        if stage == "train" and wildcards["family"] == "dpo"
    }
    assert len(set(told.values())) == len(told)
    for text in told.values():
        assert text == canonical(json.loads(text))


def test_jobs_that_load_a_model_ask_for_what_it_needs(study: Study) -> None:
    for stage, wildcards in jobs(study):
        need = stages.STAGES[stage].need(study, wildcards)
        if stage in (
            "generate", "generate_guided", "reward_model", "train", "base_model", "value_model",
            "steer",
        ):  # fmt: skip
            assert need is not None
            assert need.mem_mb > 0
            assert need.minutes > 0
        elif stage == "annotate":
            scored = study.scorer(wildcards["value"])
            assert (need is not None) == ("model" in scored)
        else:
            assert need is None


def test_a_rule_of_a_family_is_named_after_it(study: Study) -> None:
    for stage, prefix in (
        ("train", "train_"),
        ("decode", "decode_"),
        ("generate_guided", "generate_"),
    ):
        for name in stages.rules_of(study, stage):
            assert stages.rule_name(stage, name) == prefix + name.replace("-", "_")


def texts(study: Study) -> dict[str, str]:
    """What each job is told, by the name of its rule and its wildcards."""
    found = {}
    for stage, wildcards in jobs(study):
        rule, given = stage, dict(wildcards)
        if stage in ("train", "decode", "generate_guided"):
            rule = stages.rule_name(stage, given.pop("family"))
        name = ":".join([rule, *given.values()])
        found[name] = stages.settings_text(study, stage, wildcards)
    return found


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The config of the default study; paths start at the checkout."""
    monkeypatch.chdir(ROOT)
    config: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
    return config


SETTINGS = [
    ("sampling.temperature", 0.9, "generate:base:pool:0:2"),
    ("seed", 12345, "world"),
    ("evaluation.bootstrap", 123, "levels:base:base"),
    ("policies.rloo.steps", 12, "train_rloo:hhh-60"),
    ("policies.ppo.steps", 40, "train_ppo:hhh-60"),
    ("policies.dpo.labelled.learning_rate", 1e-4, "train_dpo:hhh-60"),
    ("reward_models.humor.epochs", 3, "reward_model:humor"),
]


@pytest.mark.parametrize(("key", "value", "job"), SETTINGS)
def test_a_setting_is_told_to_its_stage(
    sandbox: dict[str, Any], key: str, value: float, job: str
) -> None:
    """Snakemake runs a job again if what it is told has changed (tests/workflow/test_reruns.py)."""
    before = texts(validate(sandbox))
    *sections, name = key.split(".")
    section = functools.reduce(lambda inner, part: inner[part], sections, sandbox)
    assert section[name] != value
    section[name] = value
    after = texts(validate(sandbox))
    assert before.keys() == after.keys()
    assert before[job] != after[job]


def test_the_order_of_keys_changes_the_overview_alone(sandbox: dict[str, Any]) -> None:
    """It shows the settings of a family as the user wrote them."""
    before = texts(validate(sandbox))
    mixtures = sandbox["policies"]["dpo"]["mixtures"]
    name, mixture = next((name, found) for name, found in mixtures.items() if len(found) == 2)
    mixtures[name] = dict(reversed(mixture.items()))
    assert list(mixtures[name]) != list(mixture)
    after = texts(validate(sandbox))
    assert {job for job in before if before[job] != after[job]} == {"overview"}


def test_who_chooses_among_candidates_is_judged_by_all_of_them() -> None:
    study = load(ROOT / "config.yaml")
    pool = stages.paths(study).rewards(POOL)

    def given(stage: str, **wildcards: str) -> Any:
        return stages.STAGES[stage].inputs(study, wildcards).get("pool")

    assert given("winrate", family="map-d", variant="hhh-60") == pool
    assert given("winrate", family="best-of", variant="hhh-60") == pool
    assert given("winrate", family="rloo", variant="hhh-60") is None
    assert given("families") == pool
    changed = study.evaluation.model_copy(update={"opponent": "best-of/hhh-60"})
    study = study.model_copy(update={"evaluation": changed})
    assert given("winrate", family="rloo", variant="hhh-60") == pool
