"""The app as a process of its own, for tests that look at it from outside."""

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def served(arguments: Sequence[str], *, cwd: str | None = None) -> Iterator[str]:
    """`polyalign app` with some arguments; yields its address, and ends it by SIGTERM.

    Raises:
        AssertionError: if it does not start, or does not end with status 0.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "polyalign", "app", *arguments, "--port", port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line.startswith("polyalign app: http://127.0.0.1:"), line
            yield line.split()[2].rstrip("/")
        finally:
            process.terminate()
            process.communicate()
    assert process.returncode == 0
