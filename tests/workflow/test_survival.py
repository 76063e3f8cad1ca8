"""A full or read-only disk, a clock that is ahead, a crash: said, and the next run completes."""

import os
import signal
import subprocess
import sys
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


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])
def test_a_job_that_a_signal_kills(checkout: Path, name: str) -> None:
    script = checkout / "workflow/scripts/solve.py"
    kept = script.read_text()
    crash = f"lambda job, **settings: os.kill(os.getpid(), signal.{name})"
    script.write_text(f"import os\nimport signal\n{kept.replace('run(main)', f'run({crash})')}")
    done = run(checkout)
    assert done.returncode != 0
    said = f"killed by signal {getattr(signal, name).value} ({name}"
    log = RESULTS / "logs/solve/hhh-60.log"
    assert f"error: {said}" in done.stdout
    assert f"log: {log}" in done.stdout
    status = [sys.executable, "-c", "from polyalign.cli import main; main(['status'])"]
    shown = subprocess.run(status, cwd=checkout, capture_output=True, text=True, check=True)
    assert f"solve/hhh-60: killed\n    {said}" in shown.stdout
    assert f"log: {log}" in shown.stdout
    if name == "SIGSEGV":
        assert "solve.py" in (checkout / log).read_text()  # where in Python it happened
    script.write_text(kept)
    done = run(checkout)
    assert done.returncode == 0, done.stdout
