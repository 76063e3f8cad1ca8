"""`polyalign check`: every fault of a config at once, then the plan: jobs, time and disk."""

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from pathlib import Path
from statistics import mean

from polyalign import families
from polyalign.config import Study, load, policies
from polyalign.errors import InputError
from polyalign.map.base import PROMPT_SCOPE_CANDIDATES
from polyalign.map.budget import candidates_for, expected_largest, height

SECONDS = 10.0
"""Rough time of a job that was never measured: a start of Python and a small computation."""

HEAVY = {"generate": 60.0, "annotate": 45.0, "train": 180.0}
"""Rough times of jobs that load a model, on two cores and at the sandbox's size, by the word that
the rule's name starts with."""

PARAMETERS = 1e9
"""Parameters of a model whose size neither its folder nor its name tells."""

SANDBOX_PARAMETERS = 0.75e6
PROMPTS = 2000
"""Prompts of a study without a limit."""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
CHECKPOINT = 12
"""Bytes a parameter of a checkpoint: float32 weights and the two moments of Adam."""


@dataclass(frozen=True)
class Step:
    """The jobs of one rule that are still to run, and the seconds that one of them takes."""

    rule: str
    jobs: int
    seconds: float
    measured: bool


def main(argv: list[str] | None = None) -> int:
    """Check a config and print the plan; 0 if it can run, 1 if it cannot be planned, 2 on faults.

    Raises:
        SystemExit: on an unknown argument.
    """
    parser = argparse.ArgumentParser(prog="polyalign check", description=__doc__)
    parser.add_argument("--config", default="config.yaml", help="the study (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        study = load(options.config)
    except InputError as fault:
        print(fault, file=sys.stderr)
        return 2
    print(f"{options.config}: no fault. {summary(study)}")
    for warning in out_of_reach(study):
        print(f"warning: {warning}")
    try:
        steps = plan(study, jobs_to_run(options.config))
    except InputError as fault:
        print(fault, file=sys.stderr)
        return 1
    print(plan_text(study, steps))
    return 0


def summary(study: Study) -> str:
    """The study in one sentence."""
    made = Counter(name.split("/")[0] for name in policies(study))
    listed = ", ".join(f"{count} {family}" for family, count in made.items()) or "none"
    return (
        f"Study {study.study}: values {', '.join(study.values)}; "
        f"{len(study.palettes)} palettes; policies: {listed}."
    )


def out_of_reach(study: Study) -> list[str]:
    """Palettes that choosing among the candidates is not likely to reach, a sentence each.

    Rough, since nothing is sampled yet: see `polyalign.map.budget.height`.
    """
    count = study.sampling.candidates
    joint = study.map.scope == "joint" or (
        study.map.scope == "auto" and count < PROMPT_SCOPE_CANDIDATES
    )
    if study.rewards is not None or joint:
        return []
    found = []
    for name, levels in study.palettes.items():
        above = height(levels.values())
        if above <= expected_largest(count):
            continue
        enough = candidates_for(above)
        more = f"about {enough} candidates (sampling.candidates)" if enough else "lower levels"
        found.append(
            f"palette {name} asks for about {above:.2g} standard deviations above the base level; "
            f"the best of {count} candidates lies about {expected_largest(count):.2g} above it, "
            f"and log {count} = {log(count):.2g} nats is all that choosing can spend: it needs "
            f"{more} (rough: as if rewards were normal and uncorrelated)"
        )
    return found


def jobs_to_run(config: str) -> dict[str, int]:
    """Rule → jobs that Snakemake would run now for this config.

    Raises:
        InputError: if Snakemake cannot make the plan; the message is its own.
    """
    quiet = ["--dry-run", "--quiet", "rules", "host"]
    command = [sys.executable, "-m", "snakemake", *quiet, "--configfile", config]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    printed = done.stdout + done.stderr
    if done.returncode:
        raise InputError(f"{config}: Snakemake cannot plan this study:\n{printed.strip()}")
    return parse_jobs(printed)


def parse_jobs(printed: str) -> dict[str, int]:
    """Rule → jobs from the table that a dry run prints (empty if there is nothing to do)."""
    _, _, table = printed.partition("Job stats:")
    rows = re.findall(r"^(\S+)[ \t]+(\d+)[ \t]*$", table, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule != "total"}


def measured_seconds(folder: Path) -> dict[str, float]:
    """Rule → mean wall-clock seconds of its jobs in an earlier run.

    Args:
        folder: benchmark files of Snakemake, as `<rule>.tsv` or `<rule>/….tsv`.
    """
    times: dict[str, list[float]] = {}
    for file in sorted(folder.rglob("*.tsv")):
        header, *rows = file.read_text(encoding="utf-8").splitlines()
        rule = Path(file.relative_to(folder).parts[0]).stem
        column = header.split("\t").index("s")
        times.setdefault(rule, []).extend(float(row.split("\t")[column]) for row in rows)
    return {rule: mean(seconds) for rule, seconds in times.items() if seconds}


def plan(study: Study, jobs: Mapping[str, int]) -> list[Step]:
    """The rules that are still to run, each with its measured or rough time."""
    known = measured_seconds(Path("results") / study.study / "benchmarks")
    rough = {
        rule: next((HEAVY[word] for word in HEAVY if rule.startswith(word)), SECONDS)
        for rule in jobs
    }
    return [
        Step(rule, count, known.get(rule, rough[rule]), rule in known)
        for rule, count in jobs.items()
    ]


def plan_text(study: Study, steps: list[Step]) -> str:
    """The plan as a table, with total time and disk."""
    width = max((len(step.rule) for step in steps), default=4)
    lines = [f"{'rule':<{width}}  jobs  minutes", *(_row(step, width) for step in steps)]
    minutes = sum(step.jobs * step.seconds for step in steps) / 60
    total = sum(step.jobs for step in steps)
    rough = sum(not step.measured for step in steps)
    if not steps:
        lines = ["Nothing to be done."]
    else:
        lines.append(f"{'total':<{width}}  {total:>4}  {minutes:>7.1f}  one job after another")
    if rough:
        lines.append(
            "rough: not measured here yet; a figure for the sandbox's models on two cores, "
            "far more for larger ones."
        )
    free = shutil.disk_usage(".").free
    lines.append(f"Disk: about {_size(disk_bytes(study))} in all; {_size(free)} are free here.")
    return "\n".join(lines)


def _row(step: Step, width: int) -> str:
    source = "measured" if step.measured else "rough"
    return f"{step.rule:<{width}}  {step.jobs:>4}  {step.jobs * step.seconds / 60:>7.1f}  {source}"


def disk_bytes(study: Study) -> float:
    """Rough disk space that the whole study takes, in bytes.

    Rows of samples and rewards, twice (shards and merged): two bytes a token of text, and ten for
    each of the numbers of a row. Models: the parameters of the base model for each policy that is
    a model and for each reward model, and the checkpoint of one training.
    """
    if study.rewards is not None:
        return 2.0 * Path(study.rewards).stat().st_size
    sampling = study.sampling
    made = [name for name in policies(study) if families.makes_model(name.split("/")[0])]
    prompts = study.prompts.limit or PROMPTS
    sampled = [name for name in policies(study) if not families.chooses(name.split("/")[0])]
    evaluated = prompts * study.prompts.test_share * sampling.evaluation_candidates
    rows = prompts * sampling.candidates + (len(sampled) + 1) * evaluated
    row = 2 * sampling.max_new_tokens + 10 * (len(study.values) + 6)
    models = len(made) + len(study.reward_models) + (study.sandbox is not None)
    size = parameters(study)
    dtype = BYTES[study.model.dtype] if study.model else 4
    return 2 * rows * row + models * size * dtype + (CHECKPOINT * size if models else 0)


def parameters(study: Study) -> float:
    """Parameters of the base model: from its folder's size, else its name (`-7b`), else rough."""
    if study.model is None:
        return 0.0
    source = study.model.source
    if study.sandbox is not None and source.startswith(f"results/{study.study}/"):
        return SANDBOX_PARAMETERS
    weights = [*Path(source).glob("*.safetensors")] if Path(source).is_dir() else []
    if weights:
        return sum(file.stat().st_size for file in weights) / BYTES[study.model.dtype]
    named = re.findall(r"(\d+(?:\.\d+)?)([bm])(?![a-z])", source.lower())
    if named:
        number, unit = named[-1]
        return float(number) * (1e9 if unit == "b" else 1e6)
    return PARAMETERS


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
