# What touches Snakemake's objects: the study, the one shell command, and the params, resources and
# inputs of each rule. What they are is planned in Python (workflow/polyalign/plan); nothing but
# this file reads `config`.
import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = os.path.relpath(workflow.basedir)
sys.path.insert(0, f"{workflow.basedir}/workflow")

from polyalign import families, plots, study
from polyalign.errors import InputError
from polyalign.families import BASE, POOL, Policy
from polyalign.paths import OF_ANY, Paths, job_name
from polyalign.plan import resources as needed
from polyalign.plan import shown, stages
from polyalign.report import registry
from polyalign.runtime.code import canonical, short_hash

# Jobs find the Python that runs Snakemake and this checkout's library, activated or not. A crash in
# compiled code writes where it happened in Python to the job's log.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    PYTHONPATH=f"{workflow.basedir}/workflow",
    PYTHONFAULTHANDLER="1",
)
# glibc gives large blocks back to the system whenever they are free, and torch asks for them again at
# once: to keep them takes a tenth from a training's time on the CPU.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**32))

try:
    STUDY = study.validate(config, workflow.configfiles)
except InputError as fault:
    raise WorkflowError(f"the config has faults:\n{fault}") from None

CONFIG = canonical(config)
# The report's first page can only read the config.
config["front_page"] = shown.front_page(STUDY)
PATHS = Paths(STUDY.study)
PLOTS = [PATHS.plot(name, kind) for name in STUDY.plots for kind in ("pdf", "png")]
TABLES = [
    PATHS.table(name, kind)
    for name in shown.tables(STUDY)
    for kind in registry.TABLES[name].kinds
]
# A figure is a target whether the config lists it or not; one of a policy takes the policy's name.
FIGURES = [
    name + ("(/[^/]+/[^/]+)?" if plots.figure(name).of_a_policy else "")
    for name in plots.names()
]


def job(stage, launch=False):
    """The shell command of a stage; with `launch`, one that trains on several GPUs where asked to.

    One thread per job unless a profile's `set-threads` says otherwise: jobs run side by side, and
    sums in another order would be other numbers on a machine with other cores. Rayon's are the
    threads of the tokenizers. If the script fails, its exit status says whether a signal killed it.
    """
    python = "{params.launcher}" if launch else "python"
    return (
        "RAYON_NUM_THREADS={threads} OMP_NUM_THREADS={threads}"
        f" {python} {ROOT}/workflow/scripts/{stages.STAGES[stage].script}.py"
        " --settings {params.settings:q} {params.files} --log {log:q}"
        " || python -m polyalign.runtime.exit_status $? {log:q}"
    )


def environment(kind):
    """Software for `--sdm conda`: that of a stage, or `light` or `models`."""
    found = stages.STAGES.get(kind)
    return f"{workflow.basedir}/envs/{found.environment if found else kind}.yaml"


def params(stage, files=None, **fixed):
    """Params of a rule: what its jobs are told, the code that they run, and their files.

    `fixed` are wildcards that the rule has in its name instead of in its files.
    """
    return {
        "settings": lambda wildcards: stages.settings_text(
            STUDY, stage, {**fixed, **wildcards}
        ),
        "code": lambda wildcards: stages.code_text(
            STUDY, stage, {**fixed, **wildcards}
        ),
        "files": files or file_arguments,
    }


def inputs(stage, **fixed):
    """Input function of a rule; `fixed` as for `params`."""

    def marked(paths):
        if isinstance(paths, str):
            return paths
        return [
            ancient(path) if isinstance(path, stages.Existing) else path
            for path in paths
        ]

    def of_job(wildcards):
        found = stages.STAGES[stage].inputs(STUDY, {**fixed, **wildcards})
        return {name: marked(paths) for name, paths in found.items()}

    return of_job


def needs(stage, **fixed):
    """Resources of a rule whose jobs load a model; `fixed` as for `params`.

    A second attempt asks for twice the memory and time of the first. A profile's `set-resources`
    overrides each of the three.
    """

    @cache
    def of_job(*wildcards):
        need = stages.STAGES[stage].need(STUDY, {**fixed, **dict(wildcards)})
        return need or needed.LIGHT_JOB

    def of(wildcards):
        return of_job(*wildcards.items())

    return {
        "gpu": lambda wildcards: of(wildcards).gpu,
        "mem_mb": lambda wildcards, attempt: of(wildcards).mem_mb * attempt,
        "runtime": lambda wildcards, attempt: of(wildcards).minutes * attempt,
    }


def file_arguments(wildcards, input, output, resources=None):
    """Inputs and outputs by name, as a stage's script takes them (untracked: paths only).

    A profile that retries sets the resource `attempt`; the job then knows that it was tried before.
    It is also told the GPUs that were asked for, to record how many of them it held.
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


def files_with_cache(wildcards, input, output, resources=None):
    """`file_arguments`, and the folder that keeps all scores by content."""
    return f"{file_arguments(wildcards, input, output, resources)} --work {PATHS.cache}"


def files_with_work(stage, name, **fixed):
    """Params function: `file_arguments`, and the folder that keeps the checkpoints of failed jobs.

    The job divides the folder by what it is made from: settings, content of the inputs, and code.
    """

    def arguments(wildcards, input, output, resources=None):
        made_by = short_hash(stages.code_text(STUDY, stage, {**fixed, **wildcards}))
        paths = file_arguments(wildcards, input, output, resources)
        return f"{paths} --work {PATHS.work(name, wildcards.variant)} --code {made_by}"

    return arguments


def launcher(wildcards, resources):
    """How a trainer starts on the GPUs of its `gpu` resource, on `nodes` nodes: a process per GPU.

    Params that look at resources are not tracked: the number of GPUs is no reason to train again.
    """
    gpus, nodes = int(resources.get("gpu") or 0), int(resources.get("nodes") or 1)
    try:
        return needed.launcher(gpus, nodes, resources.get("mpi"))
    except InputError as fault:
        raise WorkflowError(str(fault)) from None


def table_page(name):
    """Output of a table as the report shows it."""
    return report(
        PATHS.table(name, "html"),
        category="Tables",
        labels={"table": registry.TABLES[name].title},
        caption=f"../report/{name}.rst",
    )


def table_outputs(rule):
    """The files of every table that a rule makes."""
    return {
        registry.output(name, kind): (
            table_page(name) if kind == "html" else PATHS.table(name, kind)
        )
        for name, table in registry.TABLES.items()
        if table.rule == rule
        for kind in table.kinds
    }


def in_captions(**more):
    """Params that captions of tables show; the paths are no settings, the report reads the files."""
    opponent = STUDY.evaluation.opponent
    return {
        "opponent": "the base model" if opponent == BASE.name else opponent,
        "prompts": lambda wildcards, output: Path(PATHS.table("prompts", "txt")),
        **more,
    }


def text_hash(*patterns):
    """Hash of the texts of the checkout's files that match, whatever their order."""
    files = {
        file for pattern in patterns for file in Path(workflow.basedir).glob(pattern)
    }
    return short_hash("".join(file.read_text() for file in sorted(files)))


def pool_first(wildcards):
    """Priority of a sampled policy's jobs: λ, and what is trained towards it, wait for the pool."""
    return (
        2 if (wildcards.family, wildcards.variant) == (POOL.family, POOL.variant) else 0
    )


def one_of(values):
    """Wildcard constraint of some values."""
    return "|".join(map(re.escape, values))
