"""What the jobs of several stages are told and wait for."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from polyalign.data.formats import HELD_OUT, has_splits, split_file
from polyalign.data.packed import file_of, is_packed
from polyalign.families import POOL, Policy, family
from polyalign.paths import Paths
from polyalign.plan.recorded import read_record
from polyalign.plan.stages.stage import (
    Exists,
    Inputs,
    Settings,
    Wildcards,
    code_text,
    settings_text,
)
from polyalign.settings import SamplingRule, Strict
from polyalign.study import Study


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


def family_module(study: Study, wildcards: Wildcards) -> list[str]:
    """The module of a job's family."""
    return [family(wildcards["family"]).module]
