# What the rules share: the study, the one shell command, and the settings of each stage.
# Nothing else reads `config`. Every function of settings depends on the wildcards alone and gives
# one canonical JSON text, so Snakemake sees each change, also two numbers that changed places.
import os
import re
import shlex
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = os.path.relpath(workflow.basedir)
sys.path.insert(0, f"{workflow.basedir}/workflow")

from polyalign import config as study_config
from polyalign import families, resources
from polyalign import values as kinds_of_reward
from polyalign.errors import InputError
from polyalign.provenance import canonical, code, short_hash
from polyalign.sources import HELD_OUT, has_splits, split_file
from polyalign.train.options import OPTIONS

# Jobs find the Python that runs Snakemake and this checkout's library, activated or not.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    PYTHONPATH=f"{workflow.basedir}/workflow",
)
# glibc gives large blocks back to the system whenever they are free, and torch asks for them again at
# once: to keep them takes a tenth from a training's time on the CPU.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**32))

try:
    STUDY = study_config.validate(config, workflow.configfiles)
except InputError as fault:
    raise WorkflowError(f"the config has faults:\n{fault}") from None

CONFIG = canonical(config)
# The report's first page names the figures, those of a config that lists none too.
config["plots"] = list(STUDY.plots)
RESULTS = f"results/{STUDY.study}"
VARIANTS = study_config.policies(STUDY)
FAMILIES = ["base", "reward", *families.NAMES]
MODELS = [name for name in VARIANTS if families.makes_model(name.split("/")[0])]
DECODED = [name for name in VARIANTS if families.chooses(name.split("/")[0])]
GUIDED = [name for name in VARIANTS if name not in [*MODELS, *DECODED]]
EVALUATED = ["base/base", *VARIANTS]
OF_MODELS = "|".join(sorted({"base", *(name.split("/")[0] for name in MODELS)}))
SAMPLED = "|".join(sorted({OF_MODELS, *(name.split("/")[0] for name in GUIDED)}))


def figure_module(name):
    """Module of a figure; a figure of one policy has the policy's name behind a slash."""
    return import_module(f"polyalign.plots.{name.split('/')[0]}")


# A figure is a target whether the config lists it or not; one of a policy takes the policy's name.
FIGURES = [
    name + ("(/[^/]+/[^/]+)?" if hasattr(figure_module(name), "OF_A_POLICY") else "")
    for name in study_config.figures()
]
PLOTS = [
    f"{RESULTS}/plots/{figure}.{kind}"
    for figure in STUDY.plots
    for kind in ("pdf", "png")
]
MIXED = {name: made for name, made in VARIANTS.items() if made.policies}
# Tables for a paper, as pages in the report; and those that are pages and CSV alone.
PRINTED = {
    "winrates": "win rates",
    "levels": "levels",
    "lambda": "λ of the palettes",
    "quantiles": "levels that quantile palettes ask for",
    "realised_quantiles": "realised levels as quantiles of the base model",
    "families": "families of policies",
}
WIDE = {
    "summary": "summary of all policies",
    **({"mixing": "soups against the mean of their parts"} if MIXED else {}),
}
TABLES = [
    *(
        f"{RESULTS}/tables/{name}.{kind}"
        for name in PRINTED
        for kind in ("html", "csv", "md", "tex")
    ),
    *(f"{RESULTS}/tables/{name}.{kind}" for name in WIDE for kind in ("html", "csv")),
]


def job(script, launch=False):
    """The shell command of a stage; with `launch`, one that trains on several GPUs where asked to.

    One thread a job unless a profile's `set-threads` says otherwise: jobs run side by side, and sums
    in another order would be other numbers on a machine with other cores. Rayon's are the threads
    of the tokenizers.
    """
    python = "{params.launcher}" if launch else "python"
    return (
        "RAYON_NUM_THREADS={threads} OMP_NUM_THREADS={threads}"
        f" {python} {ROOT}/workflow/scripts/{script}.py"
        " --settings {params.settings:q} {params.files} --log {log:q}"
    )


def environment(kind):
    """Software for `--sdm conda`: `models`, or `light` for jobs that never load any.

    Reading a data set of the hub takes the packages of `models` as well.
    """
    return f"{workflow.basedir}/envs/{kind}.yaml"


def table_page(name):
    """Output of a table as the report shows it."""
    return report(
        f"{RESULTS}/tables/{name}.html",
        category="Tables",
        labels={"table": (PRINTED | WIDE)[name]},
        caption=f"../report/{name}.rst",
    )


def in_captions(**more):
    """Params that captions of tables show; the paths are no settings, the report reads the files."""
    opponent = STUDY.evaluation.opponent
    return {
        "opponent": "the base model" if opponent == "base/base" else opponent,
        "prompts": lambda wildcards, output: Path(f"{RESULTS}/tables/prompts.txt"),
        **more,
    }


def printed(name):
    """Outputs of a table that readers see."""
    ends = {kind: f"{RESULTS}/tables/{name}.{kind}" for kind in ("csv", "md", "tex")}
    return {
        f"{name}_html": table_page(name),
        **{f"{name}_{kind}": path for kind, path in ends.items()},
    }


def rules_hash():
    """What the plan of a study depends on beside its config."""
    rules = Path(workflow.basedir).glob("workflow/rules/*.smk")
    return text_hash([workflow.main_snakefile, *rules])


def captions_hash():
    """What the report says of its parts."""
    return text_hash(Path(workflow.basedir).glob("workflow/report/*.rst"))


def text_hash(files):
    """Hash of the texts of some files, whatever their order."""
    return short_hash(
        "".join(Path(file).read_text() for file in sorted(map(str, files)))
    )


def launcher(wildcards, resources):
    """How a trainer starts on the GPUs of its `gpu` resource, on `nodes` of them: a process a GPU.

    Params that look at resources are not tracked: the number of GPUs is no reason to train again.
    """
    gpus, nodes = int(resources.get("gpu") or 0), int(resources.get("nodes") or 1)
    # What `accelerate launch` calls as well.
    python = "python -m torch.distributed.run"
    if nodes > 1:
        if gpus % nodes or not gpus or not resources.get("mpi"):
            raise WorkflowError(
                f"a training on nodes={nodes} with gpu={gpus} cannot be started; expected the same "
                "number of GPUs on each node, and the resources that make SLURM start one launcher "
                "a node (mpi, tasks, tasks_per_gpu): see docs/cluster.md, or set nodes=1"
            )
        # Snakemake runs on the first node, without SLURM's list of them: that host is where all
        # meet, at a port of the job's own.
        return (
            f"{resources['mpi']} --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1"
            f" --cpu-bind=none {python} --nnodes {nodes} --nproc_per_node {gpus // nodes}"
            " --rdzv_backend c10d --rdzv_id $SLURM_JOB_ID"
            " --rdzv_endpoint $(hostname):$((20000 + SLURM_JOB_ID % 20000))"
        )
    if gpus < 2:
        return "python"
    # It finds a free port, so jobs can share a machine.
    return f"{python} --standalone --nproc_per_node {gpus}"


def plan_settings():
    """What decides which rules a study uses, and what they hand to each other."""
    needs = {name for entry in STUDY.plots for name in figure_module(entry).NEEDS}
    return canonical(
        {
            "families": sorted({name.split("/")[0] for name in VARIANTS}),
            "sandbox": STUDY.sandbox is not None,
            "scores": STUDY.rewards is not None,
            "reward_models": bool(STUDY.reward_models),
            "palettes": bool(STUDY.palettes),
            "needs": sorted(needs),
        }
    )


def part(section, *keys):
    """Some settings of a section of the config."""
    return section.model_dump(**{"include": set(keys)})


def fixed(settings):
    """Params function: the same settings for every job (a plain text's braces would be wildcards)."""
    text = canonical(settings)
    return lambda wildcards: text


def loads_model(*stage):
    """Whether a stage, named as for `code`, loads a model; if not, it is too light to be submitted."""
    return "polyalign/models.py=" in code(*stage)


def needs(rule):
    """Resources of a rule whose jobs load a model, by what each of them does (polyalign.resources).

    A second attempt asks for twice the memory and time of the first. A profile's `set-resources`
    overrides each of the three.
    """

    @cache
    def of_job(*wildcards):
        return resources.need(STUDY, rule, dict(wildcards)) or resources.NONE

    def of(wildcards):
        return of_job(*wildcards.items())

    return {
        "gpu": lambda wildcards: of(wildcards).gpu,
        "mem_mb": lambda wildcards, attempt: of(wildcards).mem_mb * attempt,
        "runtime": lambda wildcards, attempt: of(wildcards).minutes * attempt,
    }


def files(wildcards, input, output, resources=None):
    """Inputs and outputs by name, as a stage's script takes them (untracked: paths only).

    A profile that retries sets the resource `attempt`; the job then knows that it was tried before.
    It also hears of the GPUs that were asked for, to note how many of them it held.
    """

    def tokens(named):
        for name, paths in named.items():
            for path in [paths] if isinstance(paths, str) else paths:
                yield shlex.quote(f"{name}={path}")

    known = resources or {}
    gpus, attempt = int(known.get("gpu") or 0), known.get("attempt", 1)
    held = f" --gpus {gpus}" if gpus else ""
    again = f" --attempt {attempt}" if attempt > 1 else ""
    return (
        f"--input {' '.join(tokens(input))} --output {' '.join(tokens(output))}"
        f"{held}{again}"
    )


def files_with_work(stage, code_of):
    """Params function: `files`, and the folder that keeps the checkpoints of a job that fails.

    The job divides the folder by what it is made from: settings, content of the inputs, and code.
    """

    def paths(wildcards, input, output, resources=None):
        work = f"{RESULTS}/work/{stage}-{wildcards.variant}"
        made_by = short_hash(code_of(wildcards))
        return f"{files(wildcards, input, output, resources)} --work {work} --code {made_by}"

    return paths


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
        "batch_size": resources.responses_at_once(STUDY),
        "seed": STUDY.seed,
        "shard": int(wildcards.i),
        "shards": int(wildcards.n),
    }


def guided_settings(family):
    """Params function: settings of a policy that samples from the base model in its own way."""

    def settings(wildcards):
        policy = f"{family}/{wildcards.variant}"
        made = VARIANTS[policy]
        values = study_config.weighed(STUDY, made)
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


def pool_first(wildcards):
    """Priority of a sampled policy's jobs: λ, and what is trained towards it, wait for the pool."""
    return 2 if (wildcards.family, wildcards.variant) == ("base", "pool") else 0


def files_with_cache(wildcards, input, output, resources=None):
    """`files`, and the folder that keeps the value's scores by the content of the texts."""
    return f"{files(wildcards, input, output, resources)} --work {RESULTS}/cache/{wildcards.value}"


def value_model(wildcards):
    """What a job that scores a value waits for."""
    return model_files(study_config.scorer(STUDY, wildcards.value).get("model", ""))


LIMITS = part(STUDY.map, "min_ess", "max_weight", "max_kl_share", "max_norm")


def solve_settings(wildcards):
    """What λ depends on: not on what counts as supported, unless a palette may be adjusted to it."""
    settings = {
        "palette": wildcards.palette,
        "levels": STUDY.palettes[wildcards.palette],
        **part(STUDY.map, "scope", "on_infeasible"),
    }
    if STUDY.map.on_infeasible == "adjust":
        settings["limits"] = LIMITS
    return canonical(settings)


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
            name: pairs_settings(name) for name in made.preferences
        }
    if made.palette and not made.candidates:
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
            for name in made.preferences:
                path = STUDY.preferences[name].path
                paths[f"pairs:{name}"] = pairs_file(path, "train")
                if made.settings.get("test_pairs"):
                    paths[f"held_out:{name}"] = pairs_file(path, "test")
        if made.palette:
            paths["palette"] = lam_of(made.palette)
        if made.candidates:
            paths |= pool_of(STUDY.palettes[made.palette])
        elif made.palette:
            paths["prompts"] = f"{RESULTS}/prompts.parquet"
            paths["rewards"] = reward_files(made)
        for policy in made.policies:
            paths[f"model:{policy}"] = model_files(f"{RESULTS}/models/{policy}")
        return {name: path for name, path in paths.items() if path}

    return inputs


def family_code(script, family):
    """Params function: the code of a family, and of the rewards that a policy's λ weighs."""

    def modules(wildcards):
        made = VARIANTS[f"{family}/{wildcards.variant}"]
        scored = [] if made.candidates else study_config.weighed(STUDY, made)
        return reward_code(
            script,
            scored,
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


def pairs_settings(name):
    """How a preference data set is read."""
    made = STUDY.preferences[name]
    divided = {} if has_splits(made.path) else {"held_out": HELD_OUT}
    return {"source": made.path, "max_words": made.max_words, **divided}


def pairs_file(path, split):
    """The file of a local data set in Anthropic HH's layout; nothing for one on the hub."""
    if Path(path).is_file() or not has_splits(path):
        return path
    if path.startswith("results/") or Path(path).is_dir():
        return str(split_file(path, split) or f"{path}/{split}.jsonl.gz")
    return []


def pool_of_palette(wildcards):
    """The pool with the scores of the palette's own values."""
    return pool_of(STUDY.palettes[wildcards.palette])


def pool_of(values):
    """The pool with the scores of some values.

    Not the merged table: a value added to the study would change that, and with it, as far as
    Snakemake can tell beforehand, every λ and every model trained on one.
    """
    if STUDY.rewards:
        return {"pool": f"{RESULTS}/policies/base/pool/rewards.parquet"}
    folder = f"{RESULTS}/policies/base/pool/shards"
    n = STUDY.sampling.shards
    return {
        "samples": [f"{folder}/samples_{i}-of-{n}.parquet" for i in range(n)],
        "scores": [
            f"{folder}/{value}_{i}-of-{n}.parquet" for value in values for i in range(n)
        ],
    }


def lam_of(palette):
    """What is made with a palette's λ waits for this, not for what is later said about that λ."""
    return f"{RESULTS}/palettes/lam/{palette}.json"


def reward_files(made):
    """What a job that computes the rewards that a policy's λ weighs waits for."""
    return [
        path
        for name in study_config.weighed(STUDY, made)
        for path in model_files(study_config.scorer(STUDY, name).get("model", ""))
    ]


def palette_of(family):
    """Input function: the palette of a policy of the family; nothing for one without."""

    def path(wildcards):
        palette = VARIANTS[f"{family}/{wildcards.variant}"].palette
        return lam_of(palette) if palette else []

    return path


def reward_settings(wildcards):
    made = STUDY.reward_models[wildcards.variant]
    return canonical(
        {
            "name": wildcards.variant,
            "source": made.source or STUDY.model.source,
            "revision": None if made.source else STUDY.model.revision,
            "template": STUDY.prompts.template,
            "seed": STUDY.seed,
            "device": STUDY.model.device,
            "pairs": pairs_settings(made.preferences) if made.preferences else None,
            "training": part(made, "epochs", "dtype", *OPTIONS),
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


def figure_inputs(wildcards):
    policy = figure_policy(wildcards.figure)
    tables = STUDY_TABLES
    if policy:
        # Of the policies' files, those of this one and of the base model alone.
        kept = [f"{RESULTS}/policies/{name}/" for name in ("base/base", policy)]
        tables = {
            name: [
                path
                for path in paths
                if "/policies/" not in path or path.startswith(tuple(kept))
            ]
            for name, paths in tables.items()
        }
    return {name: tables[name] for name in figure_module(wildcards.figure).NEEDS}


def figure_policy(name):
    """The policy that a figure is of, or None for a figure of the whole study."""
    if not hasattr(figure_module(name), "OF_A_POLICY"):
        return None
    _, _, policy = name.partition("/")
    return policy or "base/base"


def figure_settings(wildcards):
    """What a figure shows beside its tables: what it asks for, and nothing of the others'."""
    asked = getattr(figure_module(wildcards.figure), "SETTINGS", ())
    known = {
        "chosen": study_config.chosen(STUDY),
        "opponent": STUDY.evaluation.opponent,
        "evaluate_only": STUDY.evaluation.evaluate_only,
        "mixtures": {
            name: made.settings.get("mixture") or made.settings.get("weights")
            for name, made in VARIANTS.items()
            if made.preferences or made.policies
        },
        "log_probabilities": study_config.log_probabilities(STUDY),
    }
    return canonical(
        {
            "figure": wildcards.figure.split("/")[0],
            "policy": figure_policy(wildcards.figure),
            "shown": {**shown_settings(), **{name: known[name] for name in asked}},
        }
    )


def mixed_policies():
    """Soups and the policies that they are made of, in the study's order."""
    named = {*MIXED, *(name for made in MIXED.values() for name in made.policies)}
    return [name for name in EVALUATED if name in named]


def max_new_tokens():
    return None if STUDY.rewards else STUDY.sampling.max_new_tokens


def evaluated(name):
    """One file of every policy."""
    return [f"{RESULTS}/policies/{policy}/{name}" for policy in EVALUATED]


def training_tables():
    """Metrics of every model that the workflow trains."""
    return [
        manifest.removesuffix(".json") + ".csv" for manifest in model_manifests()
    ] + [
        f"{RESULTS}/models/{policy}.csv"
        for policy in MODELS
        if not VARIANTS[policy].policies
    ]


def shown_settings():
    """Names and order of values and policies, for tables and figures.

    Pairs, since the canonical text sorts keys, and readers shall see the config's order.
    """
    return {
        "labels": list(study_config.labels(STUDY).items()),
        "units": {name: spec.unit for name, spec in STUDY.values.items()},
        "policies": [
            (policy, VARIANTS[policy].palette if policy in VARIANTS else None)
            for policy in EVALUATED
        ],
    }


def table_settings():
    """What the tables show beside the numbers."""
    return {
        **shown_settings(),
        "chosen": study_config.chosen(STUDY),
        "maintained": study_config.maintained(STUDY),
        "results": RESULTS,
        "titles": PRINTED | WIDE,
        "given": {
            name: made.settings["lam"]
            for name, made in VARIANTS.items()
            if "lam" in made.settings
        },
    }


def page_settings():
    """What the overview page shows beside the numbers."""
    return {
        **shown_settings(),
        "study": STUDY.study,
        "chosen": study_config.chosen(STUDY),
        "sandbox": STUDY.sandbox is not None,
        "methods": method_settings(),
    }


def method_settings():
    """What the page says about how the study was done."""
    families_made = [name.split("/")[0] for name in VARIANTS]
    facts = {
        "rewards": STUDY.rewards,
        "test_share": STUDY.prompts.test_share,
        "values": {name: study_config.scorer(STUDY, name) for name in STUDY.values},
        "palettes": {
            name: list(levels.items()) for name, levels in STUDY.palettes.items()
        },
        "reward_models": {
            name: made.model_dump() for name, made in STUDY.reward_models.items()
        },
        "map": {**LIMITS, **part(STUDY.map, "scope", "on_infeasible", "resamples")},
        "evaluation": {
            **part(STUDY.evaluation, "bootstrap", "opponent", "evaluate_only"),
            "slack": study_config.slack(STUDY),
        },
        "families": [
            (name, families_made.count(name), STUDY.policies[name].model_dump())
            for name in dict.fromkeys(families_made)
        ],
        "seed": STUDY.seed,
    }
    if not STUDY.rewards:
        sampling = part(STUDY.sampling, "candidates", "evaluation_candidates")
        facts |= {
            "model": STUDY.model.source,
            "prompts": [source.path for source in STUDY.prompts.sources],
            "sampling": {**sampling_rule(), **sampling},
        }
    return facts


def caption_numbers():
    """The sizes behind a figure, for its caption."""
    sizes = [
        f"{len(EVALUATED)} policies",
        f"{len(STUDY.values)} values",
        f"{len(STUDY.palettes)} palettes",
        f"{STUDY.evaluation.bootstrap} resamples of the prompts behind an interval",
    ]
    if not STUDY.rewards:
        sizes.append(f"{STUDY.sampling.candidates} candidates a prompt in the pool")
    return f"Study {STUDY.study}: {', '.join(sizes)}."


def judged_manifests():
    """Manifests of the models whose quality the report states."""
    preferred = [name for name in MODELS if VARIANTS[name].preferences]
    return model_manifests() + [f"{RESULTS}/models/{name}.json" for name in preferred]


def model_manifests():
    """Manifests of the models that policies and rewards are made from."""
    names = [f"reward/{name}" for name in STUDY.reward_models]
    if STUDY.model and STUDY.model.source == f"{RESULTS}/models/base/base":
        names.append("base/base")
    return [f"{RESULTS}/models/{name}.json" for name in names]


STUDY_TABLES = {
    "levels": evaluated("levels.csv"),
    "winrate": evaluated("winrate.csv"),
    "rewards": evaluated("rewards.parquet"),
    "pool": [f"{RESULTS}/policies/base/pool/rewards.parquet"],
    "palettes": [f"{RESULTS}/palettes/{palette}.json" for palette in STUDY.palettes],
    "training": training_tables(),
    **{
        name: [f"{RESULTS}/tables/{name}.csv"]
        for name in ("summary", "families", *(["mixing"] if MIXED else []))
    },
    **{
        name: [f"{RESULTS}/explore/{name}.csv"]
        for name in ("random", "fronts", "rounds", "paths")
    },
    "jobs": [f"{RESULTS}/explore/jobs.dot"],
}
