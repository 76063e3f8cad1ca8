"""The stages from prompts to rewards: prompts, answers of all policies, their scores, merging."""

from polyalign.families import BASE, POOL, VALUE, family
from polyalign.plan import resources
from polyalign.plan.stages.shared import (
    base_model,
    family_module,
    model_settings,
    pairs_file,
    palette_of,
    paths,
    policy_named,
    reward_models,
    sampling_rule,
    scattered,
    seed_of,
    trained_model,
)
from polyalign.plan.stages.stage import STAGES, Inputs, Settings, Stage, Wildcards
from polyalign.study import Study


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


def _guided_values(study: Study, wildcards: Wildcards) -> list[str]:
    policy = policy_named(study, wildcards)
    return [] if family(policy.family).learns else study.weighed(policy)


def _import_settings(study: Study, wildcards: Wildcards) -> Settings:
    return {
        "columns": study.columns,
        "negated": study.negated,
        "above": study.shares,
        "test_share": study.prompts.test_share,
    }


STAGES.update(
    {
        "import_rewards": Stage(
            "import_rewards",
            _import_settings,
            lambda study, wildcards: {"table": study.rewards or []},
        ),
        "prompts": Stage("prompts", _prompts_settings, _prompts_inputs, environment="models"),
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
            modules=family_module,
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
        "merge": Stage(
            "merge", lambda study, wildcards: {"values": list(study.values)}, _merge_inputs
        ),
    }
)
