"""What every script of the workflow shares: its command line, its log, and how it fails.

A script is called as `python SCRIPT.py --settings JSON --input NAME=PATH … --output NAME=PATH …`
and hands `run` a function of a `Job`.
"""

import argparse
import gc
import io
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyalign.errors import InputError
from polyalign.runtime import devices, job_record
from polyalign.runtime.code import canonical, short_hash
from polyalign.runtime.files import clear_scratch, sha256

# Imports make many objects that stay. Looking for garbage among them after every 700 new objects
# takes a sixth of the time until a job with a model starts to work.
gc.set_threshold(10_000)


@dataclass(frozen=True)
class Job:
    """One job: its settings and its files by name.

    Attributes:
        settings: everything from the config that this job depends on.
        inputs: name → paths.
        outputs: name → path.
        work: folder for checkpoints or caches, kept when the job fails; None if the stage has none.
        microbatch_factor: factor by which a training divides its micro-batches, since earlier
            attempts ran out of GPU memory.
    """

    settings: dict[str, Any]
    inputs: dict[str, list[Path]]
    outputs: dict[str, Path]
    work: Path | None
    microbatch_factor: int = 1

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


def run(main: Callable[..., None]) -> None:
    """Parse the command line, redirect all output to the log, call `main`, and exit.

    `main` takes the job, and its settings as keywords.

    Bad input is one line on standard error and in the log, with exit status 2. Any other error
    leaves its traceback in the log and its last line on standard error, with exit status 1.
    The record beside the log says how the job goes (polyalign.runtime.job_record).
    """
    arguments = _arguments()
    # The terminal may not be able to show every character; a log is UTF-8 in every locale.
    terminal = os.fdopen(os.dup(2), "w", errors="backslashreplace")
    if arguments.log:
        _redirect(arguments.log)
    outputs = {name: paths[0] for name, paths in _paths(arguments.output).items()}
    try:
        settings = json.loads(arguments.settings) | json.loads(arguments.untracked)
        factor = _microbatch_factor(arguments)
        job = Job(settings, _paths(arguments.input), outputs, _work(arguments), factor)
        with _recorded(arguments, job):
            main(job, **settings)
        # Or Python looks for garbage in all modules when it exits: 1 s in a job with a model.
        gc.freeze()
    except InputError as error:
        for stream in {sys.stderr, terminal}:
            print(f"error: {error}", file=stream, flush=True)
        sys.exit(2)
    except Exception as error:
        traceback.print_exc()
        print(f"error: {type(error).__name__}: {error}", file=terminal, flush=True)
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--settings", default="{}", help="settings, as JSON")
    parser.add_argument("--untracked", default="{}", help="more settings, as JSON")
    parser.add_argument("--input", nargs="*", default=[], metavar="NAME=PATH")
    parser.add_argument("--output", nargs="*", default=[], metavar="NAME=PATH")
    parser.add_argument("--work", type=Path, help="folder for checkpoints, kept on failure")
    parser.add_argument("--made-from", help="hash of the settings and code of checkpoints")
    parser.add_argument("--log", type=Path, help="file for everything that is printed")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs that the workflow asked for")
    parser.add_argument("--attempt", type=int, default=1, help="2 when the workflow tries again")
    return parser.parse_args()


def _work(arguments: argparse.Namespace) -> Path | None:
    """The work folder; with `--made-from` the one below it for what this job is made from.

    So a job never continues from checkpoints of other settings, inputs (by content) or code. Which
    settings count is the plan's to say: another batch size of a value gives the same model.
    """
    if arguments.work is None or arguments.made_from is None:
        return arguments.work
    inputs = [(name, _hashes(paths)) for name, paths in _paths(arguments.input).items()]
    made_from = canonical([arguments.made_from, sorted(inputs)])
    work: Path = arguments.work / short_hash(made_from)
    if is_main_process() and not work.exists() and any(arguments.work.glob("*")):
        print(f"{arguments.work}: checkpoints of other settings, inputs or code; training restarts")
    return work


def _hashes(paths: list[Path]) -> list[str]:
    """Content of inputs; a model folder counts by the manifest that is an input beside it."""
    return [sha256(path) for path in paths if path.with_name(f"{path.name}.json") not in paths]


def _redirect(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = os.O_TRUNC if is_main_process() else 0
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | begin)
    os.dup2(file, 1)
    os.dup2(file, 2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")


def _microbatch_factor(arguments: argparse.Namespace) -> int:
    """`Job.microbatch_factor`, by the record of the attempt before."""
    if arguments.log is None:
        return 1
    key = job_record.job_key(arguments.settings, arguments.input)
    before = job_record.read_record(job_record.record_path(arguments.log))
    return job_record.microbatch_factor(before, arguments.attempt, key)


@contextmanager
def _recorded(arguments: argparse.Namespace, job: Job) -> Iterator[None]:
    """Keep the job's record while the block runs, and its checkpoints until it has succeeded."""
    if arguments.log is None or not is_main_process():
        yield
        return
    path = job_record.record_path(arguments.log)
    key = job_record.job_key(arguments.settings, arguments.input)
    before = job_record.read_record(path)
    job_record.refuse_again(before, arguments.attempt, key)
    job_record.end_orphan(before)
    devices.claim(arguments.gpus)
    outputs = job.outputs.values()
    for output in outputs:
        clear_scratch(output)
    stage = Path(sys.argv[0]).stem
    record = job_record.started(
        stage, arguments.attempt, key, outputs, job.work, arguments.gpus, job.microbatch_factor
    )

    def stopped(number: int, frame: Any) -> None:
        if os.getpid() == record["pid"]:  # a worker that the job forked has this handler too
            error = RuntimeError(f"stopped by {job_record.signal_name(number)}")
            job_record.write_record(path, job_record.ended(record, error, job_record.STOPPED))
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopped)
    job_record.write_record(path, record)
    try:
        yield
    except Exception as error:
        job_record.write_record(path, job_record.ended(record, error))
        raise
    if arguments.made_from is not None:
        shutil.rmtree(arguments.work, ignore_errors=True)
    job_record.write_record(path, job_record.ended(record))
