"""The record that a job writes beside its log, and what the next job does with it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polyalign.errors import InputError
from polyalign.runtime import exit_status, files, job_record

STAGE = """
import os, signal, sys, time
from polyalign.errors import InputError
from polyalign.runtime.job import run

def main(job, *, end):
    if end == "sleep":
        print("at work", flush=True)
        time.sleep(600)
    if end.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, end))
    if end == "input":
        raise InputError("the table is empty")
    if end == "memory":
        raise MemoryError("no more")
    if end == "gpu":
        print("factor", job.microbatch_factor, flush=True)
        raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
    if end == "nan":
        raise FloatingPointError("loss is nan at step 3")
    job.outputs["out"].write_text(end)

run(main)
"""


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    path = tmp_path / "stage.py"
    path.write_text(STAGE)
    return path


def command(stage: Path, end: str, *more: str) -> list[str]:
    folder = stage.parent
    return [
        *(sys.executable, str(stage), "--settings", json.dumps({"end": end})),
        *("--output", f"out={folder}/out", "--log", f"{folder}/logs/job.log", *more),
    ]


def call(stage: Path, end: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(stage, end, *more), capture_output=True, text=True, check=False)


def record(stage: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((stage.parent / "logs/job.json").read_text())
    return found


def running(stage: Path) -> "subprocess.Popen[bytes]":
    """A job that runs."""
    process = subprocess.Popen(command(stage, "sleep"))
    log, end = stage.parent / "logs/job.log", time.monotonic() + 300
    while not (log.exists() and "at work" in log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


def test_a_job_says_that_it_is_done(stage: Path) -> None:
    assert call(stage, "done").returncode == 0
    made = record(stage)
    assert (made["state"], made["stage"], made["attempt"]) == ("done", "stage", 1)
    assert made["seconds"] >= 0
    assert made["rss_mb"] > 5
    assert made["vram_mb"] is None
    assert made["outputs"] == [f"{stage.parent}/out"]


@pytest.mark.parametrize(
    ("asked", "there", "environment", "held"),
    [
        (1, 0, {}, 0),
        (1, 4, {}, 1),
        (0, 4, {}, 0),
        (4, 2, {}, 2),
        (8, 4, {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, 8),
        (1, None, {}, 0),
        (1, None, {"CUDA_VISIBLE_DEVICES": "3"}, 1),
        (1, None, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, 0),
    ],
)
def test_a_job_held_what_it_asked_for_and_found(
    monkeypatch: pytest.MonkeyPatch,
    asked: int,
    there: int | None,
    environment: dict[str, str],
    held: int,
) -> None:
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    if there is not None:
        cuda = SimpleNamespace(device_count=lambda: there, is_initialized=lambda: False)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    started = job_record.started("train", 1, "key", [], None, asked)
    assert job_record.ended(started)["gpus_held"] == held


def test_a_job_is_told_what_was_asked_for(stage: Path) -> None:
    assert call(stage, "done", "--gpus", "2").returncode == 0
    assert record(stage)["gpus_asked"] == 2


@pytest.mark.parametrize(
    ("end", "status", "reason", "retryable"),
    [
        ("input", 2, "input", False),
        ("memory", 1, "memory", True),
        ("gpu", 1, "GPU memory", True),
        ("nan", 1, "not a number", False),
    ],
)
def test_a_job_says_why_it_failed(
    stage: Path, end: str, status: int, reason: str, retryable: bool
) -> None:
    assert call(stage, end).returncode == status
    made = record(stage)
    assert (made["state"], made["reason"], made["retryable"]) == ("failed", reason, retryable)


def test_bad_input_is_not_tried_again(stage: Path) -> None:
    call(stage, "input")
    again = call(stage, "input", "--attempt", "2")
    assert again.returncode == 2
    assert again.stderr == "error: the table is empty (not tried again: attempt 1)\n"
    assert record(stage)["attempt"] == 1


def test_an_error_that_may_pass_is_tried_again(stage: Path) -> None:
    call(stage, "memory")
    call(stage, "memory", "--attempt", "2")
    assert record(stage)["attempt"] == 2


def test_each_failure_for_gpu_memory_doubles_the_microbatch_factor(stage: Path) -> None:
    log = stage.parent / "logs/job.log"
    for attempt, factor in ((1, 1), (2, 2), (3, 4), (1, 1)):
        call(stage, "gpu", "--attempt", str(attempt))
        assert f"factor {factor}\n" in log.read_text()
        assert record(stage)["microbatch_factor"] == factor


def test_the_microbatch_factor_stays_after_another_failure_and_is_one_for_another_job() -> None:
    short = {"key": "a", "microbatch_factor": 2, "reason": "GPU memory"}
    assert job_record.microbatch_factor(short, 2, "a") == 4
    for other in ("stopped", "memory"):
        assert job_record.microbatch_factor(short | {"reason": other}, 2, "a") == 2
    assert job_record.microbatch_factor({"key": "a", "microbatch_factor": 2}, 2, "a") == 2, (
        "it was killed while it ran"
    )
    assert (
        job_record.microbatch_factor(short, 2, "b")
        == job_record.microbatch_factor(short, 1, "a")
        == 1
    )


def test_a_new_workflow_tries_from_the_start(stage: Path) -> None:
    call(stage, "input")
    first = record(stage)["started"]
    assert call(stage, "input").stderr == "error: the table is empty\n"
    assert record(stage)["started"] > first


def test_another_setting_or_a_corrected_input_clears_a_failure(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a")
    keys = [job_record.job_key("{}", [f"table={table}"]), job_record.job_key('{"k": 1}', [])]
    table.write_text("ab")
    keys.append(job_record.job_key("{}", [f"table={table}"]))
    assert len(set(keys)) == 3
    failed = {"key": keys[0], "attempt": 1, "retryable": False, "message": "bad"}
    job_record.refuse_again(failed, 2, keys[2])
    with pytest.raises(InputError, match="bad"):
        job_record.refuse_again(failed, 2, keys[0])


def test_edited_code_clears_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "polyalign").mkdir()
    module = tmp_path / "polyalign/module.py"
    module.write_text("a = 1")
    monkeypatch.setattr(job_record, "LIBRARY", tmp_path)
    before = job_record.job_key("{}", [])
    module.write_text("a = 12")
    assert job_record.job_key("{}", []) != before


def test_a_stopped_job_says_so(stage: Path) -> None:
    process = running(stage)
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    made = record(stage)
    assert (made["state"], made["reason"], made["retryable"]) == ("failed", "stopped", True)
    assert made["message"] == "RuntimeError: stopped by SIGTERM"


def by_shell(stage: Path, end: str) -> subprocess.CompletedProcess[str]:
    """Call a job as a rule's shell command does."""
    ending = f"python -m polyalign.runtime.exit_status $? {stage.parent}/logs/job.log"
    text = f"set -euo pipefail; {shlex.join(command(stage, end))} || {ending}"
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
    return subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.parametrize("end", ["SIGSEGV", "SIGKILL"])
def test_a_job_that_a_signal_killed_is_reported(stage: Path, end: str) -> None:
    number, log = getattr(signal, end).value, stage.parent / "logs/job.log"
    done = by_shell(stage, end)
    assert done.returncode == 128 + number
    said = f"killed by signal {number} ({end}"
    assert f"error: {said}" in done.stderr
    assert f"log: {log}" in done.stderr
    assert said in log.read_text().splitlines()[-1]
    made = record(stage)
    assert (made["state"], made["reason"], made["retryable"]) == ("failed", "killed", True)
    assert made["message"].startswith(said)
    if end == "SIGSEGV":
        assert "in main" in log.read_text()  # where in Python it happened


def test_a_job_that_was_killed_before_its_record_is_reported(stage: Path) -> None:
    assert by_shell(stage, "done").returncode == 0
    assert exit_status.main(["139", f"{stage.parent}/logs/job.log"]) == 139
    assert record(stage)["state"] == "failed"
    assert record(stage)["message"] == "killed by signal 11 (SIGSEGV)"


def test_a_job_that_exited_without_a_reason_is_reported(stage: Path) -> None:
    path = stage.parent / "logs/job.json"
    path.parent.mkdir()
    started = job_record.started("stage", 1, "key", [], None) | {"process_start": 1}
    job_record.write_record(path, started)
    assert exit_status.main(["1", str(path.with_suffix(".log"))]) == 1
    assert record(stage)["message"] == "exited with status 1 without reporting an error"


def test_a_job_that_reported_its_error_keeps_its_record(stage: Path) -> None:
    done = by_shell(stage, "input")
    assert done.returncode == 2
    assert done.stderr == "error: the table is empty\n"
    assert record(stage)["message"] == "the table is empty"


def test_an_orphan_that_runs_keeps_its_record(stage: Path) -> None:
    orphan = running(stage)
    assert exit_status.main(["139", f"{stage.parent}/logs/job.log"]) == 139
    assert record(stage)["state"] == "running"
    orphan.kill()
    orphan.wait()


def test_a_job_ends_an_orphan(stage: Path) -> None:
    orphan = running(stage)
    assert call(stage, "done").returncode == 0
    assert orphan.wait(60) == -signal.SIGTERM
    assert (
        f"process {orphan.pid} of an earlier workflow"
        in (stage.parent / "logs/job.log").read_text()
    )
    assert record(stage)["state"] == "done"


def test_a_process_that_only_has_the_number_of_an_orphan_is_left_alone(stage: Path) -> None:
    call(stage, "done")
    with subprocess.Popen(["sleep", "600"]) as other:
        stale = record(stage) | {"state": "running", "pid": other.pid}
        (stage.parent / "logs/job.json").write_text(json.dumps(stale))
        call(stage, "done")
        assert other.poll() is None
        other.kill()


def test_a_job_clears_the_scratch_folders_of_a_killed_one_and_nothing_else(stage: Path) -> None:
    left, others = stage.parent / ".out.abcd_123", stage.parent / ".out.json.abcd_123"
    for folder in (left, others):
        folder.mkdir()
        (folder / "half").write_text("")
    assert call(stage, "done").returncode == 0
    assert not left.exists()
    assert others.exists()


def test_a_scratch_folder_has_the_name_that_is_cleared(tmp_path: Path) -> None:
    with suppress(FileNotFoundError), files.atomic_write(tmp_path / "out"):
        assert len(list(tmp_path.iterdir())) == 1
        files.clear_scratch(tmp_path / "out")
        assert not list(tmp_path.iterdir())


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replacements for the commands of SLURM: its jobs are the lines of a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    queue = tmp_path / "queue"
    for name, body in (("squeue", f"cat {queue}"), ("scancel", f"sed -i /^$1/d {queue}")):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    return queue


@pytest.mark.parametrize(
    ("job", "comment", "left"),
    [("4711", "rule_solve_wildcards_a", ""), ("4711", "(null)", "4711 (null)\n")],
)
def test_an_orphaned_submission_is_cancelled_and_no_other_allocation(
    stage: Path, slurm: Path, job: str, comment: str, left: str
) -> None:
    call(stage, "done")
    slurm.write_text(f"{job} {comment}\n")
    orphan = record(stage) | {"state": "running", "slurm_job": job, "host": "node7"}
    (stage.parent / "logs/job.json").write_text(json.dumps(orphan))
    assert call(stage, "done").returncode == 0
    assert slurm.read_text() == left
    assert record(stage)["slurm_job"] == "3"


def test_a_requeued_job_does_not_cancel_itself(stage: Path, slurm: Path) -> None:
    call(stage, "done")
    slurm.write_text("3 rule_solve\n")
    orphan = record(stage) | {"state": "running", "slurm_job": "3", "host": "node7"}
    (stage.parent / "logs/job.json").write_text(json.dumps(orphan))
    assert call(stage, "done").returncode == 0
    assert slurm.read_text() == "3 rule_solve\n"


def test_half_a_record_is_none(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    assert job_record.read_record(path) is None
    for text in ('{"state": "runn', "[]", '{"state": "done"}'):
        path.write_text(text)
        assert job_record.read_record(path) is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("x"), "input"),
        (MemoryError(), "memory"),
        (type("OutOfMemoryError", (RuntimeError,), {})(), "GPU memory"),
        (OSError(28, "No space left on device"), "disk"),
        (FloatingPointError("loss is nan"), "not a number"),
        (RuntimeError("x"), "error"),
    ],
)
def test_reasons(error: Exception, reason: str) -> None:
    assert job_record.failure_reason(error) == reason


def test_start_of_a_process() -> None:
    assert job_record.process_start(os.getpid()) is not None
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert job_record.process_start(process.pid) is None
