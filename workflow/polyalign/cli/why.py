"""`polyalign why`: what changed since a file was made, or what it waits for, in words."""

import argparse
import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path
from typing import Any

from polyalign.cli.arguments import add_study, load_study, read_words
from polyalign.cli.extras import require
from polyalign.errors import InputError
from polyalign.families import POOL
from polyalign.paths import Paths
from polyalign.plan import calls, shown
from polyalign.plan.forecast import TARGETS
from polyalign.plan.jobs import jobs, rule_of_job
from polyalign.plan.recorded import Record, read_record
from polyalign.plan.stages import code_text
from polyalign.plan.unchanged import compared_text
from polyalign.study import Study

LONGEST = 80
"""Characters of a setting that are shown."""

NAMED = 4
"""Files that are named; of more, the number of the others is said."""

ABSENT = object()
"""Stands for a setting that there is not."""


@dataclass(frozen=True)
class Job:
    """A job that Snakemake would run.

    Attributes:
        rule: its rule.
        wildcards: their names and values.
        inputs: paths of its inputs.
        outputs: paths of its outputs.
        reason: why, as Snakemake says it.
    """

    rule: str
    wildcards: dict[str, str]
    inputs: list[str]
    outputs: list[str]
    reason: str


def main(argv: list[str] | None = None) -> int:
    """Say why a target would be made; 0, also if it would not, or 2 on bad input.

    Raises:
        SystemExit: on an unknown argument.
    """
    parser = argparse.ArgumentParser(prog="polyalign why", description=__doc__)
    add_study(
        parser,
        "CONFIG | TARGET | KEY=VALUE",
        "the study's config; a path below results/, a policy (rloo/hhh-60), palette, figure or "
        "table, or a rule such as `models` (default: all); changes to the config, as `seed=2`",
    )
    options = parser.parse_args(argv)
    try:
        given, targets = read_words(options.words, options.config)
        if len(targets) > 1:
            raise InputError(f"{', '.join(targets)}: expected one target; call once for each")
        study = load_study(given)
        target = path_of(study, targets[0] if targets else "all")
        require("why", "snakemake")
        planned = parse_jobs(dry_run(given, target))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(explanation(study, target, planned))
    return 0


def path_of(study: Study, target: str) -> str:
    """The path, or the rule, that a short name stands for.

    Raises:
        InputError: if the study makes nothing of that name.
    """
    paths, name, made = Paths(study.study), target.rstrip("/"), short_names(study)
    if name.startswith("results/") or name in TARGETS:
        return name
    if name not in made:
        near = get_close_matches(name, [*made, *TARGETS], n=1)
        raise InputError(
            f"{target}: study '{study.study}' makes nothing of that name"
            f"{f'; did you mean {near[0]}?' if near else ''}; expected a path below "
            f"{paths.results}/, or the name of a policy, palette, figure or table"
        )
    return made[name]


def short_names(study: Study) -> dict[str, str]:
    """Name of a policy, palette, figure or table → the file that it stands for."""
    paths = Paths(study.study)
    trained = {policy.name for policy in study.of_kind("train")}
    policies = {
        policy.name: paths.manifest(policy) if policy.name in trained else paths.rewards(policy)
        for policy in [POOL, *study.evaluated]
    }
    return {
        "prompts": paths.file("prompts.parquet"),
        "overview": paths.file("overview.html"),
        "report": paths.file("report.html"),
        **{name: paths.table(name) for name in shown.tables(study)},
        **{name: paths.plot(name) for name in study.plots},
        **{name: paths.palette(name) for name in study.palettes},
        **{f"reward/{name}": f"{paths.results}/models/reward/{name}.json"
           for name in study.reward_models},
        **policies,
    }  # fmt: skip


def dry_run(given: calls.Given, target: str) -> str:
    """What a dry run for a target prints.

    Raises:
        InputError: if Snakemake cannot make the plan; with its message.
    """
    command = calls.command(given, "--dry-run", "--quiet", "host", "--", target)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=calls.environment()
    )
    if done.returncode:
        printed = done.stdout + done.stderr
        if "MissingRuleException" in printed:
            raise InputError(
                f"{target}: no rule makes this file; expected one that the study makes: "
                "`snakemake --list` names the rules and their files"
            )
        raise InputError(f"{given.config}: Snakemake cannot plan {target}:\n{printed.strip()}")
    return done.stdout + done.stderr


def parse_jobs(printed: str) -> list[Job]:
    """The jobs that a dry run prints, in their order, without target rules."""
    found: list[Job] = []
    for block in re.split(r"\n(?=(?:local)?(?:rule|checkpoint) \w+:\n)", f"\n{printed}"):
        head = re.match(r"(?:local)?(?:rule|checkpoint) (\w+):\n", block)
        if head is None or head[1] in TARGETS:
            continue
        facts = dict(re.findall(r"^    (\w+): (.*)$", block, re.MULTILINE))
        pairs = (part.partition("=") for part in facts.get("wildcards", "").split(", ") if part)
        wildcards = {name: value for name, _, value in pairs}
        inputs, outputs = (facts.get(key, "").split(", ") for key in ("input", "output"))
        found.append(Job(head[1], wildcards, inputs, outputs, facts.get("reason", "")))
    return found


def explanation(study: Study, target: str, planned: Sequence[Job]) -> str:
    """What changed since the target was made; then what changed for the jobs that it waits for."""
    if not planned:
        return f"nothing: {target} is up to date" + (
            f", made {_time(Path(target).stat().st_mtime)}" if Path(target).exists() else ""
        )
    stages = {
        (rule_of_job(stage, wildcards), _given(stage, wildcards)): (stage, wildcards)
        for stage, wildcards in jobs(study)
    }
    makers = {path: job for job in planned for path in job.outputs}
    causes = {
        id(job): changes(study, stages.get((job.rule, tuple(sorted(job.wildcards.items())))), job)
        for job in planned
    }
    own = makers.get(target)
    lines: list[str] = []
    if own is not None:
        others = len(planned) - 1
        lines.append(
            f"{target} would be made"
            + (f", after {_count(others, 'other job')}" if others else "")
            + ":"
        )
        lines += [f"  {line}" for line in causes[id(own)]]
        first = list(dict.fromkeys(path for path in own.inputs if path in makers))
        if first:
            lines.append(f"  inputs that would be made first: {_some(first)}")
    else:
        lines.append(f"{_count(len(planned), 'job')} would run for {target}:")
    groups: dict[tuple[str, tuple[str, ...]], list[Job]] = {}
    for job in planned:
        if job is not own and causes[id(job)]:
            groups.setdefault((job.rule, tuple(causes[id(job)])), []).append(job)
    for (rule, found), alike in groups.items():
        more = f" and {len(alike) - 1} more of {rule}" if len(alike) > 1 else f" ({rule})"
        lines += [f"{alike[0].outputs[0]}{more}:", *(f"  {line}" for line in found)]
    return "\n".join(lines)


def _given(stage: str, wildcards: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The wildcards of a job's rule: those that its name does not hold already."""
    inside = {"train": "family", "decode": "family", "generate_guided": "family", "explore": "name"}
    return tuple(sorted((k, v) for k, v in wildcards.items() if k != inside.get(stage)))


def changes(
    study: Study,
    planned: tuple[str, dict[str, str]] | None,
    job: Job,
) -> list[str]:
    """What changed for a job itself, one line each; empty if only its inputs would be made again.

    Args:
        study: the study.
        planned: stage and wildcards of the job; None for a job that is told no settings.
        job: the job, as Snakemake plans it.
    """
    missing = [path for path in job.outputs if not Path(path).exists()]
    if missing:
        return [f"missing: {_some(missing)}"]
    lines: list[str] = []
    record = next(filter(None, map(read_record, job.outputs)), None)
    if record is not None:
        if planned is not None:
            stage, wildcards = planned
            now = compared_text(study, stage, wildcards)
            lines += setting_changes(json.loads(record.settings or "{}"), json.loads(now))
            lines += code_changes(record.code, code_text(study, stage, wildcards))
        lines += input_changes(record, job)
    lines += edited_inputs(record, job)
    if not lines and not _only_follows(job.reason):
        lines += _in_words(job.reason)
    return lines


def setting_changes(before: Any, now: Any) -> list[str]:
    """The settings that differ, as `setting a.b: before → now`."""
    found = _differences(before, now)
    return [
        f"{' '.join(['setting', *filter(None, [key])])}: {old} → {new}" for key, old, new in found
    ]


def _differences(before: Any, now: Any, above: str = "") -> Iterator[tuple[str, str, str]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted({*before, *now}):
            yield from _differences(
                before.get(name, ABSENT), now.get(name, ABSENT), f"{above}.{name}".lstrip(".")
            )
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, (one, two) in enumerate(zip_longest(before, now)):
            yield from _differences(one, two, f"{above}[{place}]")
    elif before != now or type(before) is not type(now):
        yield above, _shown(before), _shown(now)


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "(not there)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def code_changes(before: str, now: str) -> list[str]:
    """The modules that differ, by what was done with them."""
    old, new = (
        {entry.partition("=")[0]: entry for entry in text.split()} for text in (before, now)
    )
    edited = [name for name in new if name in old and new[name] != old[name]]
    added = [name for name in new if name not in old]
    removed = [name for name in old if name not in new]
    found = {"edited": edited, "now used": added, "no longer used": removed}
    return [
        f"code {word}: {', '.join(map(_module, names))}" for word, names in found.items() if names
    ]


def _module(file: str) -> str:
    """Name of a module of the library; other files keep their path."""
    if not file.startswith("polyalign/"):
        return file
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def edited_inputs(record: Record | None, job: Job) -> list[str]:
    """Inputs that were edited since, as Snakemake found them."""
    updated = re.search(r"Updated input files: ([^;]*)", job.reason)
    return [_edited(path.strip(), record) for path in (updated[1].split(", ") if updated else [])]


def input_changes(record: Record, job: Job) -> list[str]:
    """Inputs that are new, or that are no longer used."""
    now, before = set(filter(None, job.inputs)), set(record.inputs)
    added, removed = sorted(now - before), sorted(before - now)
    lines = [f"input now used: {_some(added)}"] if added else []
    lines += [f"input no longer used: {_some(removed)}"] if removed else []
    return lines


def _edited(path: str, record: Record | None) -> str:
    when = _time(Path(path).stat().st_mtime) if Path(path).exists() else "unknown"
    if record is None:
        return f"input {path}: it is newer (of {when})"
    known = "its content changed" if path in record.checksums else "it is newer"
    return f"input {path}: {known} (of {when}; the file was made {_time(record.ended)})"


def _only_follows(reason: str) -> bool:
    """Whether a job runs only since other jobs make its inputs."""
    return reason.startswith("Input files updated by another job") and ";" not in reason


def _in_words(reason: str) -> list[str]:
    """Snakemake's reason, for a job that has no stage or no record."""
    texts = re.match(r"Params have changed since last execution: .*before: (.*) now: (.*)", reason)
    if texts:
        return setting_changes(*map(_literals, texts.groups()))
    if reason.startswith("Code has changed"):
        return ["code edited: the command of its rule"]
    return [reason.strip()[: 3 * LONGEST]]


def _literals(text: str) -> Any:
    """What Snakemake prints of params: settings in JSON, or other values."""
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()
    try:
        return json.loads(found)
    except (ValueError, TypeError):
        return found


def _some(paths: Sequence[str]) -> str:
    named = ", ".join(paths[:NAMED])
    return named if len(paths) <= NAMED else f"{named} and {len(paths) - NAMED} more"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
