"""Separate GPUs for each local job: several jobs at once on a machine with several GPUs.

A scheduler such as SLURM assigns GPUs to a job; Snakemake's local executor only counts them. So a
job locks one file per GPU, and sees no other GPU. The system frees a lock when the process ends,
however it ends.

A training on several GPUs is started by a launcher, which has one process per GPU. There the GPUs
are locked for all of them by calling the launcher through this module:

    python -m polyalign.runtime.devices N COMMAND…
"""

import fcntl
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from polyalign.errors import InputError
from polyalign.runtime import job_record

VISIBLE = "CUDA_VISIBLE_DEVICES"

PAUSE = 0.5
"""Seconds until a job that waits for a free GPU looks again."""


def claim(count: int, dev: Path = Path("/dev")) -> list[str]:
    """Reserve GPUs for this process and those that it forks, and hide the others from it.

    Waits until enough of them are free. Must run before CUDA starts in this process. On a machine
    with fewer than two GPUs, or if a scheduler assigned fewer than two, there is nothing to choose.
    In a process that a launcher started, the launcher has already reserved them.

    Args:
        count: how many; with 0 nothing happens.
        dev: the folder of the device files.

    Returns:
        The names of the GPUs, as in `CUDA_VISIBLE_DEVICES`; empty if nothing was reserved.

    Raises:
        InputError: if there are fewer GPUs than that.
    """
    names = _devices(dev)
    if count < 1 or len(names) < 2 or "LOCAL_RANK" in os.environ:
        return []
    if count > len(names):
        raise InputError(
            f"this job asks for {count} GPUs, and there are {len(names)} here; expected at least "
            "as many GPUs as a job asks for: lower `gpu` in set-resources"
        )
    folder = _folder()
    said = False
    while True:
        # One at a time chooses, or two jobs would each hold a part of what both need.
        choice = _open(folder / "choice")
        fcntl.flock(choice, fcntl.LOCK_EX)
        held = _lock_free(folder, names, count)
        os.close(choice)
        if held:
            os.environ[VISIBLE] = ",".join(held)
            return held
        if not said:
            print(f"waits until {count} of the GPUs {', '.join(names)} are free", flush=True)
            said = True
        time.sleep(PAUSE)


def _devices(dev: Path) -> list[str]:
    """The GPUs that this process may use: those that it was given, or else all of the machine."""
    given = os.environ.get(VISIBLE)
    if given is not None:
        return [] if given in job_record.NO_GPU else given.split(",")
    files = [file for file in dev.glob("nvidia*") if re.fullmatch(r"nvidia\d+", file.name)]
    return [str(number) for number in range(len(files))]


def _folder() -> Path:
    """The folder of the locks: one per machine for all users, or one per SLURM allocation."""
    allocation = os.environ.get("SLURM_JOB_ID")
    name = f"polyalign-gpus-{allocation}" if allocation else "polyalign-gpus"
    folder = Path(tempfile.gettempdir()) / name
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)  # jobs of other users lock the same files
    return folder


def _lock_free(folder: Path, names: list[str], count: int) -> list[str]:
    """Lock the first GPUs that no job holds; none of them if there are too few.

    The locks stay open until this process ends, and in the processes that it forks.
    """
    locks: dict[str, int] = {}
    for name in names:
        lock = _open(folder / re.sub(r"[^\w-]", "_", name))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        locks[name] = lock
        if len(locks) == count:
            for taken in locks.values():
                os.set_inheritable(taken, True)
            return list(locks)
    for lock in locks.values():
        os.close(lock)
    return []


def _open(path: Path) -> int:
    """Open a file to lock it; a file of another user can only be read."""
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)


def main(arguments: list[str]) -> None:
    """Reserve GPUs, and become the launcher of a training, which holds them.

    Args:
        arguments: the number of GPUs, and the command of the launcher and the training.
    """
    count, command = int(arguments[0]), arguments[1:]
    if "--log" in command:  # an orphan that holds the GPUs would be waited for
        log = Path(command[command.index("--log") + 1])
        job_record.end_orphan(job_record.read_record(job_record.record_path(log)))
    try:
        claim(count)
    except InputError as error:
        sys.exit(f"error: {error}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
