"""The server that `polyalign.runtime.preloaded` asks for processes: it imports, and it forks.

It imports libraries alone, never this project's modules for good: each job imports them anew, as
they are on the disk when it starts. Nothing but imports happens before a fork, so that a job finds
what it would find in a process of its own. The server checks that: it serves nobody if an import
started a thread or the driver of a GPU, for neither outlives a fork, and it refuses a job whose
environment variables differ from its own, since libraries read some of them when they are imported.
"""

import gc
import json
import multiprocessing
import os
import runpy
import selectors
import shutil
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from polyalign.runtime.preloaded import REFUSED, SIZE, WORKFLOW

TABLES = (
    "pandas",
    "pyarrow.parquet",
    "pyarrow.dataset",
    # pydantic imports most of itself only when a model of its is defined: a third of a small job.
    "pydantic.json_schema",
    "pydantic.main",
    "pydantic.fields",
    "pydantic.types",
    "pydantic.functional_validators",
)
MODELS = (
    *TABLES,
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    # What all models are made of, which the above imports only when a model is loaded.
    "transformers.modeling_utils",
    "transformers.modeling_layers",
    "transformers.generation.utils",
)
LIBRARIES: dict[str, tuple[str, ...]] = {
    "light": (*TABLES, "scipy.optimize", "scipy.stats", "matplotlib.pyplot"),
    "models": MODELS,
    "training": (
        *MODELS,
        "scipy.stats",
        "trl.trainer.dpo_trainer",
        "trl.trainer.reward_trainer",
    ),
}
"""What the server of each set imports."""

UNREAD = {"PWD", "OLDPWD", "SHLVL", "_"}
"""Environment variables that a shell changes from job to job; no library reads them."""

ALLOCATOR = "jemalloc_bg_thd"
"""Thread of pyarrow's allocator, which starts its own again in a forked process."""

PATIENCE = 10.0
"""Seconds from SIGTERM to SIGKILL for a job whose caller is gone."""


@dataclass
class Child:
    """A forked job: its process, the caller that waits for it, and when to kill it, if ever."""

    process: multiprocessing.process.BaseProcess
    caller: socket.socket
    deadline: float = float("inf")


def main(arguments: list[str]) -> None:
    """Import, then serve until the workflow has ended.

    Args:
        arguments: name of a set of libraries, and the path of the socket to listen at.
    """
    libraries, address = arguments[0], Path(arguments[1])
    workflow = os.pidfd_open(int(os.environ[WORKFLOW]))
    environment = _read(dict(os.environ))  # imports may add to it
    for name in LIBRARIES[libraries]:
        import_module(name)
    if why := unfit():
        sys.exit(f"serves nobody: {why}")
    gc.collect()
    gc.freeze()  # or collections would copy the pages that the children share
    draft = address.with_suffix(".new")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(draft))
    listener.listen(128)
    draft.rename(address)
    try:
        Server(listener, workflow, environment).serve()
    finally:
        if multiprocessing.parent_process() is None:
            shutil.rmtree(address.parent, ignore_errors=True)


def unfit() -> str:
    """Why a process that was forked from this one would not be as good as a new one; or empty."""
    names = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    if len(names) > 1 + names.count(ALLOCATOR):
        return f"its imports started threads: {', '.join(sorted(names))}"
    if "libcuda.so" in Path("/proc/self/maps").read_text(encoding="utf-8"):
        return "its imports started the driver of the GPU"
    return ""


class Server:
    """Forks for each request, and tells each caller how its job ended."""

    def __init__(self, listener: socket.socket, workflow: int, environment: dict[str, str]) -> None:
        self.listener = listener
        self.environment = environment
        self.children: dict[int, Child] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        self.selector.register(workflow, selectors.EVENT_READ, self.close)
        self.open = True

    def serve(self) -> None:
        """Until the workflow has ended, and the last of its jobs."""
        while self.open or self.children:
            ready = self.selector.select(timeout=1.0)
            for key, _ in ready:
                key.data(key.fileobj)
            for child in self.children.values():
                if time.monotonic() > child.deadline:
                    child.process.kill()

    def close(self, workflow: int) -> None:
        """The workflow has ended."""
        self.selector.unregister(workflow)
        self.selector.unregister(self.listener)
        self.open = False

    def accept(self, listener: socket.socket) -> None:
        """Fork for a caller."""
        caller, _ = listener.accept()
        head, descriptors, _, _ = socket.recv_fds(caller, SIZE, 2)
        text = caller.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        request = json.loads(text)
        if _read(request["environment"]) != self.environment:
            caller.sendall(REFUSED.to_bytes(SIZE, "big"))
            caller.close()
        else:
            process = multiprocessing.get_context("fork").Process(
                target=self.begin, args=(request, descriptors, caller)
            )
            process.start()
            assert process.pid is not None
            ended = os.pidfd_open(process.pid)
            self.children[ended] = Child(process, caller)
            self.selector.register(ended, selectors.EVENT_READ, self.report)
            self.selector.register(caller, selectors.EVENT_READ, self.pass_on)
        for descriptor in descriptors:
            os.close(descriptor)

    def report(self, ended: int) -> None:
        """Tell the caller of a process that has ended how it did."""
        child = self.children.pop(ended)
        child.process.join()
        status = child.process.exitcode or 0
        with suppress(OSError):
            child.caller.sendall(status.to_bytes(SIZE, "big", signed=True))
        for used in (ended, child.caller):
            with suppress(KeyError):
                self.selector.unregister(used)
        os.close(ended)
        child.caller.close()

    def pass_on(self, caller: socket.socket) -> None:
        """Send the child the signals that its caller got; end it if the caller is gone."""
        (child,) = (child for child in self.children.values() if child.caller is caller)
        numbers = caller.recv(16)
        for number in numbers:
            os.kill(child.process.pid or 0, number)
        if not numbers:
            self.selector.unregister(caller)
            child.process.terminate()
            child.deadline = time.monotonic() + PATIENCE

    def begin(self, request: dict[str, Any], descriptors: list[int], caller: socket.socket) -> None:
        """In the child: become a process started as `python SCRIPT …`, without standard input."""
        self.selector.close()
        self.listener.close()
        caller.close()
        for child in self.children.values():
            child.caller.close()
        for new, old in zip(descriptors, (1, 2), strict=True):
            os.dup2(new, old)
            os.close(new)
        os.chdir(request["folder"])
        os.environ.update(request["environment"])
        sys.argv = request["command"]
        script = sys.argv[0]
        sys.path[0] = str(Path(script).parent)
        for name in [name for name in sys.modules if name.partition(".")[0] == "polyalign"]:
            del sys.modules[name]
        runpy.run_path(script, run_name="__main__")


def _read(environment: dict[str, str]) -> dict[str, str]:
    """The variables that a library may have read."""
    return {name: text for name, text in environment.items() if name not in UNREAD}


if __name__ == "__main__":
    main(sys.argv[1:])
