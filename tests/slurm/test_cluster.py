"""The tiny study on a real SLURM cluster, disturbed in each way that a cluster has of doing so."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import GPUS, cluster, missing
from study import tiny

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
from conftest import copy_checkout

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it can be run")

RESULTS = Path("results/sandbox")
MODEL = RESULTS / "models/dpo/beta-0.1_helpful"
TRAINING = RESULTS / "logs/train/dpo-beta-0.1_helpful.json"
PROFILE = [
    *("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1"),
    *("--latency-wait", "10", "--max-jobs-per-timespan", "20/1s"),
    # The block of the profile for short jobs with a model: a shard is sampled and scored at once.
    *("--groups", "generate=score", "annotate=score", "--resources", "one_model=1"),
    *("--set-resource-scopes", "one_model=local"),
    *("--set-resources", "generate:one_model=1", "annotate:one_model=1"),
]
LIMIT = 600.0


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}


def checkout(folder: Path) -> Path:
    copy_checkout(folder)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(tiny(config), sort_keys=False))
    return folder


def workflow(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


@dataclass
class Controller:
    """A running `snakemake --profile slurm all`."""

    folder: Path
    log: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, name: str) -> "Controller":
        log = folder / f"{name}.log"
        command = [sys.executable, "-m", "snakemake", *PROFILE, "--", "all"]
        with log.open("w") as stream:
            process = subprocess.Popen(
                command, cwd=folder, env=environment(), stdout=stream, stderr=subprocess.STDOUT
            )
        return cls(folder, log, process)

    def wait_for(self, what: str, ready: Callable[[], Any]) -> Any:
        """Wait while the workflow runs; returns what `ready` gave."""
        end = time.monotonic() + LIMIT
        while not (found := ready()):
            ended = self.process.poll() is not None
            assert not ended, f"ended before {what}:\n{self.log.read_text()}"
            assert time.monotonic() < end, f"no {what}:\n{self.log.read_text()}"
            time.sleep(0.02)
        return found

    def running(self, marker: Path) -> dict[str, Any]:
        """The marker of a job, once the job runs."""

        def found() -> dict[str, Any] | None:
            path = self.folder / marker
            record = json.loads(path.read_text()) if path.exists() else {}
            return record if record.get("state") == "running" else None

        record: dict[str, Any] = self.wait_for(f"{marker} runs", found)
        return record


def state(job: str) -> str:
    """State of a SLURM job, as squeue names it."""
    command = ["squeue", "--noheader", "--states=all", "--format=%T", "--jobs", job]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def wait_until(ready: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.1)


@dataclass
class Disturbed:
    """What was left of the disturbed study, and what was seen on the way."""

    folder: Path
    reference: Path
    said: dict[str, str]
    killed: dict[str, str]

    def markers(self) -> list[dict[str, Any]]:
        found = (self.folder / RESULTS / "logs").rglob("*.json")
        return [json.loads(path.read_text()) for path in found]


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disturbed]:
    """The study without SLURM and without a fault, and the same on the cluster with all of them."""
    reference = checkout(tmp_path_factory.mktemp("reference") / "checkout")
    done = workflow(reference, "--cores", "2", "--show-failed-logs", "--", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = checkout(tmp_path_factory.mktemp("cluster") / "checkout")
    with cluster():
        said, killed = {}, {}
        first = Controller.start(folder, "first")
        killed["requeued"] = requeue(first)
        killed["orphan"] = kill_controller(first)
        said["locked"] = workflow(folder, *PROFILE, "--", "all").stderr
        assert workflow(folder, "--unlock").returncode == 0
        second = Controller.start(folder, "second")
        killed["training"] = cancel_training(second)
        killed["lost"] = lose_the_node(second)
        assert second.process.wait(LIMIT) == 0, second.log.read_text()
        said |= {name: (folder / f"{name}.log").read_text() for name in ("first", "second")}
        yield Disturbed(folder, reference, said, killed)


def requeue(controller: Controller) -> str:
    """Requeue the base model's training while it runs, as preemption does."""
    job: str = controller.running(RESULTS / "logs/base_model.json")["slurm_job"]
    subprocess.run(["scontrol", "requeue", job], check=True)
    wait_until(lambda: state(job) != "RUNNING")
    return job


def kill_controller(controller: Controller) -> str:
    """Kill the workflow itself, without a chance to cancel its jobs, while a model is trained."""
    marker = RESULTS / "logs/reward_model/helpful.json"
    job: str = controller.running(marker)["slurm_job"]
    # The trainer stands still, as a long training would still be at work later.
    os.kill(controller.running(marker)["pid"], signal.SIGSTOP)
    controller.process.send_signal(signal.SIGKILL)
    controller.process.wait()
    return job


def cancel_training(controller: Controller) -> str:
    """Cancel a training that has a checkpoint."""
    record = controller.running(TRAINING)
    work = controller.folder / record["work"]
    controller.wait_for("checkpoint", lambda: list(work.glob("checkpoint-*/trainer_state.json")))
    os.kill(record["pid"], signal.SIGSTOP)
    subprocess.run(["scancel", record["slurm_job"]], check=True)
    job: str = record["slurm_job"]
    return job


def lose_the_node(controller: Controller) -> str:
    """Take the node down while the trained model answers, and bring it back."""
    marker = RESULTS / "logs/generate/dpo-beta-0.1_helpful_0-of-1.json"
    job: str = controller.running(marker)["slurm_job"]
    node = f"NodeName={os.uname().nodename.partition('.')[0]}"
    subprocess.run(["scontrol", "update", node, "State=DOWN", "Reason=test"], check=True)
    wait_until(lambda: state(job) != "RUNNING")
    subprocess.run(["scontrol", "update", node, "State=RESUME"], check=True)
    return job


def test_the_tables_are_those_of_an_undisturbed_run(disturbed: Disturbed) -> None:
    for name in ("summary.csv", "winrates.csv"):
        path = RESULTS / "tables" / name
        assert (disturbed.folder / path).read_text() == (disturbed.reference / path).read_text()
    report = disturbed.folder / RESULTS / "report.html"
    assert report.stat().st_size > 100_000
    planned = workflow(disturbed.folder, *PROFILE, "--dry-run", "--", "all")
    assert "Nothing to be done" in planned.stdout + planned.stderr


def test_jobs_with_a_model_held_a_gpu_and_no_others(disturbed: Disturbed) -> None:
    stages = {"generate", "annotate", "train", "reward_model", "base_model"}
    held = {record["stage"] for record in disturbed.markers() if record["gpus"] in ("0", "1")}
    assert held == stages
    for record in disturbed.markers():
        if record["stage"] not in stages:
            assert record["gpus"] in (None, "", "NoDevFiles"), record


def test_a_gpu_has_one_job_at_a_time(disturbed: Disturbed) -> None:
    events: list[tuple[str, int]] = []
    for gpu in map(str, range(GPUS)):
        spans = sorted(
            (record["started"], record["ended"])
            for record in disturbed.markers()
            if record["gpus"] == gpu
        )
        assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))
        events += [(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans]
    at_once = [sum(step for _, step in sorted(events)[: i + 1]) for i in range(len(events))]
    assert max(at_once) <= GPUS


def test_a_shard_is_sampled_and_scored_in_one_submission(disturbed: Disturbed) -> None:
    jobs = {
        record["slurm_job"]
        for record in disturbed.markers()
        if record["stage"] in ("generate", "annotate")
    }
    assert len(jobs) == 4


def test_light_jobs_ran_beside_the_workflow(disturbed: Disturbed) -> None:
    light = {"merge", "decode", "levels", "winrate", "tables", "plot", "overview", "prompts"}
    submitted = {record["stage"] for record in disturbed.markers() if record["slurm_job"]}
    assert not submitted & light
    assert "solve" in submitted


def test_a_second_workflow_is_told_that_the_folder_is_locked(disturbed: Disturbed) -> None:
    assert "LockException" in disturbed.said["locked"]


def test_the_requeued_job_ran_again_under_its_number(disturbed: Disturbed) -> None:
    record = json.loads((disturbed.folder / RESULTS / "logs/base_model.json").read_text())
    assert record["slurm_job"] == disturbed.killed["requeued"]
    assert record["attempt"] == 1


def test_the_job_of_the_killed_workflow_made_room(disturbed: Disturbed) -> None:
    log = (disturbed.folder / RESULTS / "logs/reward_model/helpful.log").read_text()
    orphan = disturbed.killed["orphan"]
    assert f"SLURM job {orphan} of an earlier workflow is still at this; cancelled" in log


def test_the_cancelled_training_went_on_from_its_checkpoint(disturbed: Disturbed) -> None:
    """The second attempt trained the last steps only, and came to the same weights."""
    record = json.loads((disturbed.folder / TRAINING).read_text())
    assert record["attempt"] == 2
    assert record["slurm_job"] != disturbed.killed["training"]
    manifests = [
        json.loads((folder / f"{MODEL}.json").read_text())
        for folder in (disturbed.folder, disturbed.reference)
    ]
    assert manifests[0]["files"] == manifests[1]["files"]
    log = (disturbed.folder / TRAINING).with_suffix(".log").read_text()
    assert log.count("'loss'") == 2


def test_the_job_on_the_lost_node_ran_again(disturbed: Disturbed) -> None:
    record = json.loads(
        (disturbed.folder / RESULTS / "logs/generate/dpo-beta-0.1_helpful_0-of-1.json").read_text()
    )
    assert record["state"] == "done"
    assert not list(disturbed.folder.rglob("results/**/.*.parquet.*"))
