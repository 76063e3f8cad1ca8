"""Start a job from a process that has imported its libraries already.

    python -m polyalign.runtime.preloaded LIBRARIES SCRIPT …

To import torch, transformers and trl takes 4 to 10 s of CPU time, and a small study has a hundred
jobs. So the jobs that one workflow runs on its own machine share one server per set of libraries
(`polyalign.runtime.job_server`). It imports them once, and forks a process for each job, which runs
the job's script. This module asks the server for it, passes on signals, and ends as the job ends.

It runs the script in a new process, as `python SCRIPT …`, where a fork could differ from that: if a
scheduler such as SLURM runs the job, on other systems than Linux, or if the server refuses.
"""

import atexit
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

WORKFLOW = "POLYALIGN_WORKFLOW"
"""Environment variable: number of the process whose jobs share servers."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What a job hears of: a caller or a terminal that wants it to end."""

REFUSED = 2**31 - 1
"""Instead of an exit status: the server cannot run this job."""

SIZE = 4
"""Bytes of the length of a request, and of an exit status."""

PATIENCE = 120.0
"""Seconds for a server to import its libraries on a busy machine."""


def announce(environment: MutableMapping[str, str]) -> None:
    """Let the jobs of this process, a workflow, share servers, unless a scheduler runs them.

    Args:
        environment: the variables that its jobs get.
    """
    environment.pop(WORKFLOW, None)
    if sys.platform == "linux" and "SLURM_JOB_ID" not in environment:
        environment[WORKFLOW] = str(os.getpid())
        atexit.register(shutil.rmtree, folder_of(os.getpid()), ignore_errors=True)


def main(arguments: list[str]) -> None:
    """Run a script, with its arguments, and exit as it does.

    Args:
        arguments: the set of libraries, the script, and its own arguments.
    """
    libraries, *command = arguments
    status = _in_server(libraries, command)
    if status is None:
        os.execv(sys.executable, [sys.executable, *command])
    if status < 0:  # a signal killed the job
        os.kill(os.getpid(), -status)
    sys.exit(status)


def _in_server(libraries: str, command: list[str]) -> int | None:
    """Exit status of a script that a server ran, negative for a signal; None if none could."""
    if WORKFLOW not in os.environ:
        return None
    try:
        connection = _connect(_folder(), libraries)
    except OSError:
        return None
    if connection is None:
        return None
    with connection:
        request = {
            "command": command,
            "folder": os.getcwd(),
            "environment": dict(os.environ),
        }
        text = json.dumps(request).encode()
        socket.send_fds(connection, [len(text).to_bytes(SIZE, "big")], [1, 2])
        connection.sendall(text)
        for number in SIGNALS:
            signal.signal(number, lambda number, frame: connection.sendall(bytes([number])))
        answer = connection.recv(SIZE, socket.MSG_WAITALL)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if len(answer) < SIZE:
        sys.exit("error: the process that jobs are started from was killed, and this job with it")
    status = int.from_bytes(answer, "big", signed=True)
    return None if status == REFUSED else status


def folder_of(workflow: int) -> Path:
    """The folder of the servers of this user's workflow with that process number."""
    return Path(tempfile.gettempdir()) / f"polyalign-{os.getuid()}-{workflow}"


def _folder() -> Path:
    """The folder of the servers of this job's workflow, for this user alone."""
    folder = folder_of(int(os.environ[WORKFLOW]))
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


def _connect(folder: Path, libraries: str) -> socket.socket | None:
    """A connection to the server of these libraries, which is started if there is none."""
    address = folder / libraries
    with (folder / f"{libraries}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of the first jobs starts the server, others wait
        found = _open(address)
        if found is not None or (folder / f"{libraries}.log").exists():
            return found  # None: the server was started, and has ended
        with (folder / f"{libraries}.log").open("w") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "polyalign.runtime.job_server", libraries, address],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while found is None and server.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
            found = _open(address)
        return found


def _open(address: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError, ConnectionRefusedError):
        connection.connect(str(address))
        return connection
    connection.close()
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
