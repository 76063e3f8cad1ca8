"""Runs Snakemake for the tests, each time in a new process that has imported Snakemake already.

Half of the time of a dry run is the import of Snakemake and of the packages that the plan uses.
This server imports them once and forks for each run. It never imports the project's own library:
each run takes it from the checkout that it works in. A request is one line of standard input, as
JSON; the exit status of its run is one line of standard output.
"""

import gc
import json
import os
import sys
from importlib import import_module

# What a dry run imports, but the project's library.
IMPORTS = (
    *("snakemake.cli", "snakemake.report", "snakemake.executors.local", "snakemake.linting"),
    *("snakemake_executor_plugin_slurm", "smart_open", "pandas", "pydantic", "yaml"),
)


def begin(request: dict[str, object]) -> None:
    """Make this process one that was started with `python -m snakemake` for a request."""
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[arg-type]
    os.chdir(request["folder"])  # type: ignore[arg-type]
    sys.path[0] = str(request["folder"])
    sys.argv = ["snakemake", *request["arguments"]]  # type: ignore[misc]
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(str(request["output"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for new, old in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(new, old)
        os.set_inheritable(old, True)


def serve() -> None:
    """Answer requests until there are no more; returns in each forked process as well."""
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            begin(json.loads(line))
            return import_module("snakemake.cli").main()
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


if __name__ == "__main__":
    for name in IMPORTS:
        import_module(name)
    assert not any(name.partition(".")[0] == "polyalign" for name in sys.modules)
    gc.freeze()
    gc.set_threshold(10_000)
    serve()
