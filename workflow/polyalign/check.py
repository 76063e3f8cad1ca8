"""`polyalign check`: every fault of a config at once, then the plan: jobs, time and disk."""

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import log
from pathlib import Path
from statistics import mean

from polyalign import families
from polyalign.config import Study, load, policies
from polyalign.errors import InputError
from polyalign.map.budget import candidates_for, expected_largest, height
from polyalign.markers import read_marker
from polyalign.resources import BYTES, PROMPTS, Need, largest_need, parameters

SECONDS = 10.0
"""Rough time of a job without a model that was never measured: a start of Python, some numpy."""

GB = 1e9
CHECKPOINT = 12
"""Bytes a parameter of a checkpoint: float32 weights and the two moments of Adam."""


@dataclass(frozen=True)
class Step:
    """The jobs of one rule that are still to run.

    Attributes:
        rule: its name.
        jobs: how many.
        estimated: seconds that one of them is expected to take.
        measured: seconds that earlier jobs of this study took; None without any.
        need: the most that one of them needs; None if they load no model.
        used_mb: most memory of the host that an earlier job of this rule took; None if unknown.
        used_vram_mb: the same of a GPU.
    """

    rule: str
    jobs: int
    estimated: float
    measured: float | None = None
    need: Need | None = None
    used_mb: float | None = None
    used_vram_mb: float | None = None

    @property
    def seconds(self) -> float:
        """That one of them takes: measured where it was."""
        return self.estimated if self.measured is None else self.measured


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
    if study.rewards is not None or count < 2:
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


def measured(folder: Path) -> dict[str, tuple[float, float]]:
    """Rule → mean seconds and largest memory (MB) of its jobs in an earlier run.

    Args:
        folder: benchmark files of Snakemake, as `<rule>.tsv`, `<rule>/….tsv`, or, for the rules of
            one family each, `<stage>/<family>-….tsv`.
    """
    seconds: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    for file in sorted(folder.rglob("*.tsv")):
        header, *rows = (line.split("\t") for line in file.read_text().splitlines())
        rule = _rule_of(file.relative_to(folder))
        for row in rows:
            numbers = dict(zip(header, row, strict=True))
            seconds.setdefault(rule, []).append(float(numbers["s"]))
            with suppress(KeyError, ValueError):  # a job shorter than a look at it has no memory
                memory[rule] = max(memory.get(rule, 0.0), float(numbers["max_rss"]))
    return {rule: (mean(times), memory.get(rule, 0.0)) for rule, times in seconds.items()}


def used_vram(folder: Path) -> dict[str, float]:
    """Rule → most memory (MB) of a GPU that its finished jobs held, by their markers in `logs`."""
    used: dict[str, float] = {}
    for path in sorted(folder.rglob("*.json")):
        record = read_marker(path)
        if record is not None and record.get("vram_mb"):
            rule = _rule_of(path.relative_to(folder))
            used[rule] = max(used.get(rule, 0.0), float(record["vram_mb"]))
    return used


def _rule_of(benchmark: Path) -> str:
    """The rule of a benchmark file or marker (its path within the folder of those)."""
    stage = Path(benchmark.parts[0]).stem
    for family in families.NAMES:
        own = stage in ("train", "decode") or (stage == "generate" and families.guides(family))
        if own and benchmark.stem.startswith(f"{family}-"):
            return f"{stage}_{family.replace('-', '_')}"
    return stage


def plan(study: Study, jobs: Mapping[str, int]) -> list[Step]:
    """The rules that are still to run, each with its measured or estimated time and its needs."""
    folder = Path("results") / study.study
    known, vram = measured(folder / "benchmarks"), used_vram(folder / "logs")
    steps = []
    for rule, count in jobs.items():
        need = largest_need(study, rule)
        estimated = SECONDS if need is None else need.seconds
        seconds, used = known.get(rule, (None, None))
        steps.append(Step(rule, count, estimated, seconds, need, used, vram.get(rule)))
    return steps


def plan_text(study: Study, steps: list[Step]) -> str:
    """The plan as a table, with total time, GPU hours and disk."""
    if not steps:
        lines = ["Nothing to be done."]
    else:
        width = max(len(step.rule) for step in steps)
        minutes = sum(step.jobs * step.seconds for step in steps) / 60
        total = sum(step.jobs for step in steps)
        hours = sum(_gpu_hours(step) for step in steps)
        lines = [
            f"{'rule':<{width}}  jobs  minutes  measured  GPU  VRAM GB     used  RAM GB     used",
            *(_row(step, width).rstrip() for step in steps),
            f"{'total':<{width}}  {total:>4}  {minutes:>7.1f}  one job after another, as measured "
            "where it was",
            f"GPU hours: about {hours:.1f}. Estimates are for a GPU of the data centre; what was "
            "measured or used is of earlier jobs of the study, on their machine.",
        ]
    free = shutil.disk_usage(".").free
    lines.append(f"Disk: about {_size(disk_bytes(study))} in all; {_size(free)} are free here.")
    return "\n".join(lines)


def _gpu_hours(step: Step) -> float:
    return step.jobs * step.seconds * step.need.gpu / 3600 if step.need else 0.0


def _row(step: Step, width: int) -> str:
    """A rule's row: estimates, and beside each of them what earlier jobs took."""
    estimated, measured = (
        _number(seconds, 60 / step.jobs) for seconds in (step.estimated, step.measured)
    )
    row = f"{step.rule:<{width}}  {step.jobs:>4}  {estimated:>7}  {measured:>8}"
    if step.need is None:
        return row
    vram, used_vram, ram, used_ram = (
        _number(mb, 1e3)
        for mb in (step.need.vram_mb, step.used_vram_mb, step.need.mem_mb, step.used_mb)
    )
    return f"{row}  {step.need.gpu:>3}  {vram:>7}  {used_vram:>7}  {ram:>6}  {used_ram:>7}"


def _number(amount: float | None, unit: float) -> str:
    return "" if amount is None else f"{amount / unit:.1f}"


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


def _size(count: float) -> str:
    return f"{count / GB:.1f} GB" if count >= 0.1 * GB else f"{count / 1e6:.0f} MB"
