"""How a job ended that did not report it: this module notes the signal that killed it.

The shell command of every job calls it if the job's script fails:

    python SCRIPT … --log LOG || python -m polyalign.runtime.exit_status $? LOG
"""

import signal
import sys
from contextlib import suppress
from pathlib import Path

from polyalign.runtime import job_record

SHELL = 128
"""The shell reports a program that signal N killed as exit status 128 + N."""


def main(arguments: list[str]) -> int:
    """Complete the record of a job that did not do so itself; returns the job's exit status.

    Args:
        arguments: the exit status of the job's script, and the path of its log.
    """
    status, log = int(arguments[0]), Path(arguments[1])
    number = status - SHELL if status > SHELL else None
    path = job_record.record_path(log)
    record = job_record.read_record(path)
    if job_record.has_reported(record, number):
        return status
    message = _message(status, number)
    if record is None or not job_record.runs_here(record):  # else it is the record of an orphan
        job_record.write_record(path, job_record.killed(record, message))
    line = f"error: {message}; log: {log}"
    print(line, file=sys.stderr)
    with suppress(OSError), log.open("a", encoding="utf-8") as stream:
        stream.write(f"{line}\n")
    return status


def _message(status: int, number: int | None) -> str:
    if number is None:
        return f"exited with status {status} without reporting an error"
    hint = "; the system does this when memory runs out" if number == signal.SIGKILL else ""
    return f"killed by signal {number} ({job_record.signal_name(number)}{hint})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
