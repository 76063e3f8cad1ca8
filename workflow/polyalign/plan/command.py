"""The shell command of a job: its script, its settings, and its files by name."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyalign.plan import resources
from polyalign.plan.stages import STAGES
from polyalign.runtime.code import short_hash

Files = Mapping[str, str | Sequence[str]]
"""Name of an input or output → its path or paths."""


def shell_command(root: str, stage: str, *, launch: bool = False) -> str:
    """The command of a stage, with Snakemake's fields for what differs between jobs.

    One thread per job unless a profile's `set-threads` says otherwise: jobs run side by side, and
    sums in another order would be other numbers on a machine with other cores. Rayon's are the
    threads of the tokenizers. If the script fails, its exit status says whether a signal killed it.

    Args:
        root: path of the checkout, from the working folder.
        stage: the stage.
        launch: whether the job trains on several GPUs where it is asked to.
    """
    python = "{params.launcher}" if launch else started_with(STAGES[stage].libraries)
    script = shlex.quote(f"{root}/workflow/scripts/{STAGES[stage].script}.py")
    return (
        "RAYON_NUM_THREADS={threads} OMP_NUM_THREADS={threads}"
        f" {python} {script}"
        " --settings {params.told:q} {params.files} --log {log:q}"
        " || python -m polyalign.runtime.exit_status $? {log:q}"
    )


def started_with(libraries: str) -> str:
    """What runs a script whose libraries are imported already where that can be."""
    return f"python -m polyalign.runtime.preloaded {libraries}"


def arguments(
    inputs: Files,
    outputs: Files,
    asked: Mapping[str, Any],
    *,
    work: str = "",
    made_from: str = "",
    untracked: str = "",
) -> str:
    """A job's files by name, and how often and on what it runs, as its script takes them.

    Args:
        inputs: its inputs.
        outputs: its outputs.
        asked: its resources. A profile that retries sets `attempt`: the job then knows that it was
            tried before. It also records how many of the GPUs that were asked for it held.
        work: folder that outlives a failed job, for checkpoints or scores.
        untracked: settings, as JSON, that are no reason to run again; they join the tracked ones.
        made_from: text of the settings and code that checkpoints belong to; others are not used.
    """
    gpus, attempt = int(asked.get("gpu") or 0), int(asked.get("attempt", 1))
    parts = [f"--input {' '.join(_tokens(inputs))} --output {' '.join(_tokens(outputs))}"]
    parts += [f"--gpus {gpus}"] if gpus else []
    parts += [f"--attempt {attempt}"] if attempt > 1 else []
    parts += [f"--work {work}"] if work else []
    parts += [f"--made-from {short_hash(made_from)}"] if made_from else []
    parts += [f"--untracked {shlex.quote(untracked)}"] if untracked else []
    return " ".join(parts)


def launcher(asked: Mapping[str, Any]) -> str:
    """How a training starts on the GPUs of its `gpu` resource, on `nodes` nodes.

    Raises:
        InputError: as `polyalign.plan.resources.launcher`.
    """
    gpus, nodes = int(asked.get("gpu") or 0), int(asked.get("nodes") or 1)
    return resources.launcher(gpus, nodes, asked.get("mpi")) or started_with("training")


def one_of(names: Sequence[str]) -> str:
    """Pattern of a wildcard that is one of some names."""
    return "|".join(map(re.escape, names))


def text_hash(folder: str | Path, *patterns: str) -> str:
    """Hash of the texts of the files below a folder that match, whatever their order."""
    files = {file for pattern in patterns for file in Path(folder).glob(pattern)}
    return short_hash("".join(file.read_text(encoding="utf-8") for file in sorted(files)))


def _tokens(named: Files) -> Iterator[str]:
    for name, paths in named.items():
        for path in [paths] if isinstance(paths, str) else paths:
            yield shlex.quote(f"{name}={path}")


def text_of(path: str) -> str:
    """The text of a small file, for the report's first page; empty where it is not there yet."""
    file = Path(path)
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""
