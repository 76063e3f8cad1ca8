"""A disk that is full or read-only, a clock that is ahead: told, nothing damaged, completed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import planned, snakemake

CONFIG = ("--configfile", "configs/scores-only.yaml")
RESULTS = Path("results/scores-only")
LAMBDA = str(RESULTS / "palettes/hhh-60.json")


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return snakemake(folder, "--cores", "1", "--rerun-incomplete", *CONFIG, "--", LAMBDA)


def left(folder: Path) -> set[str]:
    """Files below results/ but logs and markers."""
    files = (path for path in (folder / "results").rglob("*") if path.is_file())
    return {path.name for path in files if "logs" not in path.parts}


@pytest.fixture
def small_disk(checkout: Path) -> Iterator[Path]:
    """A checkout whose results/ is a disk of its own, of 256 KB."""
    results = checkout / "results"
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(results)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, and the right to mount a file system")
    yield checkout
    subprocess.run(["umount", str(results)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "results/ballast"
    disk = os.statvfs(ballast.parent)
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, disk.f_bavail * disk.f_frsize - 24_000)
    done = run(small_disk)
    assert done.returncode != 0
    assert "No space left on device" in done.stdout
    assert left(small_disk) <= {"ballast", "config.json"}
    ballast.unlink()
    done = run(small_disk)
    assert done.returncode == 0, done.stdout
    assert {"rewards.parquet", "hhh-60.json"} <= left(small_disk)


def test_results_that_are_read_only(small_disk: Path) -> None:
    results = str(small_disk / "results")
    subprocess.run(["mount", "-o", "remount,ro", results], check=True)
    done = run(small_disk)
    assert done.returncode != 0
    assert "Read-only file system" in done.stdout
    subprocess.run(["mount", "-o", "remount,rw", results], check=True)
    done = run(small_disk)
    assert done.returncode == 0, done.stdout


def test_a_node_whose_clock_is_ahead(checkout: Path) -> None:
    """Files from the future rerun nothing: Snakemake compares what it recorded."""
    assert run(checkout).returncode == 0
    pool = checkout / RESULTS / "policies/base/pool/rewards.parquet"
    ahead = pool.stat().st_mtime + 3600
    os.utime(pool, (ahead, ahead))
    assert planned(checkout, *CONFIG, "--", LAMBDA) == set()
