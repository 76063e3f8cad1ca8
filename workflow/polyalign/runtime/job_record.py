"""The record of a job: one small JSON file beside its log that says how the job goes.

A job writes it when it starts and when it ends, whole or not at all; `polyalign status` reads it.
A job also reads the record that an earlier job left: it ends an orphan (an earlier job for the
same files that still runs), and repeats the failure of an earlier attempt at once if a retry cannot
help.
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
FIELDS = ("state", "host", "pid", "process_start", "slurm_job", "started")
NO_GPU = ("", "-1", "NoDevFiles")
"""Values of `CUDA_VISIBLE_DEVICES` without any GPU; the last one is SLURM's."""

GPU_MEMORY = "GPU memory"
"""Failure reason after which a retry uses smaller micro-batches."""

STOPPED, KILLED = "stopped", "killed"
"""Failure reasons of a job that a signal ended: it could report that itself, or it could not."""

WAIT = 60.0
"""Seconds to wait for an orphan to exit before it is killed."""

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
BUGS = (ArithmeticError, AttributeError, ImportError, LookupError, NameError, TypeError)
"""Errors that every retry meets again; NaN in a training is an ArithmeticError."""


def record_path(log: Path) -> Path:
    """The file of the record of the job with this log."""
    return log.with_suffix(".json")


def read_record(path: Path) -> dict[str, Any] | None:
    """The record in a file; None if there is none, it is incomplete, or the file is another one."""
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
    microbatch_factor: int = 1,
) -> dict[str, Any]:
    """The record of a job that starts now in this process.

    Args:
        stage: name of the script.
        attempt: 1, or more when the workflow tries again.
        key: `job_key` of the job.
        outputs: the files that the job writes.
        work: the folder of its checkpoints, if it keeps any.
        gpus_asked: GPUs that the workflow asked for.
        microbatch_factor: as the function `microbatch_factor` returns it.
    """
    return {
        "stage": stage,
        "state": "running",
        "attempt": attempt,
        "key": key,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_start": process_start(os.getpid()),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "gpus_asked": gpus_asked,
        "microbatch_factor": microbatch_factor,
        "started": _now(),
        "outputs": [str(path) for path in outputs],
        "work": str(work) if work else None,
    }


def ended(
    record: dict[str, Any], error: BaseException | None = None, reason: str | None = None
) -> dict[str, Any]:
    """The record of a job that ends now: what it took, the GPUs that it held, why it failed.

    Time by the clock counts from the start of the process, imports included. CPU time is that of
    this process and of those that it started and that have ended.

    Args:
        record: as `started` returned it.
        error: what it failed with; None if it succeeded.
        reason: why it failed, where `failure_reason` cannot tell.
    """
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    record = record | {
        "state": "done" if error is None else "failed",
        "ended": _now(),
        "seconds": round(_seconds(record), 1),
        "cpu_seconds": round(sum(one.ru_utime + one.ru_stime for one in used), 1),
        "rss_mb": round(max(one.ru_maxrss for one in used) / 1024),
        "vram_mb": _vram_mb(),
        "gpus_held": min(record["gpus_asked"], _gpus_there()),
    }
    if error is not None:
        message = (
            str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        )
        record |= {
            "reason": reason or failure_reason(error),
            "message": message,
            "retryable": not isinstance(error, (InputError, *BUGS)),
        }
    return record


def killed(record: dict[str, Any] | None, message: str) -> dict[str, Any]:
    """The record of a job that exited without reporting it.

    Args:
        record: what the job wrote when it started; if that is not a record of a running job, the
            job exited before it could write one.
        message: how it ended.
    """
    if record is None or record["state"] != "running":
        record = started("", 1, "", [], None)
    failed = {"state": "failed", "ended": _now(), "reason": KILLED}
    return record | failed | {"message": message, "retryable": True}


def has_reported(record: dict[str, Any] | None, number: int | None) -> bool:
    """Whether a job that failed needs no `killed`.

    Args:
        record: the record of the job; maybe that of an earlier job, since an error can come before
            a job writes its own.
        number: the signal that ended it; None if it exited by itself.
    """
    if number is None:
        return record is None or record["state"] != "running"
    return (
        record is not None
        and record["state"] == "failed"
        and record["reason"] == STOPPED
        and signal_name(number) in record["message"]
    )


def signal_name(number: int) -> str:
    """Name of a signal, such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def failure_reason(error: BaseException) -> str:
    """Why a job failed: input, memory, GPU memory, disk, not a number, error."""
    if isinstance(error, InputError):
        return "input"
    if type(error).__name__ == "OutOfMemoryError":  # of torch, which need not be installed
        return GPU_MEMORY
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError) and error.errno in DISK:
        return "disk"
    return "not a number" if isinstance(error, ArithmeticError) else "error"


def job_key(settings: str, files: Iterable[str]) -> str:
    """Hash of all that decides whether a job fails: settings, files, and the library's code.

    Files and code count by name, size and time of change, so a corrected input or module gives
    another key.
    """
    digest = hashlib.sha256(settings.encode())
    code = [*LIBRARY.glob("scripts/*.py"), *LIBRARY.glob("polyalign/**/*.py")]
    for name in [*sorted(files), *sorted(map(str, code))]:
        path = Path(name.partition("=")[2] or name)
        facts = path.stat() if path.exists() else None
        digest.update(f"{name} {facts and (facts.st_size, facts.st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:12]


def refuse_again(record: dict[str, Any] | None, attempt: int, key: str) -> None:
    """Refuse a retry that must fail as the attempt before did, since nothing has changed since.

    The first attempt of a workflow is never refused.

    Raises:
        InputError: with the message of the attempt before.
    """
    if record is None or attempt == 1 or record.get("key") != key or record.get("retryable", True):
        return
    raise InputError(f"{record['message']} (not tried again: attempt {record['attempt']})")


def microbatch_factor(record: dict[str, Any] | None, attempt: int, key: str) -> int:
    """Factor by which an attempt divides a training's micro-batches.

    Twice that of the attempt before if it ran out of GPU memory; the same if it failed for another
    reason, such as a lost node. 1 for the first attempt of a workflow.
    """
    if record is None or attempt == 1 or record.get("key") != key:
        return 1
    before = int(record.get("microbatch_factor", 1))
    return 2 * before if record.get("reason") == GPU_MEMORY else before


def end_orphan(record: dict[str, Any] | None) -> None:
    """End the job of this record if it still runs: it would write the same files as this one.

    It is left over from a workflow that was killed and whose lock was removed since. Its
    checkpoints stay, and this job continues from the last of them.
    """
    if record is None or record["state"] != "running":
        return
    job = record["slurm_job"]
    # Only jobs that Snakemake submitted: never an allocation that a person works in.
    submitted = (live_slurm_jobs() or {}).get(job, "").startswith("rule_")
    if submitted and job != os.environ.get("SLURM_JOB_ID"):
        print(f"SLURM job {job} of an earlier workflow still runs this job; cancelled", flush=True)
        subprocess.run(["scancel", job], check=False)
        _wait_until(lambda: job not in (live_slurm_jobs() or {}))
    elif runs_here(record) and record["pid"] != os.getpid():
        print(
            f"process {record['pid']} of an earlier workflow still runs this job; ended", flush=True
        )
        for number in (signal.SIGTERM, signal.SIGKILL):
            if runs_here(record):
                os.kill(record["pid"], number)
                _wait_until(lambda: not runs_here(record))


def live_slurm_jobs() -> dict[str, str] | None:
    """The user's SLURM jobs that wait, run or are about to end, with their comments.

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
    """Whether the process that wrote a record runs on this machine."""
    return is_of_here(record) and record["process_start"] == process_start(record["pid"])


def is_of_here(record: dict[str, Any]) -> bool:
    """Whether a record was written on this machine."""
    return bool(record["host"] == socket.gethostname())


def process_start(pid: int) -> int | None:
    """When a process of this machine started (clock ticks since boot); None if it does not run.

    Number and start together identify a process, since numbers are used again.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if status[0] == "Z" else int(status[19])


def _seconds(record: dict[str, Any]) -> float:
    """Seconds since the process of a record of this machine started."""
    if record["process_start"] is None:  # no /proc: from when the record was written
        begun = datetime.fromisoformat(record["started"])
        return (datetime.now(UTC) - begun).total_seconds()
    now = float(Path("/proc/uptime").read_text().split()[0])
    return now - float(record["process_start"]) / os.sysconf("SC_CLK_TCK")


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record, or give up: a full disk must not hide why a job failed."""
    try:
        write_json(path, record)
    except OSError as error:
        print(f"cannot write {path}: {error}", file=sys.stderr)


def _wait_until(over: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not over() and time.monotonic() < end:
        time.sleep(0.2)


def _vram_mb() -> int | None:
    """Peak memory that this process held on one of its GPUs; None if it never used one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    devices = range(torch.cuda.device_count())
    return round(max(torch.cuda.max_memory_reserved(device) for device in devices) / 2**20)


def _gpus_there() -> int:
    """GPUs that this job could use, over all its nodes; 0 on a machine without."""
    # torchrun sets the number of all processes, and of those on this node.
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.cuda.device_count()) * nodes
    # A job without torch has the GPUs that its scheduler assigned.
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return 0 if given in NO_GPU else len(given.split(",")) * nodes


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
