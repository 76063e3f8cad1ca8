"""What every script of the workflow shares: its command line, its log, and how it fails.

A script is called as `python SCRIPT.py --settings JSON --input NAME=PATH … --output NAME=PATH …`
and hands `run` a function of a `Job`.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyalign.errors import InputError


@dataclass(frozen=True)
class Job:
    """One job: its settings and its files by name.

    Attributes:
        settings: everything from the config that this job depends on.
        inputs: name → paths.
        outputs: name → path.
        work: folder for checkpoints or caches, kept when the job fails; None if the stage has none.
    """

    settings: dict[str, Any]
    inputs: dict[str, list[Path]]
    outputs: dict[str, Path]
    work: Path | None

    def input(self, name: str) -> Path:
        """The one input of that name."""
        (path,) = self.inputs[name]
        return path


def is_main_process() -> bool:
    """Whether this process writes the results; a launcher that starts several numbers them."""
    return os.environ.get("RANK", "0") == "0"


def _paths(tokens: list[str]) -> dict[str, list[Path]]:
    paths: dict[str, list[Path]] = {}
    for token in tokens:
        name, _, path = token.partition("=")
        paths.setdefault(name, []).append(Path(path))
    return paths


def run(main: Callable[[Job], None]) -> None:
    """Parse the command line, redirect all output to the log, call `main`, and exit.

    Bad input is one line on standard error and in the log, with exit status 2. Any other fault
    leaves its traceback in the log and its last line on standard error, with exit status 1.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--settings", type=json.loads, default={}, help="settings, as JSON")
    parser.add_argument("--input", nargs="*", default=[], metavar="NAME=PATH")
    parser.add_argument("--output", nargs="*", default=[], metavar="NAME=PATH")
    parser.add_argument("--work", type=Path, help="folder for checkpoints, kept on failure")
    parser.add_argument("--log", type=Path, help="file for everything that is printed")
    arguments = parser.parse_args()
    terminal = os.fdopen(os.dup(2), "w")
    if arguments.log:
        arguments.log.parent.mkdir(parents=True, exist_ok=True)
        fresh = os.O_TRUNC if is_main_process() else 0
        log = os.open(arguments.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | fresh)
        os.dup2(log, 1)
        os.dup2(log, 2)
    outputs = {name: paths[0] for name, paths in _paths(arguments.output).items()}
    job = Job(arguments.settings, _paths(arguments.input), outputs, arguments.work)
    try:
        main(job)
    except InputError as fault:
        for stream in {sys.stderr, terminal}:
            print(f"error: {fault}", file=stream, flush=True)
        sys.exit(2)
    except Exception as fault:
        traceback.print_exc()
        print(f"error: {type(fault).__name__}: {fault}", file=terminal, flush=True)
        sys.exit(1)
