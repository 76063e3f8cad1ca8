"""A checkout of its own for each test, and Snakemake run in it."""

import re
import shutil
import subprocess
import sys
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


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a checkout; output and errors come as one text in `stdout`."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def planned(folder: Path, *arguments: str) -> set[str]:
    """Jobs that a dry run would run, as `rule:wildcard values`, without the target rules."""
    dry = snakemake(folder, "--dry-run", "--cores", "2", *arguments)
    assert dry.returncode == 0, dry.stdout
    jobs = set()
    for block in re.split(r"\n(?=\[)", dry.stdout):
        rule = re.search(r"^(?:local)?rule (\w+):$", block, re.MULTILINE)
        if rule:
            found = re.search(r"^ +wildcards: (.*)$", block, re.MULTILINE)
            given = [part.split("=")[1] for part in found[1].split(", ")] if found else []
            jobs.add(":".join([rule[1], *given]))
    return jobs - {"all", "models", "palettes", "winrates", "plots"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh checkout without results."""
    return copy_checkout(tmp_path / "checkout")
