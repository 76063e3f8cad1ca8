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
from polyalign.map.budget import candidates_for, expected_largest, sd_above_base
from polyalign.paths import Paths, parse_job
from polyalign.plan import resources, stages
from polyalign.plan.resources import BYTES, PROMPTS, Need, parameters
from polyalign.runtime.job_record import read_marker
from polyalign.study import Study

SECONDS = 10.0
"""Rough time of a job without a model that was never measured: a start of Python, some numpy."""


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


def summary(study: Study) -> str:
    """The study in one sentence."""
    made = Counter(policy.family for policy in study.all_policies.values())
    listed = ", ".join(f"{count} {family}" for family, count in made.items()) or "none"
    return (
        f"Study {study.study}: values {', '.join(study.values)}; "
        f"{len(study.palettes)} palettes; policies: {listed}."
    )


def out_of_reach(study: Study) -> list[str]:
    """Palettes that choosing among the candidates is not likely to reach, a sentence each.

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
        rule = rule_of(file.relative_to(folder))
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
            rule = rule_of(path.relative_to(folder))
            used[rule] = max(used.get(rule, 0.0), float(record["vram_mb"]))
    return used


def rule_of(path: Path) -> str:
    """The rule of a benchmark file or job record (its path within the folder of those)."""
    job = parse_job(path)
    if job.policy is None or job.policy.family not in families.NAMES:
        return job.stage
    kind = families.family(job.policy.family).kind
    stage = "generate_guided" if job.stage == "generate" else job.stage
    own = {"train": "train", "decode": "select", "generate_guided": "sample"}.get(stage)
    return stages.rule_name(stage, job.policy.family) if kind == own else job.stage


def needs_of(study: Study, rule: str) -> Need | None:
    """The largest need of all jobs of a rule, part by part; None if none loads a model."""
    stage, jobs = jobs_of(study, rule)
    return resources.largest(stages.STAGES[stage].need(study, job) for job in jobs)


def jobs_of(study: Study, rule: str) -> tuple[str, list[dict[str, str]]]:
    """The stage of a rule, and the wildcards of its jobs that need what a model needs."""
    for stage in ("train", "decode", "generate_guided"):
        for name in stages.rules_of(study, stage):
            if rule == stages.rule_name(stage, name):
                made = [one for one in study.all_policies.values() if one.family == name]
                return stage, [{"family": name, "variant": policy.variant} for policy in made]
    stage = rule if rule in stages.STAGES else "resolved_config"
    jobs: list[dict[str, str]] = [{}]
    if stage == "reward_model":
        jobs = [{"variant": name} for name in study.reward_models]
    if stage in ("generate", "annotate"):
        kinds = ("train",) if stage == "generate" else ("train", "sample")
        made = [
            families.POOL,
            families.BASE,
            *(one for kind in kinds for one in study.of_kind(kind)),
        ]
        jobs = [{"family": policy.family, "variant": policy.variant} for policy in made]
    if stage == "annotate":
        jobs = [{**job, "value": value} for job in jobs for value in study.values]
    return stage, jobs


def plan(study: Study, jobs: Mapping[str, int]) -> list[Step]:
    """The rules that are still to run, each with its measured or estimated time and its needs."""
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
    """Rough disk space that the whole study takes, in bytes.

    Rows of samples and rewards, twice (shards and merged): two bytes a token of text, and ten for
    each of the numbers of a row. Models: the parameters of the base model for each policy that is
    a model and for each reward model, and the checkpoint of one training.
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
