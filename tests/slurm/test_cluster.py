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

import pandas as pd
import pytest
from cluster import GPUS, cluster, missing
from study import checkout

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it can be run")

RESULTS = Path("results/sandbox")
MODEL = RESULTS / "models/dpo/beta-0.1_helpful"
TRAINING = "train/dpo-beta-0.1_helpful"
ANSWERS = "generate/dpo-beta-0.1_helpful_0-of-1"
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

    def marker(self, name: str) -> dict[str, Any]:
        """The marker of a job; empty until it has one."""
        path = self.folder / RESULTS / f"logs/{name}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def inject(self, faults: "dict[str, Fault]") -> dict[str, str]:
        """Do each fault as soon as its time has come; returns the SLURM jobs that they struck."""
        struck: dict[str, str] = {}
        end = time.monotonic() + LIMIT
        while len(struck) < len(faults):
            for name, fault in faults.items():
                if name not in struck and (job := fault(self)):
                    struck[name] = job
            over = self.process.poll() is not None and len(struck) < len(faults)
            assert not over, f"only {struck} when it ended:\n{self.log.read_text()}"
            assert time.monotonic() < end, f"only {struck}:\n{self.log.read_text()}"
            time.sleep(0.02)
        return struck


Fault = Callable[[Controller], str | None]
"""Strikes a job if its time has come, and returns its SLURM number."""


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
    locked: str
    struck: dict[str, str]

    def marker(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            (self.folder / RESULTS / f"logs/{name}.json").read_text()
        )
        return found

    def markers(self) -> list[dict[str, Any]]:
        found = (self.folder / RESULTS / "logs").rglob("*.json")
        return [json.loads(path.read_text()) for path in found]


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disturbed]:
    """The study without SLURM and without a fault, and the same on the cluster with all of them."""
    reference = checkout(tmp_path_factory.mktemp("reference") / "checkout")
    folder = checkout(tmp_path_factory.mktemp("cluster") / "checkout")
    done = workflow(reference, "--cores", "2", "--show-failed-logs", "--", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    with cluster():
        controllers = [first := Controller.start(folder, "first")]
        try:
            struck = first.inject({"orphan": kill_controller})
            locked = workflow(folder, *PROFILE, "--", "all").stderr
            assert workflow(folder, "--unlock").returncode == 0
            controllers.append(second := Controller.start(folder, "second"))
            faults = {"training": cancel_training, "requeued": requeue, "lost": lose_the_node}
            struck |= second.inject(faults)
            assert second.process.wait(LIMIT) == 0, second.log.read_text()
        finally:
            for controller in controllers:
                controller.process.kill()
        yield Disturbed(folder, reference, locked, struck)


def kill_controller(controller: Controller) -> str | None:
    """Kill the workflow itself, with no chance to cancel its jobs, while the base model is trained.

    The job stands still, as a long training would still be at work when its user comes back.
    """
    record = controller.marker("base_model")
    if record.get("state") != "running":
        return None
    os.kill(record["pid"], signal.SIGSTOP)
    controller.process.kill()
    controller.process.wait()
    return str(record["slurm_job"])


def cancel_training(controller: Controller) -> str | None:
    """Cancel a training that has a checkpoint."""
    record = controller.marker(TRAINING)
    if record.get("state") != "running":
        return None
    work = controller.folder / record["work"]
    if not list(work.glob("checkpoint-*/trainer_state.json")):
        return None
    os.kill(record["pid"], signal.SIGSTOP)
    subprocess.run(["scancel", record["slurm_job"]], check=True)
    return str(record["slurm_job"])


def requeue(controller: Controller) -> str | None:
    """Requeue a job that samples, as preemption does."""
    record = controller.marker("generate/base-pool_0-of-1")
    if record.get("state") != "running":
        return None
    subprocess.run(["scontrol", "requeue", record["slurm_job"]], check=True)
    return str(record["slurm_job"])


def is_back(node: str) -> bool:
    """Resume the node, which is refused where it has reported back by itself already."""
    subprocess.run(["scontrol", "update", node, "State=RESUME"], check=False, capture_output=True)
    shown = ["sinfo", "--noheader", "--format=%T"]
    return "down" not in subprocess.run(shown, check=True, capture_output=True, text=True).stdout


def lose_the_node(controller: Controller) -> str | None:
    """Take the node down while the trained model answers, and bring it back."""
    record = controller.marker(ANSWERS)
    if record.get("state") != "running":
        return None
    node = f"NodeName={os.uname().nodename.partition('.')[0]}"
    subprocess.run(["scontrol", "update", node, "State=DOWN", "Reason=test"], check=True)
    wait_until(lambda: state(record["slurm_job"]) != "RUNNING")
    wait_until(lambda: is_back(node))
    return str(record["slurm_job"])


def test_the_tables_are_those_of_an_undisturbed_run(disturbed: Disturbed) -> None:
    """Byte for byte; the summary has the time that jobs took as well, which is left out."""
    folders = (disturbed.folder / RESULTS / "tables", disturbed.reference / RESULTS / "tables")
    tables = [
        {path.name: path.read_text() for path in folder.glob("*.csv") if path.stem != "summary"}
        for folder in folders
    ]
    assert tables[0] == tables[1]
    assert "winrates.csv" in tables[0]
    summaries = [pd.read_csv(folder / "summary.csv") for folder in folders]
    kept = [name for name in summaries[0] if not name.endswith("_seconds")]
    assert len(kept) > 20
    pd.testing.assert_frame_equal(summaries[0][kept], summaries[1][kept], check_exact=True)
    report = disturbed.folder / RESULTS / "report.html"
    assert report.stat().st_size > 100_000
    planned = workflow(disturbed.folder, *PROFILE, "--dry-run", "--", "all")
    assert "Nothing to be done" in planned.stdout + planned.stderr


def test_jobs_with_a_model_held_a_gpu_and_no_others(disturbed: Disturbed) -> None:
    stages = {"generate", "annotate", "train", "reward_model"}
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
    assert len(jobs) == 3


def test_light_jobs_ran_beside_the_workflow(disturbed: Disturbed) -> None:
    light = {"merge", "decode", "levels", "winrate", "tables", "plot", "overview", "prompts"}
    submitted = {record["stage"] for record in disturbed.markers() if record["slurm_job"]}
    assert not submitted & light
    assert "solve" in submitted


def test_a_second_workflow_is_told_that_the_folder_is_locked(disturbed: Disturbed) -> None:
    assert "LockException" in disturbed.locked


def test_the_job_of_the_killed_workflow_made_room(disturbed: Disturbed) -> None:
    log = (disturbed.folder / RESULTS / "logs/base_model.log").read_text()
    orphan = disturbed.struck["orphan"]
    assert f"SLURM job {orphan} of an earlier workflow is still at this; cancelled" in log
    assert disturbed.marker("base_model")["slurm_job"] != orphan


def test_the_cancelled_training_went_on_from_its_checkpoint(disturbed: Disturbed) -> None:
    """The second attempt trained the last steps only, and came to the same weights."""
    record = disturbed.marker(TRAINING)
    assert record["attempt"] == 2
    assert record["slurm_job"] != disturbed.struck["training"]
    manifests = [
        json.loads((folder / f"{MODEL}.json").read_text())
        for folder in (disturbed.folder, disturbed.reference)
    ]
    assert manifests[0]["files"] == manifests[1]["files"]
    log = (disturbed.folder / RESULTS / f"logs/{TRAINING}.log").read_text()
    assert log.count("'loss'") == 2


def test_requeued_jobs_ran_again_under_their_numbers(disturbed: Disturbed) -> None:
    for name, job in (("generate/base-pool_0-of-1", "requeued"), (ANSWERS, "lost")):
        record = disturbed.marker(name)
        assert (record["state"], record["attempt"]) == ("done", 1)
        assert record["slurm_job"] == disturbed.struck[job]
    assert not list((disturbed.folder / RESULTS).rglob(".*.parquet.*"))
