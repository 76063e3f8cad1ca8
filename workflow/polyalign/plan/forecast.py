"""What is still to run of a study, and what it needs: jobs, time, memory, disk."""

import re
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
from polyalign.errors import InputError
from polyalign.families import BASE, POOL
from polyalign.map.budget import candidates_for, expected_largest, sd_above_base
from polyalign.paths import Paths, parse_job
from polyalign.plan import resources, stages
from polyalign.plan.resources import BYTES, PROMPTS, Need, parameters
from polyalign.runtime.job_record import read_record
from polyalign.study import Study

SECONDS = 10.0
"""Estimated time of a job without a model: a start of Python and some NumPy."""

CHECKPOINT = 12
"""Bytes per parameter of a checkpoint: float32 weights and the two moments of Adam."""


@dataclass(frozen=True)
class Step:
    """The jobs of one rule that are still to run.

    Attributes:
        rule: its name.
        jobs: how many.
        estimated: estimated seconds per job.
        measured: mean seconds of earlier jobs of this study; None without any.
        need: the largest need of one of the jobs; None if they load no model.
        used_mb: peak memory of the host over earlier jobs of this rule; None if unknown.
        used_vram_mb: the same for the memory of a GPU.
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
        """Seconds per job: measured if available, else estimated."""
        return self.estimated if self.measured is None else self.measured


def summary(study: Study) -> str:
    """The study in one sentence."""
    made = Counter(policy.family for policy in study.all_policies.values())
    listed = ", ".join(f"{count} {family}" for family, count in made.items()) or "none"
    return (
        f"Study {study.study}: values {', '.join(study.values)}; "
        f"{len(study.palettes)} palettes; policies: {listed}."
    )


def out_of_reach(study: Study) -> list[str]:
    """Palettes that selection among the candidates will probably not reach, one sentence each.

    Rough, since nothing is sampled yet: see `polyalign.map.budget.sd_above_base`.
    """
    count = study.sampling.candidates
    if study.rewards is not None or count < 2:
        return []
    found = []
    for name, levels in study.palettes.items():
        above = sd_above_base(levels.values())
        if above <= expected_largest(count):
            continue
        enough = candidates_for(above)
        more = f"about {enough} candidates (sampling.candidates)" if enough else "lower levels"
        found.append(
            f"palette {name} asks for about {above:.2g} standard deviations above the base level; "
            f"the best of {count} candidates is about {expected_largest(count):.2g} above it, and "
            f"selection can spend at most log {count} = {log(count):.2g} nats: the palette needs "
            f"{more} (rough: assumes normal and uncorrelated rewards)"
        )
    return found


def jobs_to_run(config: str) -> dict[str, int]:
    """Rule → jobs that Snakemake would run now for this config.

    Raises:
        InputError: if Snakemake cannot make the plan; with the message of Snakemake.
    """
    quiet = ["--dry-run", "--quiet", "rules", "host"]
    command = [sys.executable, "-m", "snakemake", *quiet, "--configfile", config]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    printed = done.stdout + done.stderr
    if done.returncode:
        raise InputError(f"{config}: Snakemake cannot plan this study:\n{printed.strip()}")
    return parse_jobs(printed)


def parse_jobs(printed: str) -> dict[str, int]:
    """Rule → jobs, from the table that a dry run prints; empty if there is nothing to do."""
    _, _, table = printed.partition("Job stats:")
    rows = re.findall(r"^(\S+)[ \t]+(\d+)[ \t]*$", table, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule != "total"}


def measured(folder: Path) -> dict[str, tuple[float, float]]:
    """Rule → mean seconds and largest memory (MB) of its jobs in an earlier run.

    Args:
        folder: the benchmark files of a study, as `polyalign.paths.Paths.benchmark` names them.
    """
    seconds: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    for file in sorted(folder.rglob("*.tsv")):
        header, *rows = (line.split("\t") for line in file.read_text().splitlines())
        rule = rule_of(file.relative_to(folder))
        for row in rows:
            numbers = dict(zip(header, row, strict=True))
            seconds.setdefault(rule, []).append(float(numbers["s"]))
            with suppress(KeyError, ValueError):  # very short jobs have no memory
                memory[rule] = max(memory.get(rule, 0.0), float(numbers["max_rss"]))
    return {rule: (mean(times), memory.get(rule, 0.0)) for rule, times in seconds.items()}


def used_vram(folder: Path) -> dict[str, float]:
    """Rule → peak GPU memory (MB) of its finished jobs, from their records in the folder `logs`."""
    used: dict[str, float] = {}
    for path in sorted(folder.rglob("*.json")):
        record = read_record(path)
        if record is not None and record.get("vram_mb"):
            rule = rule_of(path.relative_to(folder))
            used[rule] = max(used.get(rule, 0.0), float(record["vram_mb"]))
    return used


def rule_of(path: Path) -> str:
    """The rule of a benchmark file or job record (its path within the folder of those)."""
    job = parse_job(path)
    if job.policy is None:
        return job.stage
    name = job.policy.family
    samples_itself = name in families.NAMES and families.family(name).kind == "sample"
    if job.stage in ("train", "decode") or (job.stage == "generate" and samples_itself):
        return stages.rule_name(job.stage, name)
    return job.stage


def needs_of(study: Study, rule: str) -> Need | None:
    """The largest need of all jobs of a rule, resource by resource; None if none loads a model."""
    stage, jobs = jobs_of(study, rule)
    return resources.largest(stages.STAGES[stage].need(study, job) for job in jobs)


def jobs_of(study: Study, rule: str) -> tuple[str, list[dict[str, str]]]:
    """The stage of a rule, and the wildcards of its jobs; no jobs if the rule loads no model."""
    for stage in ("train", "decode", "generate_guided"):
        for name in stages.rules_of(study, stage):
            if rule == stages.rule_name(stage, name):
                policies = [one for one in study.all_policies.values() if one.family == name]
                return stage, [{"family": name, "variant": policy.variant} for policy in policies]
    if rule == "base_model":
        return rule, [{}]
    if rule == "reward_model":
        return rule, [{"variant": name} for name in study.reward_models]
    if rule not in ("generate", "annotate"):
        return rule, []
    kinds = ("train",) if rule == "generate" else ("train", "sample")
    sampled = [POOL, BASE, *(policy for kind in kinds for policy in study.of_kind(kind))]
    jobs = [{"family": policy.family, "variant": policy.variant} for policy in sampled]
    if rule == "annotate":
        jobs = [{**job, "value": value} for job in jobs for value in study.values]
    return rule, jobs


def plan(study: Study, jobs: Mapping[str, int]) -> list[Step]:
    """The rules that are still to run, with their times and needs.

    Args:
        study: the study; what its earlier jobs took is read below `results/`.
        jobs: rule → jobs that are still to run.
    """
    folder = Path(Paths(study.study).results)
    known, vram = measured(folder / "benchmarks"), used_vram(folder / "logs")
    steps = []
    for rule, count in jobs.items():
        need = needs_of(study, rule)
        estimated = SECONDS if need is None else need.seconds
        seconds, used = known.get(rule, (None, None))
        steps.append(Step(rule, count, estimated, seconds, need, used, vram.get(rule)))
    return steps


def disk_bytes(study: Study) -> float:
    """Rough disk space of the whole study, in bytes.

    Rows of samples and rewards, twice (shards and merged): two bytes per token of text, and ten
    per number. Models: the parameters of the base model for each trained policy and each reward
    model, and the checkpoint of one training.
    """
    if study.rewards is not None:
        return 2.0 * Path(study.rewards).stat().st_size
    sampling = study.sampling
    made = study.of_kind("train")
    prompts = study.prompts.limit or PROMPTS
    sampled = study.of_kind("train") + study.of_kind("sample")
    evaluated = prompts * study.prompts.test_share * sampling.evaluation_candidates
    rows = prompts * sampling.candidates + (len(sampled) + 1) * evaluated
    row = 2 * sampling.max_new_tokens + 10 * (len(study.values) + 6)
    models = len(made) + len(study.reward_models) + (study.sandbox is not None)
    size = parameters(study)
    dtype = BYTES[study.model.dtype] if study.model else 4
    return 2 * rows * row + models * size * dtype + (CHECKPOINT * size if models else 0)
