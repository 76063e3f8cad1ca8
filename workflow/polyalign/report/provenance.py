"""Where and when a study was made, for the foot of its page."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from polyalign import __version__
from polyalign.runtime.commit import commit
from polyalign.runtime.job_record import read_record


def provenance(results: Path, checkout: Path) -> dict[str, str]:
    """Version, commit, date, machine and time, each in a few words.

    Args:
        results: folder of the study; its jobs left their records below `logs`.
        checkout: folder of the workflow.
    """
    found = {
        "Version": f"polyalign {__version__}",
        "Commit": commit(checkout),
        "Page made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Machine": _machine(),
        "Time": _time(results),
    }
    return {what: said for what, said in found.items() if said}


def _machine() -> str:
    """The machine that made the page."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


def _time(results: Path) -> str:
    """From the start of the first job to the end of the last one, and their sum; empty if unknown.

    A study that was made in several sittings has the time between them in the first number.
    """
    records = [read_record(path) for path in (results / "logs").rglob("*.json")]
    done = [one for one in records if one is not None and one["state"] == "done"]
    if not done:
        return ""
    start = min(datetime.fromisoformat(one["started"]) for one in done)
    end = max(datetime.fromisoformat(one["ended"]) for one in done)
    total = sum(float(one["seconds"]) for one in done)
    on_gpu = sum(1 for one in done if one["gpus_held"])
    hosts = len({one["host"] for one in done})
    return (
        f"{_minutes((end - start).total_seconds())} from the first job to the last "
        f"({start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC), {_minutes(total)} of work in "
        f"{len(done)} jobs on {hosts} machine{'s' if hosts > 1 else ''}, {on_gpu} jobs with a GPU"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"
