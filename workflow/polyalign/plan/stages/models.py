"""The stages that train models: of policies, values and rewards, and the sandbox's base model."""

from polyalign.data.packed import file_of
from polyalign.families import Policy
from polyalign.families.options import RewardTraining
from polyalign.plan import resources
from polyalign.plan.stages.shared import (
    base_model,
    family_module,
    given,
    model_files,
    model_settings,
    pairs_input,
    pairs_settings,
    palette_of,
    paths,
    pick,
    policy_named,
    pool,
    reward_models,
    sampling_rule,
    seed_of,
    trained_model,
)
from polyalign.plan.stages.stage import STAGES, Inputs, Settings, Stage, Wildcards, nothing
from polyalign.study import Study


def _world_settings(study: Study, wildcards: Wildcards) -> Settings:
    sandbox = pick(study.sandbox, "dialogues", "pairs") if study.sandbox else {}
    return {"seed": study.seed, **sandbox}


def _base_model_settings(study: Study, wildcards: Wildcards) -> Settings:
    sandbox = pick(study.sandbox, "steps") if study.sandbox else {}
    return {"seed": study.seed, **sandbox, "template": study.prompts.template}


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


STAGES.update(
    {
        "world": Stage("world", _world_settings, nothing),
        "base_model": Stage(
            "base_model",
            _base_model_settings,
            lambda study, wildcards: {"corpus": paths(study).world("corpus.jsonl")},
            environment="models",
            libraries="models",
            need=lambda study, wildcards: resources.base_model(study),
        ),
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
        "train": Stage(
            "train",
            _train_settings,
            _train_inputs,
            modules=family_module,
            values=_train_values,
            environment="models",
            libraries="training",
            need=lambda study, wildcards: resources.train(study, policy_named(study, wildcards)),
        ),
    }
)
