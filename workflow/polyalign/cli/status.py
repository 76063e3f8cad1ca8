"""`polyalign status`: what runs where, what failed and why, and what finished jobs took."""

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polyalign.cli.progress import progress
from polyalign.errors import InputError
from polyalign.paths import JobFile, parse_job
from polyalign.runtime.job_record import (
    KILLED,
    NO_GPU,
    STOPPED,
    is_of_here,
    live_slurm_jobs,
    read_record,
    runs_here,
)

GONE = "exited without reporting: out of memory, time limit exceeded, or node lost"
"""What is known of a job that neither runs nor wrote that it ended."""

SLURM_REASONS = {"TIMEOUT": "time", "OUT_OF_MEMORY": "memory"}
"""State in which SLURM ended a job → reason of the failure."""


@dataclass(frozen=True)
class Entry:
    """One job of a study.

    Attributes:
        results: folder of the study.
        job: stage and name of the job.
        log: its log.
        record: its job record.
        state: as in the record, but `gone` for a job whose record says that it runs and which does
            not.
    """

    results: Path
    job: JobFile
    log: Path
    record: dict[str, Any]
    state: str

    @property
    def name(self) -> str:
        """Stage and name, such as `train/rloo-hhh-60`."""
        return "/".join(filter(None, [self.job.stage, self.job.name]))


def make_parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    parser = argparse.ArgumentParser(prog="polyalign status", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", default="results", help="results/<study> (default: all studies)"
    )
    parser.add_argument(
        "--times", action="store_true", help="time and memory of each finished job, as a table"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print the state of a study's jobs; 0, or 2 if there are none.

    Raises:
        SystemExit: on an unknown argument.
    """
    options = make_parser().parse_args(argv)
    try:
        entries = read_entries(Path(options.folder))
    except InputError as error:
        print(f"polyalign: {error}", file=sys.stderr)
        return 2
    print(times_text(entries) if options.times else status_text(entries))
    return 0


def read_entries(folder: Path) -> list[Entry]:
    """All jobs with a record below a folder, by name.

    Raises:
        InputError: if there are none.
    """
    found = [
        (path, logs, record)
        for path in sorted(folder.rglob("*.json"))
        if (logs := _logs(path)) and (record := read_record(path)) is not None
    ]
    if not found:
        raise InputError(
            f"{folder}: no job has written a record in this folder; expected the results folder of "
            "a study that runs or ran; start the study, or name its folder"
        )
    alive = _alive([record for _, _, record in found])
    return [
        Entry(
            results=logs.parent,
            job=parse_job(path.relative_to(logs)),
            log=path.with_suffix(".log"),
            record=record,
            state="gone" if record["state"] == "running" and not runs else record["state"],
        )
        for (path, logs, record), runs in zip(found, alive, strict=True)
    ]


def _logs(path: Path) -> Path | None:
    """The folder `logs` that a file is in."""
    return next((folder for folder in path.parents if folder.name == "logs"), None)


def _alive(records: Sequence[dict[str, Any]]) -> list[bool]:
    """Whether each job may still run; if that cannot be checked here, the record is believed."""
    asked = any(record["slurm_job"] and record["state"] == "running" for record in records)
    live = live_slurm_jobs() if asked else None
    return [
        live is None or record["slurm_job"] in live
        if record["slurm_job"]
        else runs_here(record) or not is_of_here(record)
        for record in records
    ]


def status_text(entries: Sequence[Entry]) -> str:
    """Running jobs with step, loss and memory; failed jobs with reason, message and log; counts."""
    parts = []
    running = [entry for entry in entries if entry.state == "running"]
    if running:
        head = ("running", "where", "since", "step", "left", "loss", "MB")
        parts.append(_table(head, map(_running_row, running)))
    failed = [entry for entry in entries if entry.state in ("failed", "gone")]
    if failed:
        parts.append("\n".join(["failed", *(line for entry in failed for line in _failure(entry))]))
    counts = Counter(entry.state for entry in entries)
    parts.append(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    return "\n\n".join(parts)


def _running_row(entry: Entry) -> tuple[str, ...]:
    record = entry.record
    where = record["host"]
    if record["gpus"] not in (None, *NO_GPU):
        where += f" gpu {record['gpus']}"
    if record["slurm_job"]:
        where += f" (SLURM {record['slurm_job']})"
    found = progress(entry.log, record)
    since = datetime.now(UTC) - datetime.fromisoformat(record["started"])
    step = f"{found.step} {found.unit}".strip()
    ran = str(since).partition(".")[0]
    return entry.name, where, ran, step, found.left, found.loss, _memory(record)


def _memory(record: dict[str, Any]) -> str:
    """Memory that a job on this machine holds now, in MB; empty for other machines."""
    try:
        facts = (
            Path(f"/proc/{record['pid']}/status").read_text(encoding="utf-8")
            if runs_here(record)
            else ""
        )
    except OSError:
        return ""
    held = re.search(r"VmRSS:\s+(\d+) kB", facts)
    return str(int(held[1]) // 1024) if held else ""


def _failure(entry: Entry) -> list[str]:
    """The lines on a failed job: name and reason, message, log."""
    record = entry.record
    gone = entry.state == "gone"
    reason, message = ("gone", GONE) if gone else (record["reason"], record["message"].strip())
    # These jobs were ended from outside, and SLURM knows why.
    if record["slurm_job"] and reason in ("gone", STOPPED, KILLED):
        state = _slurm_state(record["slurm_job"])
        reason = SLURM_REASONS.get(state, reason)
        message += f" (SLURM: {state})" if state else ""
    return [f"  {entry.name}: {reason}", f"    {message}", f"    log: {entry.log}"]


def _slurm_state(job: str) -> str:
    """State of a job in SLURM's queue, or else in SLURM's accounting; empty if unknown."""
    for command in (
        ["squeue", "--states=all", "-h", "-o", "%T", "-j", job],
        ["sacct", "-X", "--noheader", "--format=State", "--jobs", job],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        if done.stdout.strip():
            return done.stdout.split()[0]
    return ""


def times_text(entries: Sequence[Entry]) -> str:
    """A table of all finished jobs: seconds, memory of host and GPU, tokens per second.

    The longest come first. A second table has the sum for each stage. The last line has the sum of
    the times of all jobs, and the time from the first start to the last end.
    """
    head = ("job", "seconds", "RSS MB", "VRAM MB", "tokens/s")
    done = [entry for entry in entries if entry.state == "done"]
    done.sort(key=lambda entry: -entry.record["seconds"])
    table = _table(head, map(_times_row, done))
    if not done:
        return table
    stages: dict[str, list[float]] = {}
    for entry in done:
        stages.setdefault(entry.job.stage, []).append(entry.record["seconds"])
    sums = sorted(stages.items(), key=lambda item: -sum(item[1]))
    rows = [(stage, str(len(took)), f"{sum(took):.1f}") for stage, took in sums]
    table += "\n\n" + _table(("stage", "jobs", "seconds"), rows) + "\n"
    starts = [datetime.fromisoformat(entry.record["started"]) for entry in done]
    ends = [datetime.fromisoformat(entry.record["ended"]) for entry in done]
    work = sum(entry.record["seconds"] for entry in done)
    span = (max(ends) - min(starts)).total_seconds()
    return f"{table}\n{len(done)} jobs: {work:.1f} s of work within {span:.1f} s"


def _times_row(entry: Entry) -> tuple[str, ...]:
    record = entry.record
    seconds = record["seconds"]
    tokens = _tokens(record)
    return (
        entry.name,
        f"{seconds:.1f}",
        str(record["rss_mb"]),
        "" if record["vram_mb"] is None else str(record["vram_mb"]),
        "" if tokens is None else f"{tokens / seconds:.0f}",
    )


def _tokens(record: dict[str, Any]) -> int | None:
    """Tokens that a job sampled; None for a job that does not sample."""
    import pyarrow.parquet as pq

    if record["stage"] != "generate":
        return None
    (path,) = record["outputs"]
    if not Path(path).is_file():
        return None
    return int(pq.read_table(path, columns=["n_tokens"])["n_tokens"].to_numpy().sum())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
