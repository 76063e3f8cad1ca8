"""What Snakemake recorded of the job that made a file: the settings and code that it compares.

Snakemake keeps one JSON file per output in `.snakemake/metadata`, named by the base64 code of its
path. Results without these records (copied, or made with another backend) are complete as they are:
then there is nothing to compare with.
"""

import ast
import json
import os
import shlex
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METADATA = Path(".snakemake/metadata")
"""Where Snakemake keeps its records, from the folder that it runs in."""

LONGEST = 255
"""Longest name of a file; Snakemake cuts longer ones into folders."""


@dataclass(frozen=True)
class Record:
    """The record of one file.

    Attributes:
        settings: what was compared of the settings, as canonical JSON; empty if there was nothing.
        code: the code that the job ran, `file=hash` by `file=hash`; empty if there was none.
        command: the shell command of the job.
        inputs: paths of its inputs.
        checksums: input → its checksum, for small files.
        ended: when the file was made (s since 1970).
    """

    settings: str
    code: str
    command: str
    inputs: list[str]
    checksums: dict[str, str]
    ended: float

    @property
    def told(self) -> dict[str, Any]:
        """All settings that the job was told; empty if it was told none."""
        words = shlex.split(self.command)
        if "--settings" not in words:
            return {}
        told: dict[str, Any] = json.loads(words[words.index("--settings") + 1])
        return told


def record_path(path: str) -> Path:
    """Where Snakemake keeps the record of a file."""
    name = urlsafe_b64encode(path.encode()).decode()
    size = LONGEST - 1
    parts = [name[start : start + size] for start in range(0, len(name), size)]
    return METADATA.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])


def read_record(path: str) -> Record | None:
    """The record of a file; None if the file or its record is not there or not whole."""
    if not os.path.exists(path):
        return None
    try:
        found = json.loads(record_path(path).read_text(encoding="utf-8"))
        params = [ast.literal_eval(text) for text in found["params"]]
    except (OSError, ValueError, KeyError, TypeError, SyntaxError):
        return None
    texts = [text for text in params if isinstance(text, str)]
    return Record(
        settings=next((text for text in texts if text.startswith("{")), ""),
        code=next((text for text in texts if text.startswith(("polyalign/", "scripts/"))), ""),
        command=found.get("shellcmd") or "",
        inputs=list(found.get("input") or []),
        checksums=dict(found.get("input_checksums") or {}),
        ended=float(found.get("endtime") or 0.0),
    )
