"""What is still to run of a study, and what it needs here: jobs, time, memory, disk.

The expected time of a job is what its arithmetic takes on this machine (polyalign.plan.work). Where
jobs of the same rule and of similar size have finished in this folder, in whichever study, their
times correct it.
"""

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isinf, log
from pathlib import Path

from polyalign import families
from polyalign.errors import InputError
from polyalign.map.budget import candidates_for, expected_largest, sd_above_base
from polyalign.paths import Paths, parse_job
from polyalign.plan import calls, resources, stages, work
from polyalign.plan.calls import Given
from polyalign.plan.counts import counts
from polyalign.plan.machine import DATA_CENTRE, Machine
from polyalign.plan.resources import BYTES, GPU_MB, HOST_MB, Need, parameters
from polyalign.plan.work import Work
from polyalign.runtime.job_record import read_record
from polyalign.study import Study, validate

CHECKPOINT = 12
"""Bytes per parameter of a checkpoint: float32 weights and the two moments of Adam."""

TARGETS = ("all", "models", "palettes", "winrates", "plots")
"""Rules that only collect the files of others."""

CHAIN = (
    ("world", "import_rewards"),
    ("base_model",),
    ("prompts", "reward_model"),
    ("generate pool",),
    ("annotate pool",),
    ("solve",),
    ("train", "value_model"),
    ("steer",),
    ("generate",),
    ("annotate",),
    ("merge",),
    ("judge", "levels", "winrate"),
    ("families", "judged", "tables"),
    ("plot",),
    ("report",),
)
"""Stages that wait for each other, first to last; those of one entry run side by side."""

SIMILAR = 10.0
"""Finished jobs correct the estimates of jobs up to so many times as long or as short."""

CALIBRATED, LEARNED = 1.6, 1.3
"""Half width of the range as a factor: from the machine's speed alone, and from finished jobs."""

WORKFLOW = 5.0
"""Seconds that Snakemake takes to plan a study."""

MEMORY_MB = 1000
"""Memory of a job that has imported the libraries, without its model."""


@dataclass(frozen=True)
class Planned:
    """A job that is still to run.

    Attributes:
        rule: the name of its rule.
        wildcards: those of its rule.
    """

    rule: str
    wildcards: Mapping[str, str]


@dataclass(frozen=True)
class Finished:
    """A job that has finished in this folder.

    Attributes:
        rule: the name of its rule.
        seconds: what it took.
        work: what it had to do.
    """

    rule: str
    seconds: float
    work: Work


@dataclass(frozen=True)
class Step:
    """The jobs of one rule that are still to run.

    Attributes:
        rule: its name.
        jobs: how many.
        seconds: expected seconds of all of them together, one after another.
        finished: how many finished jobs correct this; 0 if it is from the machine's speed alone.
        need: the largest need of one of the jobs; None if they load no model.
        used_mb: peak memory of the host over earlier jobs of this rule; None if unknown.
        used_vram_mb: the same for the memory of a GPU.
        gpu_seconds: expected seconds that its jobs hold a GPU, together.
    """

    rule: str
    jobs: int
    seconds: float
    finished: int = 0
    need: Need | None = None
    used_mb: float | None = None
    used_vram_mb: float | None = None
    gpu_seconds: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """What is still to run.

    Attributes:
        steps: by rule.
        machine: the machine that it is for.
        seconds: expected time until all has run, with jobs side by side on all cores.
        low: lower end of the range of `seconds`.
        high: its upper end.
        assumed: what could not be counted, one sentence each.
    """

    steps: list[Step]
    machine: Machine
    seconds: float
    low: float
    high: float
    assumed: list[str]

    @property
    def gpu_hours(self) -> float:
        """Hours that jobs hold a GPU, together."""
        return sum(step.gpu_seconds for step in self.steps) / 3600


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
    for name, levels in study.configured.items():
        above = sd_above_base(levels.values())
        if above <= expected_largest(count):
            continue
        if isinf(above):
            highest = ", ".join(
                f"{value} {level}"
                for value, level in levels.items()
                if isinf(sd_above_base([level]))
            )
            found.append(
                f"palette {name} asks for the highest reward there is ({highest}): only the policy "
                "that always takes the best candidate comes near, and no λ is certified there; ask "
                "for less, such as mean+0.5sd, or use the family best-of"
            )
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


def jobs_to_run(given: Given) -> list[Planned]:
    """The jobs that Snakemake would run now for this study.

    Raises:
        InputError: if Snakemake cannot make the plan; with the message of Snakemake.
    """
    quiet = ["--dry-run", "--quiet", "host", "reason"]
    done = subprocess.run(
        calls.command(given, *quiet),
        capture_output=True,
        text=True,
        check=False,
        env=calls.environment(),
    )
    printed = done.stdout + done.stderr
    if done.returncode:
        raise InputError(f"{given.config}: Snakemake cannot plan this study:\n{printed.strip()}")
    return parse_jobs(printed)


def parse_jobs(printed: str) -> list[Planned]:
    """The jobs that a dry run prints; none if there is nothing to do."""
    found: list[Planned] = []
    for line in printed.splitlines():
        if rule := re.fullmatch(r"(?:local)?(?:rule|checkpoint) (\w+):", line):
            found.append(Planned(rule[1], {}))
        elif found and (given := re.fullmatch(r"    wildcards: (.+)", line)):
            pairs = (part.partition("=") for part in given[1].split(", "))
            found[-1] = Planned(found[-1].rule, {name: value for name, _, value in pairs})
    return [job for job in found if job.rule not in TARGETS]


def most_used(folder: Path, what: str) -> dict[str, float]:
    """Rule → the most memory (MB) of its finished jobs, from their records.

    Args:
        folder: the folder `logs`.
        what: `rss_mb` or `vram_mb`.
    """
    used: dict[str, float] = {}
    for path in sorted(folder.rglob("*.json")):
        record = read_record(path)
        if record is not None and record.get(what):
            rule = rule_of(path.relative_to(folder))
            used[rule] = max(used.get(rule, 0.0), float(record[what]))
    return used


def rule_of(path: Path) -> str:
    """The rule of a job's record (its path within the folder `logs`)."""
    job = parse_job(path)
    if job.stage == "explore":
        return f"explore_{job.name}"
    if job.policy is None:
        return job.stage
    name = job.policy.family
    samples_itself = name in families.NAMES and families.family(name).kind == "sample"
    if job.stage in ("train", "decode") or (job.stage == "generate" and samples_itself):
        return stages.rule_name(job.stage, name)
    return job.stage


def stage_of(study: Study, rule: str) -> tuple[str, dict[str, str]]:
    """The stage of a rule, and the wildcards that the rule has in its name."""
    for stage in ("train", "decode", "generate_guided"):
        for name in stages.rules_of(study, stage):
            if rule == stages.rule_name(stage, name):
                return stage, {"family": name}
    if rule.startswith("explore_"):
        return "explore", {"name": rule.removeprefix("explore_")}
    return rule, {}


def finished_jobs(study: Study, folder: Path) -> list[Finished]:
    """The finished jobs of a study, from their records.

    Args:
        study: the study, as it was when they ran.
        folder: its results.
    """
    counted, found = counts(study), []
    for path in sorted((folder / "logs").rglob("*.json")):
        record = read_record(path)
        if record is None or record["state"] != "done":
            continue
        name = path.relative_to(folder / "logs")
        job, rule = parse_job(name, study.values), rule_of(name)
        stage, wildcards = stage_of(study, rule)
        wildcards |= (
            {"variant": job.name}
            if job.policy is None
            else {"family": job.policy.family, "variant": job.policy.variant}
        )
        wildcards |= {"value": job.value} if job.value else {}
        with suppress(KeyError, InputError):  # a job of an older state of the config
            asked = work.of_job(study, stage, wildcards, counted)
            found.append(Finished(rule, record["seconds"], asked))
    return found


def finished_here(study: Study, results: Path) -> list[Finished]:
    """The finished jobs of all studies in a folder of results; those of `study` by its config."""
    found = []
    for folder in sorted(path for path in results.glob("*") if path.is_dir()):
        if folder.name == study.study:
            found += finished_jobs(study, folder)
            continue
        with suppress(OSError, ValueError):
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            with suppress(InputError):  # the config of an older version
                found += finished_jobs(validate(config), folder)
    return found


def corrected(
    rule: str, expected: float, finished: Sequence[Finished], machine: Machine
) -> tuple[float, int]:
    """Seconds of a job, and how many finished jobs correct them.

    Args:
        rule: the rule of the job.
        expected: seconds from the speed of the machine.
        finished: jobs that have finished here.
        machine: the machine.
    """
    similar = [
        (job.seconds, estimate)
        for job in finished
        if job.rule == rule
        and expected / SIMILAR <= (estimate := job.work.seconds(machine)) <= expected * SIMILAR
    ]
    if not similar:
        return expected, 0
    took, estimated = (sum(column) for column in zip(*similar, strict=True))
    return expected * took / estimated, len(similar)


def plan(
    study: Study, jobs: Sequence[Planned], machine: Machine, finished: Sequence[Finished] = ()
) -> Forecast:
    """The forecast for the jobs that are still to run.

    Args:
        study: the study; the memory that its earlier jobs used is read below `results/`.
        jobs: those that are still to run.
        machine: the machine that they will run on.
        finished: jobs whose times correct the estimates.
    """
    folder = Path(Paths(study.study).results)
    used, vram = (most_used(folder / "logs", what) for what in ("rss_mb", "vram_mb"))
    counted = counts(study)
    learned: dict[tuple[str, float], tuple[float, int]] = {}
    needs: dict[str, list[Need | None]] = {}
    steps: dict[str, Step] = {}
    links: dict[str, float] = {}
    busy = uncertain = 0.0
    for job in jobs:
        stage, fixed = stage_of(study, job.rule)
        wildcards = {**fixed, **job.wildcards}
        asked = work.of_job(study, stage, wildcards, counted)
        expected = asked.seconds(machine)
        key = (job.rule, expected)
        if key not in learned:
            learned[key] = corrected(job.rule, expected, finished, machine)
        seconds, known = learned[key]
        step = steps.get(job.rule, Step(job.rule, 0, 0.0))
        held = seconds if asked.gpu(machine) else 0.0
        steps[job.rule] = replace(
            step,
            jobs=step.jobs + 1,
            seconds=step.seconds + seconds,
            finished=max(step.finished, known),
            gpu_seconds=step.gpu_seconds + held,
        )
        if stage in stages.STAGES:
            needs.setdefault(job.rule, []).append(stages.STAGES[stage].need(study, wildcards))
        busy += seconds
        uncertain += seconds * (LEARNED if known else CALIBRATED)
        link = _link(stage, wildcards)
        links[link] = max(links.get(link, 0.0), seconds)
    chain = sum(max((links.get(link, 0.0) for link in level), default=0.0) for level in CHAIN)
    held = sum(step.gpu_seconds for step in steps.values())
    total = max(busy / machine.cores, chain, held / max(1, len(machine.gpus)))
    total += WORKFLOW if jobs else 0.0
    factor = (uncertain / busy if busy else 1.0) * max(counted.assumed.values(), default=1.0)
    listed = [
        replace(
            step,
            need=resources.largest(needs.get(step.rule, [])),
            used_mb=used.get(step.rule),
            used_vram_mb=vram.get(step.rule),
        )
        for step in steps.values()
    ]
    return Forecast(listed, machine, total, total / factor, total * factor, list(counted.assumed))


def _link(stage: str, wildcards: Mapping[str, str]) -> str:
    """The entry of `CHAIN` that a job belongs to; the pool comes before what is made from it."""
    stage = stage.removesuffix("_guided")
    return f"{stage} pool" if wildcards.get("variant") == "pool" else stage


def warnings(study: Study, forecast: Forecast) -> list[str]:
    """Where disk, memory or GPU do not suffice, one sentence each."""
    machine, found = forecast.machine, []
    free, disk = shutil.disk_usage(".").free, disk_bytes(study)
    if forecast.steps and disk > free:
        found.append(
            f"the study takes about {disk / 1e9:.1f} GB of disk, but {free / 1e9:.1f} GB are free "
            "here: free some, or lower the number of prompts, candidates or models"
        )
    modelled = [step for step in forecast.steps if step.need is not None]
    gpu = machine.gpus[0] if machine.gpus else None
    if gpu in (None, DATA_CENTRE) and _asks_for_cuda(study):
        found.append(
            "the study has `device: cuda`, but this machine has no GPU: run it where there is one, "
            "or set `device: auto`; the times are those of a data-centre GPU"
        )
    for step in modelled:
        held = step.used_vram_mb or (step.need.vram_mb if step.need else 0)
        if gpu is not None and step.gpu_seconds and held > gpu.memory_mb:
            found.append(
                f"{step.rule} takes about {held / 1e3:.0f} GB of GPU memory, but {gpu.name} has "
                f"{gpu.memory_mb / 1e3:.0f} GB: lower batch_size, raise accumulation, or use lora"
            )
    largest = max((_host_mb(step) for step in modelled), default=0.0)
    if largest > machine.memory_mb:
        found.append(
            f"a job takes about {largest / 1e3:.0f} GB of memory, but this machine has "
            f"{machine.memory_mb / 1e3:.0f} GB: use a smaller model or batch, or another machine"
        )
    else:
        # The largest jobs may all run at once.
        most = sorted((_host_mb(step) for step in modelled for _ in range(step.jobs)), reverse=True)
        together = sum(most[: machine.cores])
        if together > machine.memory_mb:
            fitting = max(1, int(machine.memory_mb / largest))
            found.append(
                f"{machine.cores} jobs at once may take {together / 1e3:.0f} GB of memory, but "
                f"this machine has {machine.memory_mb / 1e3:.0f} GB: run with --cores {fitting}"
            )
    with suppress(OSError):
        load = os.getloadavg()[0]
        if forecast.steps and load > machine.cores:
            found.append(
                f"this machine is busy (load {load:.1f} on {machine.cores} cores); the times are "
                "those of an idle one"
            )
    return found


def _host_mb(step: Step) -> float:
    """Memory of the host that one job of a step probably takes, in MB."""
    if step.used_mb:
        return step.used_mb
    if step.need is None:
        return 0.0
    # What a GPU would hold is in the memory of the host if the job runs without one.
    instead = 0 if step.gpu_seconds else max(0, step.need.vram_mb - GPU_MB)
    return step.need.mem_mb - HOST_MB + MEMORY_MB + instead


def _asks_for_cuda(study: Study) -> bool:
    return study.model is not None and study.model.device == "cuda"


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
    prompts = counts(study).prompts.number
    sampled = study.of_kind("train") + study.of_kind("sample")
    evaluated = prompts * study.prompts.test_share * sampling.evaluation_candidates
    rows = prompts * sampling.candidates + (len(sampled) + 1) * evaluated
    row = 2 * sampling.max_new_tokens + 10 * (len(study.values) + 6)
    models = (
        len(made)
        + (study.value_training is not None)
        + len(study.reward_models)
        + (study.sandbox is not None)
    )
    size = parameters(study)
    dtype = BYTES[study.model.dtype] if study.model else 4
    return 2 * rows * row + models * size * dtype + (CHECKPOINT * size if models else 0)
