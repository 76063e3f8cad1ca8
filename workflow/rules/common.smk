# What touches Snakemake's objects: the study, and the inputs, params and resources of each rule.
# What they are is planned in Python (workflow/polyalign/plan); nothing but this file reads `config`.
import os
import sys
from functools import cache
from pathlib import Path

from snakemake.cli import get_argument_parser
from snakemake.exceptions import IncompleteCheckpointException, WorkflowError
from snakemake.settings.types import DeploymentMethod

# This file may be part of a module of somebody else's workflow (docs/module.md), so the checkout is
# not found by the main Snakefile.
MODULE = not workflow.modifier.is_main_snakefile()
CHECKOUT = Path(str(workflow.current_basedir)).parents[1]
ROOT = os.path.relpath(CHECKOUT)
if not Path(ROOT, "workflow/polyalign").is_dir():
    raise WorkflowError(
        f"{CHECKOUT} is no checkout of Polyalign, whose jobs need its files; expected the path of one "
        "as `snakefile:` of the module; clone it beside your workflow"
    )
if workflow.modifier.path_modifier.replace_prefix("results/", None) != "results/":
    raise WorkflowError(
        "Polyalign's paths are written into its files; expected the module without `prefix` and "
        "`replace_prefix`; name the study otherwise in its config"
    )
sys.path.insert(0, f"{CHECKOUT}/workflow")

from polyalign import families, plots, study
from polyalign.errors import InputError
from polyalign.families import BASE, POOL, VALUE, Policy
from polyalign.paths import OF_ANY, Paths, job_name
from polyalign.plan import (
    command,
    left_out,
    priority,
    shown,
    stages,
    targets,
    unchanged,
)
from polyalign.plan import jobs as planned_jobs
from polyalign.plan.command import one_of, text_hash
from polyalign.plan.resources import LIGHT_JOB
from polyalign.report import registry
from polyalign.runtime import preloaded
from polyalign.runtime.code import canonical

# Jobs find the Python that runs Snakemake and this checkout's library, activated or not. A crash in
# compiled code writes where it happened in Python to the job's log. The jobs of a workflow that uses
# this one as a module keep what they import.
own = f"{CHECKOUT}/workflow"
others = os.environ.get("PYTHONPATH", "").split(os.pathsep) if MODULE else []
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    PYTHONPATH=os.pathsep.join(
        [own, *(place for place in others if place not in ("", own))]
    ),
    PYTHONFAULTHANDLER="1",
)
preloaded.announce(os.environ)
# glibc gives large blocks back to the system whenever they are free, and torch asks for them again at
# once: to keep them takes a tenth from a training's time on the CPU.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**32))

try:
    # Where this is a module, `use rule` may read it again with the same config.
    config.pop("front_page", None)
    STUDY = study.validate(config, [] if MODULE else workflow.configfiles)
except InputError as fault:
    raise WorkflowError(f"the config has faults:\n{fault}") from None

FAILED = left_out.read_failed(os.environ.get(left_out.FAILED))
CONFIG = canonical(config)
# The report's first page can only read the config.
PATHS = Paths(STUDY.study)
config["front_page"] = {
    **shown.front_page(STUDY),
    "failed": FAILED.sentences(),
    # The report is made by a Snakemake of its own, which starts when this file is there.
    "outcome": command.text_of(PATHS.table("outcome", "txt")),
}


def grouped():
    """Whether a profile puts jobs into groups, which Snakemake knows only when it plans."""
    return bool(workflow.group_settings.overwrite_groups)


def unsolved():
    """Palette without a solution → its verdict; those that are still to be solved count as solved."""
    if grouped():
        return left_out.unsolved_so_far(STUDY)
    found = {}
    for palette in left_out.dispensable(STUDY):
        try:
            (path,) = checkpoints.solve.get(palette=palette).output
        except IncompleteCheckpointException:
            continue
        found[palette] = left_out.without_solution(left_out.read_lam(path))
    return {palette: verdict for palette, verdict in found.items() if verdict}


@cache
def kept_of(verdicts):
    return left_out.kept(STUDY, dict(verdicts), FAILED)


def kept():
    """The study without the policies and figures that, as far as is known, cannot be made."""
    return kept_of(tuple(unsolved().items()))


def seen_by(stage):
    """The study as a stage sees it."""
    return kept() if stages.STAGES[stage].compares else STUDY


def of_kept(files):
    """Input function: what `files` names of the study without what is left out."""
    return lambda wildcards: files(kept())


VERDICTS = [ancient(path) for path in left_out.verdict_files(STUDY, of_policies=False)]
"""What waits for these is asked again for its inputs when the palettes are solved."""


def job(stage, launch=False):
    """The shell command of a stage; with `launch`, one that trains on several GPUs where asked to."""
    return command.shell_command(ROOT, stage, launch=launch)


def environment(kind):
    """Software for `--sdm conda`: that of a stage, or `light` or `models`."""
    found = stages.STAGES.get(kind)
    return f"{CHECKOUT}/envs/{found.environment if found else kind}.yaml"


def params(stage, files=None, **fixed):
    """Params of a rule: its settings, the code that its jobs run, and their files.

    Of the settings Snakemake compares those that can change a result (`settings`); the jobs are told
    all (`told`). Params that look at resources are not compared. `fixed` are wildcards that the rule
    has in its name instead of in its files.
    """
    return {
        "settings": lambda wildcards: unchanged.compared_text(
            seen_by(stage), stage, {**fixed, **wildcards}
        ),
        "told": lambda wildcards, resources: stages.settings_text(
            seen_by(stage), stage, {**fixed, **wildcards}
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
            ancient(path) if isinstance(path, stages.Exists) else path for path in paths
        ]

    def of_job(wildcards):
        found = stages.STAGES[stage].inputs(seen_by(stage), {**fixed, **wildcards})
        if stages.STAGES[stage].compares:
            waited = left_out.verdict_files(STUDY, of_policies=True)
            found["verdicts"] = [stages.Exists(path) for path in waited]
        return {name: marked(paths) for name, paths in found.items()}

    return of_job


def inputs_of_solve(wildcards):
    """`inputs("solve")`; and `solve` is no checkpoint where jobs are in groups.

    When a checkpoint ends, Snakemake submits the groups that run a second time. Without one the
    policies of a palette that has no solution fail, and the next run goes on without them.
    """
    rules.solve.rule.is_checkpoint = not grouped()
    return inputs("solve")(wildcards)


def needs(stage, **fixed):
    """Resources of a rule whose jobs load a model; `fixed` as for `params`.

    A second attempt asks for twice the memory and time of the first. A profile's `set-resources`
    overrides each of the three.
    """

    @cache
    def of_job(*wildcards):
        need = stages.STAGES[stage].need(STUDY, {**fixed, **dict(wildcards)})
        return need or LIGHT_JOB

    def of(wildcards):
        return of_job(*wildcards.items())

    return {
        "gpu": lambda wildcards: of(wildcards).gpu,
        "mem_mb": lambda wildcards, attempt: of(wildcards).mem_mb * attempt,
        "runtime": lambda wildcards, attempt: of(wildcards).minutes * attempt,
    }


def file_arguments(wildcards, input, output, resources=None):
    """Params function: inputs and outputs by name (untracked: paths only).

    A job reads no verdicts: it only waits for them.
    """
    read = {name: paths for name, paths in input.items() if name != "verdicts"}
    return command.arguments(read, output, resources or {})


def files_with_cache(wildcards, input, output, resources=None):
    """`file_arguments`, and the folder of scores by the content of the texts."""
    return command.arguments(input, output, resources or {}, work=PATHS.cache())


def files_of_solve(wildcards, input, output, resources=None):
    """`file_arguments`, and what is done if the palette has no solution."""
    now = canonical({"now": stages.if_infeasible(STUDY, wildcards.palette)})
    return command.arguments(input, output, resources or {}, untracked=now)


def files_with_work(stage, name, **fixed):
    """Params function: `file_arguments`, and the folder that keeps the checkpoints of failed jobs.

    The job divides the folder by what it is made from: settings, content of the inputs, and code.
    """

    def arguments(wildcards, input, output, resources=None):
        return command.arguments(
            input,
            output,
            resources or {},
            work=PATHS.work(name, wildcards.variant),
            made_from=made_from(stage, **{**fixed, **wildcards}),
        )

    return arguments


def made_from(stage, **wildcards):
    """The settings and code that the checkpoints of a job belong to."""
    settings = unchanged.compared_text(STUDY, stage, wildcards)
    return f"{settings} {stages.code_text(STUDY, stage, wildcards)}"


def files_of_value_model(wildcards, input, output, resources=None):
    """As `files_with_work`, for the study's one value model."""
    work, belongs = PATHS.work(VALUE.family, VALUE.variant), made_from("value_model")
    return command.arguments(
        input, output, resources or {}, work=work, made_from=belongs
    )


def launcher(wildcards, resources):
    """Params function: how a trainer starts on its GPUs.

    Params that look at resources are not tracked: the number of GPUs is no reason to train again.
    """
    try:
        return command.launcher(resources)
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


def in_captions():
    """Params that captions of tables show; the paths are no settings, the report reads the files."""
    return {
        "opponent": shown.opponent(STUDY),
        "captions": shown.captions(STUDY),
        "prompts": lambda wildcards, output: Path(PATHS.table("prompts", "txt")),
        "left_out": lambda wildcards: shown.left_out(kept()),
    }


def priority_of(stage, **fixed):
    """Priority of a rule's jobs; `fixed` as for `params`."""
    return lambda wildcards: priority.priority(STUDY, stage, {**fixed, **wildcards})


def with_apptainer():
    """Whether jobs run in the container: `--software-deployment-method apptainer`."""
    return DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method


def refuse_unknown_targets():
    """Stop with one sentence per target that this study does not have.

    Snakemake tells a workflow its targets only after it has read all rules, so they are read from
    the command line here.
    """
    command_line = Path(sys.argv[0])
    called = command_line.stem == "snakemake" or command_line.parent.name == "snakemake"
    # A storage provider has names of its own for the files.
    stored = workflow.storage_settings.default_storage_provider is not None
    if MODULE or not called or not workflow.is_main_process or stored:
        return
    faults = targets.unknown_targets(
        STUDY,
        [os.path.relpath(path) for path in workflow.configfiles],
        get_argument_parser().parse_args(sys.argv[1:]).targets,
        {rule.name for rule in workflow.rules if not rule.has_wildcards()},
        lambda path: any(rule.is_producer(path) for rule in workflow.rules),
    )
    if faults:
        raise WorkflowError("\n".join(faults))
