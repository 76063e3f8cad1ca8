import json
import math
from pathlib import Path

import pytest

from polyalign.evaluate.costs import read_costs
from polyalign.runtime import job_record

HEAD = "s\th:m:s\tmax_rss\tcpu_time"


def write(results: Path, name: str, *rows: str, gpus: int | None = 0) -> None:
    """A benchmark file, and the marker of a job that held so many GPUs (None: no marker)."""
    path = results / f"benchmarks/{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    if gpus is not None:
        marker = results / f"logs/{name}.json"
        marker.parent.mkdir(parents=True, exist_ok=True)
        started = job_record.started(name.partition("/")[0], 1, "key", [], None, gpus)
        marker.write_text(json.dumps({**job_record.ended(started), "gpus_held": gpus}))


def test_a_policys_own_jobs_are_summed(tmp_path: Path) -> None:
    write(tmp_path, "train/dpo-beta-0.1", "10.5\t0:00:10\t5\t9.0")
    write(tmp_path, "generate/dpo-beta-0.1_0-of-1", "2.0\t0:00:02\t5\tNA")
    write(tmp_path, "annotate/dpo-beta-0.1_humor_0-of-1", "4.0\t0:00:04\t5\t3.5")
    write(tmp_path, "train/dpo-beta-0.1_harmless-0.9", "99\t0:01:39\t5\t99", gpus=1)
    write(tmp_path, "annotate/base-pool_humor_0-of-2", "99\t0:01:39\t5\t99", gpus=1)
    write(tmp_path, "base_model", "99\t0:01:39\t5\t99", gpus=1)
    found = read_costs(tmp_path, "dpo/beta-0.1", ["humor", "helpful"])
    assert found["job_seconds"] == pytest.approx(16.5)
    assert found["cpu_seconds"] == pytest.approx(12.5)
    assert found["gpu_seconds"] == 0


def test_gpu_seconds_are_those_of_jobs_that_held_some(tmp_path: Path) -> None:
    write(tmp_path, "train/rloo-a", "10\t0:00:10\t5\t9", gpus=2)
    write(tmp_path, "generate/rloo-a_0-of-1", "3\t0:00:03\t5\t3", gpus=1)
    write(tmp_path, "annotate/rloo-a_humor_0-of-1", "100\t0:01:40\t5\t3", gpus=0)
    assert read_costs(tmp_path, "rloo/a", ["humor"])["gpu_seconds"] == 23


def test_one_job_that_does_not_tell_leaves_the_sum_unknown(tmp_path: Path) -> None:
    write(tmp_path, "train/rloo-a", "10\t0:00:10\t5\t9", gpus=2)
    write(tmp_path, "generate/rloo-a_0-of-1", "3\t0:00:03\t5\t3", gpus=None)
    found = read_costs(tmp_path, "rloo/a", ["humor"])
    assert math.isnan(found["gpu_seconds"])
    assert found["job_seconds"] == 13


def test_no_file_no_number(tmp_path: Path) -> None:
    assert all(math.isnan(one) for one in read_costs(tmp_path, "map-d/a", ["humor"]).values())
