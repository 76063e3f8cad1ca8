"""`polyalign status` reads the job records of a study that runs."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from polyalign.cli import status
from polyalign.runtime import job_record

STARTED = "2026-01-01T00:00:00.000+00:00"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results/mine"


def write_record(results: Path, name: str, **facts: Any) -> Path:
    """A record as a job writes it, with some facts replaced."""
    record = job_record.started(name.partition("/")[0], 1, "key", [], None) | {"started": STARTED}
    path = results / f"logs/{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record | {"slurm_job": None, "gpus": None} | facts))
    return path


def printed(results: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert status.main([str(results), *options]) == 0
    return capsys.readouterr().out


def test_a_running_training_shows_step_and_loss(results: Path, capsys) -> None:
    work = results / "work/rloo/abc"
    work.mkdir(parents=True)
    (work / "metrics.csv").write_text("step,epoch,loss\n10,0.1,0.9\n20,0.2,0.25\n")
    write_record(results, "train/rloo-hhh", work=str(work), gpus="1")
    (row,) = [line for line in printed(results, capsys).splitlines() if "rloo-hhh" in line]
    assert f"{socket.gethostname()} gpu 1" in row
    assert row.split()[-4:-1] == ["20", "step", "0.25"]
    assert int(row.split()[-1]) > 5  # MB of this process


def test_progress_is_read_from_the_log(results: Path, capsys) -> None:
    path = write_record(results, "base_model")
    path.with_suffix(".log").write_text(
        "x" * 9000 + " 2/9 [0:01<0:09]\r 3/9 [0:02<0:08, 1.2text/s]"
    )
    assert " 3/9 text  0:08 " in printed(results, capsys)


def test_a_job_of_another_machine_is_believed(results: Path, capsys) -> None:
    write_record(results, "generate/a", host="node7", pid=1, process_start=1)
    assert "node7" in printed(results, capsys)


def test_a_job_that_vanished_is_shown(
    results: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(results, "generate/a", process_start=1)
    write_record(results, "solve/b", slurm_job="4711", host="node7")
    write_record(results, "solve/c", slurm_job="4712", host="node7")
    monkeypatch.setattr(status, "live_slurm_jobs", lambda: {"4712": "rule_solve"})
    text = printed(results, capsys)
    assert text.count(status.GONE) == 2
    assert "node7 (SLURM 4712)" in text
    assert "2 gone, 1 running" in text


def test_where_slurm_does_not_answer_its_jobs_are_believed(
    results: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(results, "solve/b", slurm_job="4711", host="node7")
    monkeypatch.setattr(status, "live_slurm_jobs", lambda: None)
    assert "1 running" in printed(results, capsys)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replacements for the commands of SLURM: jobs and states, in queue and accounts, are files.

    As the real commands do, squeue fails for an unknown job, and sacct prints nothing.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    look = 'for job; do :; done; sed -n "s/^$job //p"'
    for name, body in (
        ("squeue", f'case "$*" in *--states=all*) {look} {folder}/queue | grep . ;; esac'),
        ("sacct", f"{look} {folder}/accounts"),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    for name in ("queue", "accounts"):
        (folder / name).write_text("")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.mark.parametrize(
    ("queue", "accounts", "reason", "said"),
    [
        ("TIMEOUT", "", "time", " (SLURM: TIMEOUT)"),
        ("OUT_OF_MEMORY", "FAILED", "memory", " (SLURM: OUT_OF_MEMORY)"),
        ("", "TIMEOUT", "time", " (SLURM: TIMEOUT)"),
        ("", "CANCELLED by 0", None, " (SLURM: CANCELLED)"),
        ("", "", None, ""),
    ],
)
@pytest.mark.parametrize("state", ["gone", "stopped"])
def test_slurm_says_what_ended_a_job(
    results: Path, capsys, slurm: Path, state: str, queue: str, accounts: str, reason, said: str
) -> None:
    (slurm / "queue").write_text(f"4711 {queue}\n" if queue else "")
    (slurm / "accounts").write_text(f"4711 {accounts}\n" if accounts else "")
    facts: dict[str, Any] = {"slurm_job": "4711", "host": "node7"}
    if state == "stopped":
        facts |= {"state": "failed", "reason": "stopped", "message": "stopped by SIGTERM"}
    write_record(results, "train/a", **facts)
    text = printed(results, capsys)
    message = status.GONE if state == "gone" else "stopped by SIGTERM"
    assert f"train/a: {reason or state}\n    {message}{said}\n" in text


def test_slurm_is_not_asked_about_a_failure_that_the_job_reported(
    results: Path, capsys, slurm
) -> None:
    (slurm / "queue").write_text("4711 TIMEOUT\n")
    write_record(results, "a", slurm_job="4711", state="failed", reason="input", message="empty")
    assert "a: input\n    empty\n" in printed(results, capsys)


def test_a_failure_is_shown_with_its_log(results: Path, capsys) -> None:
    write_record(
        results, "solve/hhh", state="failed", reason="input", message="palette: infeasible"
    )
    write_record(results, "merge/a", state="done")
    text = printed(results, capsys)
    assert "solve/hhh: input\n    palette: infeasible\n" in text
    assert f"log: {results}/logs/solve/hhh.log" in text
    assert text.endswith("1 done, 1 failed\n")


def test_times_come_from_records_and_tokens_from_samples(results: Path, capsys) -> None:
    samples = results / "samples.parquet"
    samples.parent.mkdir(parents=True)
    pd.DataFrame({"n_tokens": np.array([30, 70])}).to_parquet(samples)
    facts = {"state": "done", "seconds": 9.0, "rss_mb": 5, "vram_mb": 123}
    facts["ended"] = "2026-01-01T00:00:10.500+00:00"
    write_record(results, "generate/a", outputs=[str(samples)], **facts)
    for name, seconds in (("merge/a", 3.0), ("merge/b", 10.0)):
        write_record(results, name, **facts | {"vram_mb": None, "seconds": seconds})
    jobs, stages, total = printed(results, capsys, "--times").split("\n\n")
    head, longest, generate, merge = jobs.splitlines()
    assert head.split("  ")[0] == "job"
    assert generate.split() == ["generate/a", "9.0", "5", "123", "11"]
    assert longest.split() == ["merge/b", "10.0", "5"]
    assert merge.split() == ["merge/a", "3.0", "5"]
    assert [line.split() for line in stages.splitlines()[1:]] == [
        ["merge", "2", "13.0"],
        ["generate", "1", "9.0"],
    ]
    assert total == "3 jobs: 22.0 s of work within 10.5 s\n"


def test_a_folder_without_jobs(tmp_path: Path, capsys) -> None:
    assert status.main([str(tmp_path)]) == 2
    assert "no job has written a record" in capsys.readouterr().err


def test_other_json_is_not_a_record(results: Path, capsys) -> None:
    path = write_record(results, "merge/a", state="done")
    (path.parent / "other.json").write_text("{}")
    assert printed(results, capsys).strip() == "1 done"
    assert os.path.exists(path)
