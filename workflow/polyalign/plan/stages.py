"""What each rule is told, waits for and runs: functions of the study and the job's wildcards.

A `Stage` belongs to one rule, or to one rule per family (`train_rloo`, `train_ppo`); the wildcards
then have the key `family` as well. Settings are JSON-ready; a job gets them as one canonical text,
so Snakemake sees every change, also two numbers that changed places. Nothing here depends on
Snakemake, and no job imports it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from polyalign import plots
from polyalign.data.formats import HELD_OUT, has_splits, split_file
from polyalign.data.packed import file_of, is_packed
from polyalign.families import BASE, POOL, VALUE, Policy, family
from polyalign.families.options import RewardTraining
from polyalign.paths import Paths
from polyalign.plan import left_out, resources, shown
from polyalign.plan.recorded import read_record
from polyalign.plan.resources import Need
from polyalign.report.registry import TABLES
from polyalign.runtime.code import canonical, code
from polyalign.settings import SamplingRule, Strict
from polyalign.study import Study

Wildcards = Mapping[str, str]
Settings = dict[str, Any]
Inputs = dict[str, str | list[str]]
"""Name of an input → its path or paths."""


class Exists(str):
    """A file or folder that an input names: it only has to exist, whatever its time of change."""


@dataclass(frozen=True)
class Stage:
    """What a rule's jobs are told, wait for and run.

    Attributes:
        script: name of the script in workflow/scripts/.
        settings: what the script is told.
        inputs: the files that a job waits for, by the name that the script has for them.
        modules: modules of polyalign that the settings choose, which no import statement names.
        values: the values whose rewards a job computes.
        compares: whether a job reads what all policies give. It goes on without those whose palette
            has no solution (polyalign.plan.left_out).
        environment: software of the jobs: `models`, or `light` for those that never load any.
        need: memory, time and GPUs of a job that loads a model; None for a light one.
        libraries: what the jobs import (`polyalign.runtime.job_server.LIBRARIES`).
    """

    script: str
    settings: Callable[[Study, Wildcards], Settings]
    inputs: Callable[[Study, Wildcards], Inputs]
    modules: Callable[[Study, Wildcards], Sequence[str]] = lambda study, wildcards: ()
    values: Callable[[Study, Wildcards], Sequence[str]] = lambda study, wildcards: ()
    compares: bool = False
    environment: Literal["light", "models"] = "light"
    need: Callable[[Study, Wildcards], Need | None] = lambda study, wildcards: None
    libraries: Literal["light", "models", "training"] = "light"


def settings_text(study: Study, stage: str, wildcards: Wildcards) -> str:
    """The settings of a job as canonical JSON."""
    return canonical(STAGES[stage].settings(study, wildcards))


def code_text(study: Study, stage: str, wildcards: Wildcards) -> str:
    """The code that a job runs, with hashes; the user's own rewards included."""
    found = STAGES[stage]
    scored = found.values(study, wildcards)
    kinds = sorted({f"polyalign.rewards.kinds.{study.values[name].kind}" for name in scored})
    own = [study.values[name].user_code() for name in scored]
    chosen = [*found.modules(study, wildcards), *kinds]
    return " ".join([code(found.script, *chosen), *filter(None, own)])


def rules_of(study: Study, stage: str) -> list[str]:
    """The families of a study that have a rule of their own at this stage, sorted."""
    kind = {"train": "train", "decode": "select", "generate_guided": "sample"}[stage]
    return sorted({policy.family for policy in study.of_kind(kind)})


def rule_name(stage: str, name: str) -> str:
    """Name of the rule of one family at a stage."""
    return f"{stage.removesuffix('_guided')}_{name.replace('-', '_')}"


# What jobs share.


def paths(study: Study) -> Paths:
    """The paths of a study."""
    return Paths(study.study)


def policy_named(study: Study, wildcards: Wildcards) -> Policy:
    """The policy that a job is of."""
    found = Policy(wildcards["family"], wildcards["variant"])
    return study.all_policies.get(found.name, found)


def seed_of(study: Study, policy: Policy) -> int:
    """The seed of a policy's training and answers."""
    return study.seed if policy.seed is None else policy.seed


def pick(section: Strict, *keys: str) -> Settings:
    """Some settings of a section of the config."""
    return section.model_dump(include=set(keys))


def sampling_rule(study: Study) -> Settings:
    """How p0 samples, without what only says how the work is divided."""
    return pick(study.sampling, *SamplingRule.model_fields)


def limits(study: Study) -> Settings:
    """What counts as a supported palette."""
    return pick(study.map, "min_ess", "max_weight", "max_kl_share", "max_norm")


def model_files(study: Study, source: str) -> list[str]:
    """What a job that loads `source` waits for: its manifest, if the workflow makes the model.

    The manifest holds the hash of the weights, so a rebuild that gives the same model reruns
    nothing; the folder itself only has to exist.
    """
    return [f"{source}.json", Exists(source)] if paths(study).makes(source) else []


def trained_model(study: Study, policy: Policy) -> list[str]:
    """What a job that loads a policy's own model waits for."""
    return model_files(study, paths(study).model(policy))


def trained_models(study: Study) -> list[str]:
    """Every model that policies are trained to, as `trained_model`."""
    return [path for policy in study.of_kind("train") for path in trained_model(study, policy)]


def base_model(study: Study) -> list[str]:
    """What a job that loads the base model waits for."""
    return model_files(study, study.model.source) if study.model else []


def model_settings(study: Study) -> Settings:
    """How the base model is loaded."""
    if study.model is None:
        raise ValueError("a study from scores alone loads no model")
    return study.model.model_dump()


def reward_models(study: Study, names: Sequence[str]) -> list[str]:
    """What a job that computes the rewards of some values waits for."""
    return [
        path for name in names for path in model_files(study, study.scorer(name).get("model", ""))
    ]


def pairs_settings(study: Study, name: str) -> Settings:
    """How a preference data set is read."""
    made = study.preferences[name]
    settings: Settings = {
        "source": made.path,
        **pick(made, "max_words", "turns", "label"),
        "splits": {"train": made.train_split, "test": made.test_split},
        "system": study.prompts.system,
    }
    alone = not has_splits(made.path) or made.train_split == made.test_split
    return settings | ({"held_out": HELD_OUT} if alone else {})


def pairs_input(study: Study, name: str, split: str) -> str | list[str]:
    """The file of the training or test split of a preference data set (see `pairs_file`)."""
    made = study.preferences[name]
    return pairs_file(made.path, {"train": made.train_split, "test": made.test_split}[split])


def pairs_file(path: str, split: str) -> str | list[str]:
    """The file of a split of a data set that is here; nothing for one on the hub."""
    if is_packed(path):
        return str(file_of(path))
    if Path(path).is_file() or not has_splits(path):
        return path
    if path.startswith("results/") or Path(path).is_dir():
        return str(split_file(path, split) or f"{path}/{split}.jsonl.gz")
    return []


def given(inputs: Inputs) -> Inputs:
    """The inputs that there are."""
    return {name: path for name, path in inputs.items() if path}


def shards(study: Study, policy: Policy) -> int:
    """Number of scatter items of a policy: all but the pool are sampled in one.

    A finished pool keeps the number that it was made in, since another one gives the same samples.
    """
    if policy.name != POOL.name:
        return 1
    asked = study.sampling.shards
    made = {int(path.stem.rpartition("-")[2]) for path in _first_items(study)}
    kept = [n for n in sorted(made - {asked}) if _is_kept(study, n)]
    return asked if asked in made or not kept else kept[0]


def _first_items(study: Study) -> Iterator[Path]:
    """The first scatter items of the pool's samples that are there."""
    pattern = Path(paths(study).shard(POOL, "samples", 0, "*"))
    return pattern.parent.glob(pattern.name)


def _is_kept(study: Study, n: int) -> bool:
    """Whether all samples of the pool are there in n items, made with these settings and code."""
    for i in range(n):
        path = paths(study).shard(POOL, "samples", i, n)
        if not Path(path).is_file():
            return False
        job = {"family": POOL.family, "variant": POOL.variant, "i": str(i), "n": str(n)}
        now = settings_text(study, "generate", job), code_text(study, "generate", job)
        record = read_record(path)
        if record is not None and (record.settings, record.code) != now:
            return False
    return True


def scattered(study: Study, policy: Policy, names: Sequence[str]) -> list[str]:
    """The scatter items of a policy, of its samples or of some values' rewards."""
    n = shards(study, policy)
    return [paths(study).shard(policy, name, i, n) for name in names for i in range(n)]


def pool(study: Study, values: Sequence[str]) -> Inputs:
    """The pool with the rewards of some values.

    Not the merged table: a value added to the study would change that, and with it, as far as
    Snakemake can tell beforehand, every λ and every model trained on one.
    """
    if study.rewards:
        return {"pool": paths(study).rewards(POOL)}
    return {
        "samples": scattered(study, POOL, ["samples"]),
        "scores": scattered(study, POOL, values),
    }


def palette_of(study: Study, policy: Policy) -> Inputs:
    """The λ of a policy's palette.

    Jobs that use λ depend on this file, not on the diagnostics computed later.
    """
    return {"palette": paths(study).lam(policy.palette)} if policy.palette else {"palette": []}


# Prompts, responses and rewards.


def _prompts_settings(study: Study, wildcards: Wildcards) -> Settings:
    """The seed counts only where openings are cut, and the model only where it counts tokens."""
    cut = any(source.opening for source in study.prompts.sources)
    prompts = study.prompts.model_dump(exclude={"template", "longest"})
    settings = {**prompts, "seed": study.seed if cut else 0}
    if study.prompts.longest is None:
        return settings
    model = {key: model_settings(study)[key] for key in ("source", "revision")}
    longest = {"tokens": study.prompts.longest, "template": study.prompts.template, **model}
    return {**settings, "longest": longest}


def _prompts_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    files = [pairs_file(source.path, source.split) for source in study.prompts.sources]
    model = {} if study.prompts.longest is None else {"base": base_model(study)}
    return {"sources": [path for path in files if isinstance(path, str)], **model}


def _sampled(study: Study, wildcards: Wildcards) -> Settings:
    """Settings shared by all generation jobs."""
    policy, sampling = policy_named(study, wildcards), study.sampling
    is_pool = policy.name == POOL.name
    return {
        "policy": policy.name,
        "base": model_settings(study),
        "template": study.prompts.template,
        "sampling": sampling_rule(study),
        "splits": ["fit", "test"] if is_pool else ["test"],
        "candidates": sampling.candidates if is_pool else sampling.evaluation_candidates,
        "batch_size": resources.responses_at_once(study),
        "seed": seed_of(study, policy),
        "shard": int(wildcards["i"]),
        "shards": int(wildcards["n"]),
    }


def _generate_settings(study: Study, wildcards: Wildcards) -> Settings:
    base, policy = model_settings(study), policy_named(study, wildcards)
    trained = {**base, "source": paths(study).model(policy), "revision": None}
    model = trained if policy.name in study.all_policies else base
    return {**_sampled(study, wildcards), "model": model, "engine": study.sampling.engine}


def _generate_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    policy, base = policy_named(study, wildcards), base_model(study)
    model = base if policy.family == BASE.family else trained_model(study, policy)
    return {"prompts": paths(study).file("prompts.parquet"), "model": model, "base": base}


def _guided_settings(study: Study, wildcards: Wildcards) -> Settings:
    policy = policy_named(study, wildcards)
    guided: Settings = {"settings": policy.settings}
    if family(policy.family).learns:
        guided["value_model"] = paths(study).model(VALUE)
    else:
        guided["values"] = {name: study.scorer(name) for name in study.weighed(policy)}
    model = {"model": model_settings(study), "guided": guided}
    return {**_sampled(study, wildcards), **model}


def _guided_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    policy = policy_named(study, wildcards)
    if family(policy.family).learns:
        guides = {"value_model": trained_model(study, VALUE)}
    else:
        guides = {"rewards": reward_models(study, study.weighed(policy))}
    steered = {"steered": paths(study).steered(policy)}
    return {
        "prompts": paths(study).file("prompts.parquet"),
        "base": base_model(study),
        **(steered if policy in study.steered else palette_of(study, policy)),
        **guides,
    }


def _steer_settings(study: Study, wildcards: Wildcards) -> Settings:
    policy = policy_named(study, wildcards)
    return {
        "policy": policy.name,
        "model": model_settings(study),
        "value_model": paths(study).model(VALUE),
        "values": {name: study.scorer(name) for name in study.weighed(policy)},
        "template": study.prompts.template,
        "sampling": sampling_rule(study),
        "batch_size": resources.responses_at_once(study),
        "seed": study.seed,
    }


def _steer_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    policy = policy_named(study, wildcards)
    return {
        "prompts": paths(study).file("prompts.parquet"),
        "base": base_model(study),
        "value_model": trained_model(study, VALUE),
        "rewards": reward_models(study, study.weighed(policy)),
        **palette_of(study, policy),
    }


def _annotate_settings(study: Study, wildcards: Wildcards) -> Settings:
    return {"value": wildcards["value"], "spec": study.scorer(wildcards["value"])}


def _annotate_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    policy, value = policy_named(study, wildcards), wildcards["value"]
    i, n = wildcards["i"], wildcards["n"]
    first = study.read_with[value]
    # A model reads each text once: for the first of the values that share it.
    waits = [] if first == value else [paths(study).shard(policy, first, i, n)]
    return {
        "samples": paths(study).samples(policy, i, n),
        "model": reward_models(study, [value]),
        "first": waits,
    }


def _merge_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    policy = policy_named(study, wildcards)
    return {
        "samples": scattered(study, policy, ["samples"]),
        "scores": scattered(study, policy, list(study.values)),
    }


# Palettes, decoding and training.


def _solve_settings(study: Study, wildcards: Wildcards) -> Settings:
    """What λ depends on.

    What is done without a solution changes no palette that has one. So a palette that was solved as
    it is keeps the setting that it was solved with.
    """
    palette = wildcards["palette"]
    now = if_infeasible(study, palette)
    found = left_out.read_lam(paths(study).lam(palette))
    as_asked = not left_out.without_solution(found) and found.get("reached") == 1
    return {
        "palette": palette,
        "levels": study.palettes[palette],
        **_drawing(study, palette),
        **pick(study.map, "scope"),
        "if_infeasible": found.get("if_infeasible", now) if as_asked else now,
    }


def _drawing(study: Study, palette: str) -> Settings:
    """What a random palette depends on besides the pool; nothing for any other."""
    if palette in study.configured:
        return {}
    return {"drawn": {"seed": study.seed, "limits": limits(study)}}


def if_infeasible(study: Study, palette: str) -> Settings:
    """What is done if a palette has no solution, and what counts as supported if it is adjusted."""
    chosen = study.on_infeasible(palette)
    return {"on_infeasible": chosen} | ({"limits": limits(study)} if chosen == "adjust" else {})


def _solve_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return pool(study, list(study.palettes[wildcards["palette"]]))


def _diagnose_settings(study: Study, wildcards: Wildcards) -> Settings:
    return {"limits": limits(study), "resamples": study.map.resamples, "seed": study.seed}


def _diagnose_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return {**_solve_inputs(study, wildcards), "lam": paths(study).lam(wildcards["palette"])}


def _decode_settings(study: Study, wildcards: Wildcards) -> Settings:
    policy = policy_named(study, wildcards)
    return {
        "family": policy.family,
        "policy": policy.name,
        "seed": study.seed,
        "settings": policy.settings,
    }


def _decode_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return {
        "pool": paths(study).rewards(POOL),
        **palette_of(study, policy_named(study, wildcards)),
    }


def _family_module(study: Study, wildcards: Wildcards) -> list[str]:
    return [family(wildcards["family"]).module]


def _train_settings(study: Study, wildcards: Wildcards) -> Settings:
    """What a policy's own training needs, and nothing of other families' settings."""
    policy = policy_named(study, wildcards)
    settings: Settings = {
        "family": policy.family,
        "variant": policy.variant,
        "settings": policy.settings,
    }
    if not policy.parts:
        settings |= {
            "model": model_settings(study),
            "template": study.prompts.template,
            "seed": seed_of(study, policy),
            "sampling": sampling_rule(study),
        }
    if policy.preferences:
        settings["preferences"] = {name: pairs_settings(study, name) for name in policy.preferences}
    if policy.is_rewarded:
        settings["values"] = {name: study.scorer(name) for name in study.weighed(policy)}
    return settings


def _train_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    policy, inputs = policy_named(study, wildcards), Inputs()
    if not policy.parts:
        inputs["base"] = base_model(study)
    for name in policy.preferences:
        inputs[f"pairs:{name}"] = pairs_input(study, name, "train")
        if policy.settings.get("test_pairs"):
            inputs[f"held_out:{name}"] = pairs_input(study, name, "test")
    if policy.palette:
        inputs |= palette_of(study, policy)
    if policy.palette and policy.uses_pool:
        inputs |= pool(study, list(study.palettes[policy.palette]))
    elif policy.is_rewarded:
        inputs["prompts"] = paths(study).file("prompts.parquet")
        inputs["rewards"] = reward_models(study, study.weighed(policy))
    for part in policy.models:
        inputs[f"model:{part}"] = trained_model(study, Policy.parse(part))
    return given(inputs)


def _train_values(study: Study, wildcards: Wildcards) -> list[str]:
    policy = policy_named(study, wildcards)
    return [] if policy.uses_pool else study.weighed(policy)


def _guided_values(study: Study, wildcards: Wildcards) -> list[str]:
    policy = policy_named(study, wildcards)
    return [] if family(policy.family).learns else study.weighed(policy)


def _value_model_settings(study: Study, wildcards: Wildcards) -> Settings:
    section = study.value_training
    if section is None:
        raise ValueError("no family of the study samples with a value model")
    own = {value for one in study.of_kind("sample") for value in one.settings.get("lam", ())}
    signs = study.learnt_signs
    weighed = {*study.raised, *own, *(value for value, sign in signs.items() if sign < 1)}
    return {
        "model": model_settings(study),
        "template": study.prompts.template,
        "sampling": sampling_rule(study),
        "seed": study.seed,
        "values": study.learnt_values,
        "raised": [value for value in study.values if value in weighed],
        "signs": signs,
        "training": section.model_dump(exclude={"values"}),
    }


def _value_model_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return {"base": base_model(study), **pool(study, study.learnt_values)}


def _reward_model_settings(study: Study, wildcards: Wildcards) -> Settings:
    made, model = study.reward_models[wildcards["variant"]], model_settings(study)
    return {
        "name": wildcards["variant"],
        "source": made.source or model["source"],
        "revision": None if made.source else model["revision"],
        "template": study.prompts.template,
        "seed": study.seed,
        "device": model["device"],
        "pairs": pairs_settings(study, made.preferences) if made.preferences else None,
        "labels": made.labels.model_dump() if made.labels else None,
        "resample": made.resample,
        "training": pick(made, *RewardTraining.model_fields),
    }


def _reward_model_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    made = study.reward_models[wildcards["variant"]]
    source = made.source or model_settings(study)["source"]
    inputs: Inputs = {"base": model_files(study, source)}
    if made.labels:
        inputs["labels"] = str(file_of(made.labels.path))
    elif made.preferences:
        named = made.preferences
        inputs |= {split: pairs_input(study, named, split) for split in ("train", "test")}
    return given(inputs)


# The sandbox, and a study from scores alone.


def _world_settings(study: Study, wildcards: Wildcards) -> Settings:
    sandbox = pick(study.sandbox, "dialogues", "pairs") if study.sandbox else {}
    return {"seed": study.seed, **sandbox}


def _base_model_settings(study: Study, wildcards: Wildcards) -> Settings:
    sandbox = pick(study.sandbox, "steps") if study.sandbox else {}
    return {"seed": study.seed, **sandbox, "template": study.prompts.template}


def _import_settings(study: Study, wildcards: Wildcards) -> Settings:
    return {
        "columns": study.columns,
        "negated": study.negated,
        "above": study.shares,
        "test_share": study.prompts.test_share,
    }


# Levels, win rates, sweeps, figures and the report.


def _measured(study: Study, wildcards: Wildcards) -> Settings:
    return {
        "values": list(study.values),
        "bootstrap": study.evaluation.bootstrap,
        "seed": study.seed,
    }


def _levels_settings(study: Study, wildcards: Wildcards) -> Settings:
    longest = None if study.rewards else study.sampling.max_new_tokens
    return {**_measured(study, wildcards), "max_new_tokens": longest}


def _levels_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    own = paths(study).rewards(policy_named(study, wildcards))
    return {"rewards": own, "base": paths(study).rewards(BASE)}


def _winrate_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    opponent = Policy.parse(study.evaluation.opponent)
    own = policy_named(study, wildcards)
    inputs: Inputs = {"rewards": paths(study).rewards(own)}
    inputs["opponent"] = paths(study).rewards(opponent)
    return inputs | _candidates(study, {own.name, opponent.name})


def _candidates(study: Study, policies: Collection[str]) -> Inputs:
    """The pool, if one of the policies chooses among it: such a one is judged by all candidates."""
    choosing = {policy.name for policy in study.of_kind("select")}
    return {"pool": paths(study).rewards(POOL)} if choosing & set(policies) else {}


def _families_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    inputs: Inputs = {"rewards": [paths(study).rewards(policy) for policy in study.distinct]}
    return inputs | _candidates(study, [policy.name for policy in study.distinct])


def _seeds_settings(study: Study, wildcards: Wildcards) -> Settings:
    opponent = study.evaluation.opponent
    return {
        "title": TABLES["seeds"].title,
        "caption": shown.captions(study)["seeds"],
        "groups": list(study.repeated.items()),
        "values": list(study.values),
        "opponent": opponent,
    }


def _seeds_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    opponent = Policy.parse(study.evaluation.opponent)
    own = [paths(study).rewards(Policy.parse(name)) for name in chain(*study.repeated.values())]
    inputs: Inputs = {"rewards": own, "opponent": paths(study).rewards(opponent)}
    return inputs | _candidates(study, [opponent.name])


@dataclass(frozen=True)
class Sweep:
    """A table that figures alone are drawn from, computed from the pool.

    Attributes:
        module: module of polyalign.palettes.sweeps.
        settings: what it is told.
        of_palettes: whether it starts from the solved palettes.
        values: the values whose rewards it reads.
    """

    module: str
    settings: Callable[[Study], Settings]
    of_palettes: bool = False
    values: Callable[[Study], list[str]] = lambda study: study.explored


SWEEPS = {
    "random": Sweep(
        "random_lambda",
        lambda study: {
            "values": study.explored,
            "scope": study.map.scope,
            "draws": study.explore.draws,
            "max_norm": study.explore.max_norm,
            "seed": study.seed,
        },
    ),
    "fronts": Sweep(
        "fronts",
        lambda study: {
            "values": study.explored,
            "traded": study.traded,
            "scope": study.map.scope,
            **pick(study.explore, "budgets", "points"),
        },
        of_palettes=True,
    ),
    "rounds": Sweep(
        "rounds",
        lambda study: {"values": study.explored, **pick(study.explore, "rounds")},
        of_palettes=True,
    ),
    "paths": Sweep(
        "paths",
        lambda study: {**pick(study.explore, "steps", "beyond"), "limits": limits(study)},
        of_palettes=True,
    ),
    "by_number": Sweep(
        "by_number",
        lambda study: {
            "values": study.explored,
            "scope": study.map.scope,
            **pick(study.explore, "draws", "adjusted"),
            "limits": limits(study),
            "seed": study.seed,
        },
    ),
    "duals": Sweep("duals", lambda study: pick(study.explore, "steps"), of_palettes=True),
    "candidates": Sweep(
        "candidates",
        lambda study: {"values": study.explored, **pick(study.explore, "candidates")},
        of_palettes=True,
    ),
    "palette_levels": Sweep(
        "palette_levels",
        lambda study: {"values": study.explored, "scope": study.map.scope},
        of_palettes=True,
    ),
    "replicates": Sweep(
        "replicates",
        lambda study: {
            "replicates": study.evaluation.replicates,
            "resamples": max(study.map.resamples, 2),
            "seed": study.seed,
        },
        of_palettes=True,
        values=lambda study: [
            *study.explored,
            *(name for others in study.evaluation.replicates.values() for name in others),
        ],
    ),
}
"""Name of a sweep's table → what it is."""


def _explore_settings(study: Study, wildcards: Wildcards) -> Settings:
    sweep = SWEEPS[wildcards["name"]]
    return {"kind": sweep.module, "settings": sweep.settings(study)}


def _explore_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    # Figures of the mathematics are of the palettes that somebody asked for.
    asked = [paths(study).palette(name) for name in study.configured]
    sweep = SWEEPS[wildcards["name"]]
    return {**pool(study, sweep.values(study)), "palettes": asked if sweep.of_palettes else []}


def _explore_modules(study: Study, wildcards: Wildcards) -> list[str]:
    return [f"polyalign.palettes.sweeps.{SWEEPS[wildcards['name']].module}"]


def figure_policy(name: str) -> Policy | None:
    """The policy that a figure is of, or None for a figure of the whole study."""
    if not plots.figure(name).of_a_policy:
        return None
    _, _, policy = name.partition("/")
    return Policy.parse(policy) if policy else BASE


def _plot_settings(study: Study, wildcards: Wildcards) -> Settings:
    policy = figure_policy(wildcards["figure"])
    return {
        "figure": wildcards["figure"].partition("/")[0],
        "policy": policy.name if policy else None,
        "shown": shown.figure_settings(study, plots.figure(wildcards["figure"])),
    }


def _plot_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    """Of the policies' files, a figure of one policy waits for its own and the base model's."""
    policy = figure_policy(wildcards["figure"])
    of = [BASE, policy] if policy else study.evaluated
    tables = shown.figure_tables(study, {found.name: found for found in of}.values())
    return {name: tables[name]() for name in plots.figure(wildcards["figure"]).needs}


def _plot_modules(study: Study, wildcards: Wildcards) -> list[str]:
    """The figure's own module, and those of the families, which declare their colours."""
    made = {made.family for made in study.all_policies.values()}
    declared = sorted(family(name).settings.__module__ for name in made)
    return [plots.module(wildcards["figure"]).__name__, *declared]


def _tables_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return {
        "levels": [paths(study).levels(policy) for policy in study.evaluated],
        "winrate": [paths(study).winrate(policy) for policy in study.evaluated],
        "palettes": shown.palettes(study),
        # They record the λ that they were made with, and what was expected of it.
        "decoded": [paths(study).rewards(policy) for policy in study.of_kind("select")],
        # λ at the end of a training that moved it.
        "trained": [
            paths(study).manifest(policy) for policy in study.of_kind("train") if policy.palette
        ],
        # The same of guided policies.
        "steered": [paths(study).steered(policy) for policy in study.steered],
        **({"seeds": paths(study).table("seeds")} if study.repeated else {}),
    }


def _families_settings(study: Study, wildcards: Wildcards) -> Settings:
    return {
        "title": TABLES["families"].title,
        "caption": shown.captions(study)["families"],
        "policies": [policy.name for policy in study.distinct],
        "values": study.chosen,
        "opponent": study.evaluation.opponent,
        "slack": study.slack,
        **study.evaluation.hypervolume.model_dump(),
        "bootstrap": study.evaluation.bootstrap,
        "seed": study.seed,
    }


def _judge_settings(study: Study, wildcards: Wildcards) -> Settings:
    judge = study.pair_judge
    return {
        "judge": judge.model_dump() if judge else {},
        "policy": policy_named(study, wildcards).name,
        "opponent": study.evaluation.opponent,
        "seed": study.seed,
    }


def _judge_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    opponent = Policy.parse(study.evaluation.opponent)
    return {
        "rewards": paths(study).rewards(policy_named(study, wildcards)),
        "opponent": paths(study).rewards(opponent),
    }


def _judged_settings(study: Study, wildcards: Wildcards) -> Settings:
    judge = study.evaluation.judge
    return {
        "title": TABLES["judge"].title,
        "caption": shown.captions(study).get("judge", ""),
        "policies": [policy.name for policy in study.judged],
        "labels": list(study.labels.items()),
        "prompts": judge.prompts if judge else 0,
        "bootstrap": study.evaluation.bootstrap,
        "seed": study.seed,
    }


def _judged_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return {
        "rewards": [paths(study).rewards(policy) for policy in study.judged],
        "votes": [paths(study).votes(policy) for policy in study.judged],
        "opponent": paths(study).rewards(Policy.parse(study.evaluation.opponent)),
    }


def _rewards_inputs(policies: Callable[[Study], list[Policy]]) -> Callable[..., Inputs]:
    """Input function: the rewards tables of some policies."""
    return lambda study, wildcards: {
        "rewards": [paths(study).rewards(policy) for policy in policies(study)]
    }


def _mixing_settings(study: Study, wildcards: Wildcards) -> Settings:
    return {
        "title": TABLES["mixing"].title,
        "caption": shown.captions(study)["mixing"],
        "policies": [policy.name for policy in shown.mixed(study)],
        "parts": {policy.name: policy.settings["weights"] for policy in shown.soups(study)},
        "labels": list(study.labels.items()),
        **_measured(study, wildcards),
    }


def _makers(rule: str) -> Callable[[Study, Wildcards], list[str]]:
    """Modules function: the modules that make the tables of a rule."""
    modules = {table.module for table in TABLES.values() if table.rule == rule}
    return lambda study, wildcards: sorted(modules)


def _overview_modules(study: Study, wildcards: Wildcards) -> list[str]:
    checks = shown.page_settings(study)["checks"].values()
    return [check.partition(":")[0] for check in checks]


def _overview_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return {
        "summary": paths(study).table("summary"),
        "families": paths(study).table("families"),
        "judge": [paths(study).table("judge")] if study.evaluation.judge else [],
        "palettes": shown.palettes(study),
        "manifests": shown.judged_manifests(study),
        "levels": [paths(study).levels(policy) for policy in study.evaluated],
        "pictures": shown.pictures(study),
        "config": paths(study).file("config.json"),
        "rewards": [paths(study).rewards(policy) for policy in study.evaluated],
        "prompts": [] if study.rewards else [paths(study).file("prompts.parquet")],
    }


def _nothing(study: Study, wildcards: Wildcards) -> Inputs:
    return {}


STAGES = {
    "world": Stage("world", _world_settings, _nothing),
    "base_model": Stage(
        "base_model",
        _base_model_settings,
        lambda study, wildcards: {"corpus": paths(study).world("corpus.jsonl")},
        environment="models",
        libraries="models",
        need=lambda study, wildcards: resources.base_model(study),
    ),
    "import_rewards": Stage(
        "import_rewards",
        _import_settings,
        lambda study, wildcards: {"table": study.rewards or []},
    ),
    "prompts": Stage("prompts", _prompts_settings, _prompts_inputs, environment="models"),
    "reward_model": Stage(
        "reward_model",
        _reward_model_settings,
        _reward_model_inputs,
        environment="models",
        libraries="training",
        need=lambda study, wildcards: resources.reward_model(study, wildcards["variant"]),
    ),
    "value_model": Stage(
        "value_model",
        _value_model_settings,
        _value_model_inputs,
        environment="models",
        libraries="training",
        need=lambda study, wildcards: resources.value_model(study),
    ),
    "generate": Stage(
        "generate",
        _generate_settings,
        _generate_inputs,
        environment="models",
        libraries="models",
        need=lambda study, wildcards: resources.generate(study, policy_named(study, wildcards)),
    ),
    "generate_guided": Stage(
        "generate",
        _guided_settings,
        _guided_inputs,
        modules=_family_module,
        values=_guided_values,
        environment="models",
        libraries="models",
        need=lambda study, wildcards: resources.generate(study, policy_named(study, wildcards)),
    ),
    "steer": Stage(
        "steer",
        _steer_settings,
        _steer_inputs,
        values=lambda study, wildcards: study.weighed(policy_named(study, wildcards)),
        environment="models",
        libraries="models",
        need=lambda study, wildcards: resources.steer(study, policy_named(study, wildcards)),
    ),
    "annotate": Stage(
        "annotate",
        _annotate_settings,
        _annotate_inputs,
        values=lambda study, wildcards: [wildcards["value"]],
        environment="models",
        libraries="models",
        need=lambda study, wildcards: resources.annotate(
            study, wildcards["value"], policy_named(study, wildcards)
        ),
    ),
    "merge": Stage("merge", lambda study, wildcards: {"values": list(study.values)}, _merge_inputs),
    "train": Stage(
        "train",
        _train_settings,
        _train_inputs,
        modules=_family_module,
        values=_train_values,
        environment="models",
        libraries="training",
        need=lambda study, wildcards: resources.train(study, policy_named(study, wildcards)),
    ),
    "solve": Stage("solve", _solve_settings, _solve_inputs),
    "diagnose": Stage("diagnose", _diagnose_settings, _diagnose_inputs),
    "decode": Stage("decode", _decode_settings, _decode_inputs, modules=_family_module),
    "levels": Stage("levels", _levels_settings, _levels_inputs),
    "winrate": Stage("winrate", _measured, _winrate_inputs),
    "tables": Stage(
        "tables",
        lambda study, wildcards: shown.table_settings(study),
        _tables_inputs,
        modules=_makers("tables"),
        compares=True,
    ),
    "families": Stage(
        "families",
        _families_settings,
        _families_inputs,
        modules=_makers("families"),
        compares=True,
    ),
    "seeds": Stage(
        "seeds", _seeds_settings, _seeds_inputs, modules=_makers("seeds"), compares=True
    ),
    "judge": Stage("judge", _judge_settings, _judge_inputs),
    "judged": Stage(
        "judged",
        _judged_settings,
        _judged_inputs,
        modules=_makers("judged"),
        compares=True,
    ),
    "mixing": Stage(
        "mixing",
        _mixing_settings,
        _rewards_inputs(shown.mixed),
        modules=_makers("mixing"),
        compares=True,
    ),
    "explore": Stage("explore", _explore_settings, _explore_inputs, modules=_explore_modules),
    "plot": Stage("plot", _plot_settings, _plot_inputs, modules=_plot_modules, compares=True),
    "overview": Stage(
        "overview",
        lambda study, wildcards: shown.page_settings(study),
        _overview_inputs,
        modules=_overview_modules,
        compares=True,
    ),
    # The settings are the config as Snakemake read it.
    "resolved_config": Stage("resolved_config", lambda study, wildcards: {}, _nothing),
}
"""Name of a stage → what its jobs are told, wait for and run."""
