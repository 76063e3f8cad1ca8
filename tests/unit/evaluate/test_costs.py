import json
import math
from pathlib import Path

import pytest

from polyalign.evaluate.costs import read_costs
from polyalign.runtime import job_record


def write(results: Path, name: str, seconds: float, cpu: float, gpus: int = 0) -> Path:
    """The record of a finished job that took so long and held so many GPUs."""
    path = results / f"logs/{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    started = job_record.started(name.partition("/")[0], 1, "key", [], None, gpus)
    took = {"seconds": seconds, "cpu_seconds": cpu, "gpus_held": gpus}
    path.write_text(json.dumps({**job_record.ended(started), **took}))
    return path


def test_a_policys_own_jobs_are_summed(tmp_path: Path) -> None:
    write(tmp_path, "train/dpo-beta-0.1", 10.5, 9.0)
    write(tmp_path, "generate/dpo-beta-0.1_0-of-1", 2.0, 0.0)
    write(tmp_path, "annotate/dpo-beta-0.1_humor_0-of-1", 4.0, 3.5)
    write(tmp_path, "train/dpo-beta-0.1_harmless-0.9", 99, 99, gpus=1)
    write(tmp_path, "annotate/base-pool_humor_0-of-2", 99, 99, gpus=1)
    write(tmp_path, "base_model", 99, 99, gpus=1)
    found = read_costs(tmp_path, "dpo/beta-0.1", ["humor", "helpful"])
    assert found["job_seconds"] == pytest.approx(16.5)
    assert found["cpu_seconds"] == pytest.approx(12.5)
    assert found["gpu_seconds"] == 0


def test_gpu_seconds_are_those_of_jobs_that_held_some(tmp_path: Path) -> None:
    write(tmp_path, "train/rloo-a", 10, 9, gpus=2)
    write(tmp_path, "generate/rloo-a_0-of-1", 3, 3, gpus=1)
    write(tmp_path, "annotate/rloo-a_humor_0-of-1", 100, 3, gpus=0)
    assert read_costs(tmp_path, "rloo/a", ["humor"])["gpu_seconds"] == 23


def test_a_job_that_failed_or_still_runs_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, "train/rloo-a", 10, 9)
    path = write(tmp_path, "generate/rloo-a_0-of-1", 3, 3)
    path.write_text(json.dumps(job_record.started("generate", 1, "key", [], None)))
    assert read_costs(tmp_path, "rloo/a", ["humor"])["job_seconds"] == 10


def test_no_record_no_number(tmp_path: Path) -> None:
    assert all(math.isnan(one) for one in read_costs(tmp_path, "map-d/a", ["humor"]).values())
