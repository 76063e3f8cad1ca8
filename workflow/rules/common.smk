# What the rules share: the study, the one shell command, and the settings of each stage.
# Nothing else reads `config`. Every function of settings depends on the wildcards alone and gives
# one canonical JSON text, so Snakemake sees each change, also two numbers that changed places.
import os
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = os.path.relpath(workflow.basedir)
sys.path.insert(0, f"{workflow.basedir}/workflow")

from polyalign import config as study_config
from polyalign import families
from polyalign import values as kinds_of_reward
from polyalign.errors import InputError
from polyalign.provenance import canonical, code, short_hash

# Jobs find the Python that runs Snakemake and this checkout's library, activated or not.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    PYTHONPATH=f"{workflow.basedir}/workflow",
)

try:
    STUDY = study_config.validate(config, workflow.configfiles)
except InputError as fault:
    raise WorkflowError(f"the config has faults:\n{fault}") from None

RESULTS = f"results/{STUDY.study}"
ENVIRONMENT = f"{workflow.basedir}/envs/polyalign.yaml"
VARIANTS = study_config.policies(STUDY)
FAMILIES = ["base", "reward", *families.NAMES]
MODELS = [name for name in VARIANTS if families.makes_model(name.split("/")[0])]
DECODED = [name for name in VARIANTS if families.chooses(name.split("/")[0])]
GUIDED = [name for name in VARIANTS if name not in [*MODELS, *DECODED]]
EVALUATED = ["base/base", *VARIANTS]
OF_MODELS = "|".join(sorted({"base", *(name.split("/")[0] for name in MODELS)}))
SAMPLED = "|".join(sorted({OF_MODELS, *(name.split("/")[0] for name in GUIDED)}))
PLOTS = [
    f"{RESULTS}/plots/{figure}.{kind}"
    for figure in STUDY.plots
    for kind in ("pdf", "png")
]
TABLES = [
    f"{RESULTS}/tables/{name}"
    for name in ("summary.csv", "winrates.csv", "winrates.md", "winrates.tex")
]


def job(script):
    """The shell command of a stage.

    One thread a job unless a profile's `set-threads` says otherwise: jobs run side by side, and sums
    in another order would be other numbers on a machine with other cores.
    """
    return (
        f"OMP_NUM_THREADS={{threads}} python {ROOT}/workflow/scripts/{script}.py"
        " --settings {params.settings:q} {params.files} --log {log:q}"
    )


def part(section, *keys):
    """Some settings of a section of the config."""
    return section.model_dump(**{"include": set(keys)})


def fixed(settings):
    """Params function: the same settings for every job (a plain text's braces would be wildcards)."""
    text = canonical(settings)
    return lambda wildcards: text


def files(wildcards, input, output):
    """Inputs and outputs by name, as a stage's script takes them (untracked: paths only)."""

    def tokens(named):
        for name, paths in named.items():
            for path in [paths] if isinstance(paths, str) else paths:
                yield shlex.quote(f"{name}={path}")

    return f"--input {' '.join(tokens(input))} --output {' '.join(tokens(output))}"


def files_with_work(wildcards, input, output):
    """`files`, and the folder that keeps the checkpoints of a model when its job fails."""
    model = Path(output.model)
    stage = f"{model.parent.name}-{model.name}"
    settings = canonical(
        [training_settings(model.parent.name, model.name), sorted(input)]
    )
    return f"{files(wildcards, input, output)} --work {RESULTS}/work/{stage}/{short_hash(settings)}"


def model_files(source):
    """What a job that loads `source` waits for: its manifest, if the workflow makes the model.

    The manifest holds the hash of the weights, so a rebuild that gives the same model reruns
    nothing; the folder itself only has to exist.
    """
    if source.startswith(f"{RESULTS}/models/"):
        return [f"{source}.json", ancient(source)]
    return []


def base_model(wildcards=None):
    """What a job that loads the base model waits for."""
    return model_files(STUDY.model.source)


def policy_model(wildcards):
    """What a job that samples from a policy waits for."""
    if wildcards.family == "base":
        return base_model()
    return model_files(f"{RESULTS}/models/{wildcards.family}/{wildcards.variant}")


def model_settings():
    """How the base model is loaded."""
    return STUDY.model.model_dump()


def prompt_settings(wildcards):
    """Settings of the prompts; the seed counts only where openings are cut."""
    prompts = STUDY.prompts.model_dump(exclude={"template"})
    cut = any(source.opening for source in STUDY.prompts.sources)
    return canonical({**prompts, "seed": STUDY.seed if cut else 0})


def sampling_rule():
    """How p0 samples, without what only says how the work is divided."""
    return part(STUDY.sampling, "temperature", "top_k", "top_p", "max_new_tokens")


def is_pool(wildcards):
    return (wildcards.family, wildcards.variant) == ("base", "pool")


def shards(wildcards):
    """Number of scatter items of a policy: models are evaluated in one."""
    return STUDY.sampling.shards if is_pool(wildcards) else 1


def scattered(stem):
    """Input function: the shards of `stem` of one policy."""

    def paths(wildcards):
        n = shards(wildcards)
        folder = f"{RESULTS}/policies/{wildcards.family}/{wildcards.variant}/shards"
        names = list(STUDY.values) if stem == "scores" else [stem]
        return [
            f"{folder}/{name}_{i}-of-{n}.parquet" for name in names for i in range(n)
        ]

    return paths


def generate_settings(wildcards):
    base = model_settings()
    own = f"{RESULTS}/models/{wildcards.family}/{wildcards.variant}"
    policy = f"{wildcards.family}/{wildcards.variant}"
    model = {**base, "source": own, "revision": None} if policy in MODELS else base
    settings = sampled(policy, wildcards)
    return canonical({**settings, "model": model, "engine": STUDY.sampling.engine})


def sampled(policy, wildcards):
    """What every generation of responses is told, whatever draws them."""
    sampling, pool = STUDY.sampling, policy == "base/pool"
    return {
        "policy": policy,
        "base": model_settings(),
        "template": STUDY.prompts.template,
        "sampling": sampling_rule(),
        "splits": ["fit", "test"] if pool else ["test"],
        "candidates": sampling.candidates if pool else sampling.evaluation_candidates,
        "batch_size": sampling.batch_size,
        "seed": STUDY.seed,
        "shard": int(wildcards.i),
        "shards": int(wildcards.n),
    }


def guided_settings(family):
    """Params function: settings of a policy that samples from the base model in its own way."""

    def settings(wildcards):
        policy = f"{family}/{wildcards.variant}"
        made = VARIANTS[policy]
        values = STUDY.palettes[made.palette]
        guided = {
            "settings": made.settings,
            "values": {name: study_config.scorer(STUDY, name) for name in values},
        }
        model = {"model": model_settings(), "guided": guided}
        return canonical({**sampled(policy, wildcards), **model})

    return settings


def annotate_settings(wildcards):
    return canonical(
        {"value": wildcards.value, "spec": study_config.scorer(STUDY, wildcards.value)}
    )


def files_with_cache(wildcards, input, output):
    """`files`, and the folder that keeps the value's scores by the content of the texts."""
    return f"{files(wildcards, input, output)} --work {RESULTS}/cache/{wildcards.value}"


def value_model(wildcards):
    """What a job that scores a value waits for."""
    return model_files(study_config.scorer(STUDY, wildcards.value).get("model", ""))


def solve_settings(wildcards):
    return canonical(
        {
            "palette": wildcards.palette,
            "levels": STUDY.palettes[wildcards.palette],
            "map": STUDY.map.model_dump(),
        }
    )


def training_settings(family, variant):
    """Settings of one trained policy: what its family needs, and nothing of the others'."""
    made = VARIANTS[f"{family}/{variant}"]
    settings = {"family": family, "variant": variant, "settings": made.settings}
    if made.preferences or made.palette:
        settings |= {
            "model": model_settings(),
            "template": STUDY.prompts.template,
            "seed": STUDY.seed,
            "sampling": sampling_rule(),
        }
    if made.preferences:
        settings["preferences"] = {
            name: STUDY.preferences[name].path for name in made.preferences
        }
    if made.palette:
        values = STUDY.palettes[made.palette]
        settings["values"] = {name: study_config.scorer(STUDY, name) for name in values}
    return settings


def training_inputs(family):
    """Input function: what a policy of the family is trained from."""

    def inputs(wildcards):
        made = VARIANTS[f"{family}/{wildcards.variant}"]
        paths = {}
        if made.preferences or made.palette:
            paths["base"] = base_model()
        if made.preferences:
            paths |= {
                f"pairs:{name}": pairs_file(STUDY.preferences[name].path, "train")
                for name in made.preferences
            }
        if made.palette:
            paths["palette"] = f"{RESULTS}/palettes/{made.palette}.json"
            paths["prompts"] = f"{RESULTS}/prompts.parquet"
            paths["rewards"] = reward_files(made.palette)
        for policy in made.policies:
            paths[f"model:{policy}"] = model_files(f"{RESULTS}/models/{policy}")
        return {name: path for name, path in paths.items() if path}

    return inputs


def family_code(script, family):
    """Params function: the code of a family, and of the rewards that a palette brings in."""

    def modules(wildcards):
        palette = VARIANTS[f"{family}/{wildcards.variant}"].palette
        return reward_code(
            script,
            STUDY.palettes.get(palette, []),
            f"families.{family.replace('-', '_')}",
        )

    return modules


def reward_code(script, names, *modules):
    """The code of a stage that computes the rewards of some values, the user's own included."""
    kinds = sorted({f"values.{STUDY.values[name].kind}" for name in names})
    own = [
        kinds_of_reward.user_code(study_config.scorer(STUDY, name)) for name in names
    ]
    return " ".join([code(script, *modules, *kinds), *filter(None, own)])


def pairs_file(path, split):
    """The file of a local data set in Anthropic HH's layout; nothing for one on the hub."""
    if Path(path).is_file() or path.endswith((".jsonl", ".jsonl.gz")):
        return path
    if path.startswith("results/") or Path(path).is_dir():
        return f"{path}/{split}.jsonl.gz"
    return []


def pool_of_palette(wildcards):
    """The pool with the scores of the palette's own values.

    Not the merged table: a value added to the study would change that, and with it, as far as
    Snakemake can tell beforehand, every λ and every model trained on one.
    """
    if STUDY.rewards:
        return {"pool": f"{RESULTS}/policies/base/pool/rewards.parquet"}
    folder = f"{RESULTS}/policies/base/pool/shards"
    n = STUDY.sampling.shards
    values = STUDY.palettes[wildcards.palette]
    return {
        "samples": [f"{folder}/samples_{i}-of-{n}.parquet" for i in range(n)],
        "scores": [
            f"{folder}/{value}_{i}-of-{n}.parquet" for value in values for i in range(n)
        ],
    }


def reward_files(palette):
    """What a job that computes the rewards of a palette waits for."""
    return [
        path
        for name in STUDY.palettes[palette]
        for path in model_files(study_config.scorer(STUDY, name).get("model", ""))
    ]


def palette_of(family):
    """Input function: the palette of a policy of the family; nothing for one without."""

    def path(wildcards):
        palette = VARIANTS[f"{family}/{wildcards.variant}"].palette
        return f"{RESULTS}/palettes/{palette}.json" if palette else []

    return path


def reward_settings(wildcards):
    made = STUDY.reward_models[wildcards.variant]
    return canonical(
        {
            "name": wildcards.variant,
            "source": made.source or STUDY.model.source,
            "template": STUDY.prompts.template,
            "seed": STUDY.seed,
            "labels": made.labels is not None,
            "training": part(made, "epochs", "learning_rate", "batch_size"),
        }
    )


def reward_inputs(wildcards):
    made = STUDY.reward_models[wildcards.variant]
    paths = {"base": model_files(made.source or STUDY.model.source)}
    if made.labels:
        paths["labels"] = made.labels
    else:
        path = STUDY.preferences[made.preferences].path
        paths |= {split: pairs_file(path, split) for split in ("train", "test")}
    return {name: path for name, path in paths.items() if path}


def reward_work(wildcards, input, output):
    key = short_hash(reward_settings(wildcards) + str(sorted(input)))
    return f"{files(wildcards, input, output)} --work {RESULTS}/work/reward-{wildcards.variant}/{key}"


def figure(name):
    return import_module(f"polyalign.plots.{name}")


def figure_inputs(wildcards):
    needs = figure(wildcards.figure).NEEDS
    tables = {**STUDY_TABLES, "summary": [f"{RESULTS}/tables/summary.csv"]}
    return {name: tables[name] for name in needs}


def max_new_tokens():
    return None if STUDY.rewards else STUDY.sampling.max_new_tokens


def evaluated(name):
    """Input function: one file of every policy."""
    return [f"{RESULTS}/policies/{policy}/{name}" for policy in EVALUATED]


STUDY_TABLES = {
    "levels": evaluated("levels.csv"),
    "winrate": evaluated("winrate.csv"),
    "palettes": [f"{RESULTS}/palettes/{palette}.json" for palette in STUDY.palettes],
}


def study_settings():
    """What tables and figures show beside the numbers."""
    return {
        "study": STUDY.study,
        "labels": study_config.labels(STUDY),
        "units": {name: spec.unit for name, spec in STUDY.values.items()},
        "palettes": list(STUDY.palettes),
        "policies": {
            policy: VARIANTS[policy].palette if policy in VARIANTS else None
            for policy in EVALUATED
        },
    }


def model_manifests():
    """Manifests of the models whose quality the report states."""
    names = [f"reward/{name}" for name in STUDY.reward_models]
    if STUDY.model and STUDY.model.source == f"{RESULTS}/models/base/base":
        names.append("base/base")
    return [f"{RESULTS}/models/{name}.json" for name in names]
