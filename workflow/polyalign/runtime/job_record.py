"""The marker of a job: one small JSON file beside its log that says how it goes.

A job writes it when it starts and when it ends, whole or not at all; `polyalign status` reads it.
A job also reads the marker that it finds: it ends a forgotten twin that still runs, and repeats an
earlier attempt's failure at once if trying again cannot mend it.
"""

import errno
import getpass
import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polyalign.errors import InputError
from polyalign.runtime.files import write_json

LIBRARY = Path(__file__).parents[2]
FIELDS = ("state", "host", "pid", "born", "slurm_job", "started")
NO_GPU = ("", "-1", "NoDevFiles")
"""What `CUDA_VISIBLE_DEVICES` is where there is none; the last is SLURM's word."""

GPU_MEMORY = "GPU memory"
"""Why a job failed whose next attempt takes less at once."""

WAIT = 60.0
"""Seconds that a forgotten twin has to end, before it is killed."""

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
BUGS = (ArithmeticError, AttributeError, ImportError, LookupError, NameError, TypeError)
"""Faults that come again however often the job is tried; NaN in a training is ArithmeticError."""


def marker_of(log: Path) -> Path:
    """The marker of the job with this log."""
    return log.with_suffix(".json")


def read_marker(path: Path) -> dict[str, Any] | None:
    """The record in a marker; None if there is none, or none of ours, or only half of one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if isinstance(record, dict) and all(name in record for name in FIELDS):
        return record
    return None


def started(
    stage: str,
    attempt: int,
    key: str,
    outputs: Iterable[Path],
    work: Path | None,
    gpus_asked: int = 0,
    parts: int = 1,
) -> dict[str, Any]:
    """The record of a job that starts now in this process.

    Args:
        stage: name of the script.
        attempt: 1, or more when the workflow tries again.
        key: `job_key` of the job.
        outputs: the files that it makes.
        work: the folder of its checkpoints, if it has one.
        gpus_asked: GPUs that the workflow asked for.
        parts: as in `parts`.
    """
    return {
        "stage": stage,
        "state": "running",
        "attempt": attempt,
        "key": key,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "born": born(os.getpid()),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "gpus_asked": gpus_asked,
        "parts": parts,
        "started": _now(),
        "outputs": [str(path) for path in outputs],
        "work": str(work) if work else None,
    }


def ended(
    record: dict[str, Any], fault: BaseException | None = None, reason: str | None = None
) -> dict[str, Any]:
    """The record of a job that ends now: the GPUs that it held, the most memory, why it failed.

    Args:
        record: as `started` gave it.
        fault: what it failed with; None if it did not.
        reason: why, where `why` cannot tell from the fault.
    """
    begun = datetime.fromisoformat(record["started"])
    record = record | {
        "state": "done" if fault is None else "failed",
        "ended": _now(),
        "seconds": round((datetime.now(UTC) - begun).total_seconds(), 1),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "vram_mb": _vram_mb(),
        "gpus_held": min(record["gpus_asked"], _gpus_there()),
    }
    if fault is not None:
        message = (
            str(fault) if isinstance(fault, InputError) else f"{type(fault).__name__}: {fault}"
        )
        record |= {
            "reason": reason or why(fault),
            "message": message,
            "again": not isinstance(fault, (InputError, *BUGS)),
        }
    return record


def why(fault: BaseException) -> str:
    """Why a job failed: input, memory, GPU memory, disk, not a number, error."""
    if isinstance(fault, InputError):
        return "input"
    if type(fault).__name__ == "OutOfMemoryError":  # torch's, which need not be there
        return GPU_MEMORY
    if isinstance(fault, MemoryError):
        return "memory"
    if isinstance(fault, OSError) and fault.errno in DISK:
        return "disk"
    return "not a number" if isinstance(fault, ArithmeticError) else "error"


def job_key(settings: str, files: Iterable[str]) -> str:
    """Hash of all that decides whether a job fails: settings, files, and the library's code.

    Files and code count by name, size and time of change: a mended input or module is another key.
    """
    digest = hashlib.sha256(settings.encode())
    code = [*LIBRARY.glob("scripts/*.py"), *LIBRARY.glob("polyalign/**/*.py")]
    for name in [*sorted(files), *sorted(map(str, code))]:
        path = Path(name.partition("=")[2] or name)
        facts = path.stat() if path.exists() else None
        digest.update(f"{name} {facts and (facts.st_size, facts.st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:12]


def refuse_again(record: dict[str, Any] | None, attempt: int, key: str) -> None:
    """Raise the failure of the attempt before, if nothing has changed that could mend it.

    The first attempt of a workflow is never refused.
    """
    if record is None or attempt == 1 or record.get("key") != key or record.get("again", True):
        return
    raise InputError(f"{record['message']} (not tried again: attempt {record['attempt']})")


def parts(record: dict[str, Any] | None, attempt: int, key: str) -> int:
    """In how many times more parts than the settings say an attempt computes a training's batch.

    Twice as many as the attempt before, where that ran out of GPU memory; as many as it (a node was
    lost, say) otherwise. The first attempt of a workflow computes as the settings say.
    """
    if record is None or attempt == 1 or record.get("key") != key:
        return 1
    before = int(record.get("parts", 1))
    return 2 * before if record.get("reason") == GPU_MEMORY else before


def end_twin(record: dict[str, Any] | None) -> None:
    """End a job that still makes the same files.

    It is left over from a workflow that was killed and whose lock was removed since. Its
    checkpoints stay, and this job goes on from the last of them.
    """
    if record is None or record["state"] != "running":
        return
    job = record["slurm_job"]
    # Only what Snakemake submitted: an allocation that somebody works in is not ours to end.
    submitted = (live_slurm_jobs() or {}).get(job, "").startswith("rule_")
    if submitted and job != os.environ.get("SLURM_JOB_ID"):
        print(f"SLURM job {job} of an earlier workflow is still at this; cancelled", flush=True)
        subprocess.run(["scancel", job], check=False)
        _wait_until(lambda: job not in (live_slurm_jobs() or {}))
    elif runs_here(record) and record["pid"] != os.getpid():
        print(f"process {record['pid']} of an earlier workflow is still at this; ended", flush=True)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if runs_here(record):
                os.kill(record["pid"], number)
                _wait_until(lambda: not runs_here(record))


def live_slurm_jobs() -> dict[str, str] | None:
    """Own SLURM jobs that wait, run or are about to end, with their comments.

    The comment of a job that Snakemake submitted is `rule_`, the rule or group, and its wildcards.

    Returns:
        number → comment; None where SLURM does not answer.
    """
    command = ["squeue", "--noheader", "--format=%A %k", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    rows = (line.partition(" ") for line in done.stdout.splitlines())
    return {number: comment for number, _, comment in rows}


def runs_here(record: dict[str, Any]) -> bool:
    """Whether the process that wrote a marker runs on this machine."""
    return is_of_here(record) and record["born"] == born(record["pid"])


def is_of_here(record: dict[str, Any]) -> bool:
    """Whether a marker was written on this machine."""
    return bool(record["host"] == socket.gethostname())


def born(pid: int) -> int | None:
    """When a process of this machine started (clock ticks since boot); None if it does not run.

    Number and start together name a process: numbers are used again.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if status[0] == "Z" else int(status[19])


def write_marker(path: Path, record: dict[str, Any]) -> None:
    """Write a marker, or give up: a full disk must not hide what a job died of."""
    try:
        write_json(path, record)
    except OSError as fault:
        print(f"cannot write {path}: {fault}", file=sys.stderr)


def _wait_until(over: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not over() and time.monotonic() < end:
        time.sleep(0.2)


def _vram_mb() -> int | None:
    """Most GPU memory that this process held, over its GPUs; None if it never used one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    devices = range(torch.cuda.device_count())
    return round(max(torch.cuda.max_memory_reserved(device) for device in devices) / 2**20)


def _gpus_there() -> int:
    """GPUs that this job could use, over all its nodes: on a CPU machine none."""
    # torchrun says how many processes there are, and how many of them run on this node.
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.cuda.device_count()) * nodes
    # A job without torch has what its scheduler gave it.
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return 0 if given in NO_GPU else len(given.split(",")) * nodes


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
