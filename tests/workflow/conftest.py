"""A checkout of its own for each test, and Snakemake run in it."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
COPIED = ["Snakefile", "config.yaml", "configs", "envs", "profiles", "slurm", "workflow"]


def copy_checkout(folder: Path) -> Path:
    """Copy the source files, with new times as git would give them."""
    folder.mkdir(parents=True)
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_symlink():
            (folder / name).symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(
                source,
                folder / name,
                copy_function=shutil.copy,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        else:
            shutil.copy(source, folder / name)
    return folder


@functools.cache
def server() -> subprocess.Popen[str]:
    """The process that runs Snakemake for the tests of this process."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("snakemake_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="session", autouse=True)
def ended_server() -> Iterator[None]:
    """End the server after the last test, if one was started."""
    yield
    if server.cache_info().currsize:
        server().communicate()


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a checkout; output and errors come as one text in `stdout`."""
    running = server()
    assert running.stdin is not None
    assert running.stdout is not None
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as output:
        request = {
            "folder": str(folder),
            "arguments": arguments,
            "environment": dict(os.environ),
            "output": output.name,
        }
        running.stdin.write(json.dumps(request) + "\n")
        running.stdin.flush()
        status = running.stdout.readline()
        return subprocess.CompletedProcess(["snakemake", *arguments], int(status), output.read())


def blocks(printed: str) -> dict[str, list[str]]:
    """Rule → what a dry run printed of each of its jobs."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"\n(?=\[)", printed):
        if name := re.search(r"^(?:local)?(?:rule|checkpoint) (\w+):$", block, re.MULTILINE):
            found.setdefault(name[1], []).append(block)
    return found


def jobs(printed: str) -> set[str]:
    """Jobs that a dry run printed, as `rule:wildcard values`, without the target rules."""
    found = set()
    for rule, printed_jobs in blocks(printed).items():
        for block in printed_jobs:
            wildcards = re.search(r"^ +wildcards: (.*)$", block, re.MULTILINE)
            given = [part.split("=")[1] for part in wildcards[1].split(", ")] if wildcards else []
            found.add(":".join([rule, *given]))
    return found - {"all", "models", "palettes", "winrates", "plots"}


def planned(folder: Path, *arguments: str) -> set[str]:
    """Jobs that a dry run would run, as `jobs` names them."""
    dry = snakemake(folder, "--dry-run", "--cores", "2", *arguments)
    assert dry.returncode == 0, dry.stdout
    return jobs(dry.stdout)


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """What a dry run prints in a checkout that no test edits: one run per list of arguments."""
    folder = copy_checkout(tmp_path_factory.mktemp("unedited") / "checkout")

    @functools.cache
    def printed(*arguments: str) -> str:
        dry = snakemake(folder, "--dry-run", "--printshellcmds", *arguments)
        assert dry.returncode == 0, dry.stdout
        return dry.stdout

    return printed


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh checkout without results."""
    return copy_checkout(tmp_path / "checkout")
