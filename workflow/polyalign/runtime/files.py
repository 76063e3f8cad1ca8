"""Writing files and folders whole or not at all, and hashing their content."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place if the block succeeds.

    The block may create a file or a folder at the temporary path. An older file or folder at `path`
    is replaced only at the end; on an error nothing at `path` changes.

    Raises:
        FileNotFoundError: if the block wrote nothing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        draft = scratch / path.name
        yield draft
        if draft.is_dir() and path.is_dir():
            os.replace(path, scratch / "replaced")
        os.replace(draft, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def append_line(path: str | Path, line: str) -> None:
    """Add a line to a file, to which other processes may add at the same time.

    A line that a crash has cut is ended first, so that it cannot spoil this one. The line is on the
    disk when this returns.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        cut = size > 0 and file.read(1) != b"\n"
        file.write(b"\n" * cut + line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def clear_scratch(path: str | Path) -> None:
    """Remove what a process that was killed while it wrote `path` has left beside it.

    Nobody else may be writing `path` at the time.
    """
    path = Path(path)
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")  # as `atomic_write` names it
    for scratch in path.parent.glob(".*"):
        if name.fullmatch(scratch.name):
            shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text to `path`, whole or not at all."""
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON to `path`, whole or not at all (NaN is refused)."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def cache_folder() -> Path:
    """Where this program keeps what any of its runs by this user can use again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polyalign"


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names (in sorted order), in hex."""
    path = Path(path)
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
    return digest.hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the named distributions, for the record that goes with a result."""
    return {name: version(name) for name in packages}
