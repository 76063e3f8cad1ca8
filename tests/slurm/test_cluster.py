"""The tiny study on a real SLURM cluster, disturbed in each way that a cluster has of doing so."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from cluster import GPUS, Cluster, cluster, missing
from study import PALETTE, checkout

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it can be run")

RESULTS = Path("results/sandbox")
MODEL = RESULTS / "models/dpo/beta-0.1_helpful"
TRAINING = "train/dpo-beta-0.1_helpful"
ANSWERS = "generate/dpo-beta-0.1_helpful_0-of-1"
REWARD_MODEL = "reward_model/helpful"
SITE = yaml.safe_load(
    (Path(__file__).parents[2] / "profiles/slurm/config.yaml").read_text(encoding="utf-8")
)
# The profile's own groups, and the one that it proposes: a shard is sampled and scored at once.
GROUPS = {**SITE["groups"], "generate": "score", "annotate": "score"}
PROFILE = [
    *("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1"),
    *("--latency-wait", "10", "--max-jobs-per-timespan", "20/1s"),
    *("--groups", *(f"{rule}={group}" for rule, group in GROUPS.items())),
    *("--set-resources", *(f"{rule}:one_at_a_time=1" for rule in GROUPS)),
]
# The plugin waits 10 s longer after each look at the queue in which no job had ended. That is for
# jobs of hours; these take seconds.
EVERY_SECOND = """
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(
    lambda executor: 1, lambda executor, seconds: None
)
main()
"""
LIMIT = 1200.0
"""Seconds after which something hangs, also on a busy machine."""


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
    attempts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def start(cls, folder: Path, name: str) -> "Controller":
        log = folder / f"{name}.log"
        command = [sys.executable, "-c", EVERY_SECOND, *PROFILE, "--", "all"]
        with log.open("w") as stream:
            process = subprocess.Popen(
                command, cwd=folder, env=environment(), stdout=stream, stderr=subprocess.STDOUT
            )
        return cls(folder, log, process)

    def record(self, name: str) -> dict[str, Any]:
        """The record of a job; empty until there is one."""
        path = self.folder / RESULTS / f"logs/{name}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def at_work(self, name: str) -> dict[str, Any]:
        """The record of a job whose process is there; empty if it is not.

        A job that ended with its node leaves the record of a running job until it runs again. The
        attempt of its SLURM job is kept in `attempts`.
        """
        record = self.record(name)
        if record.get("state") != "running" or not Path(f"/proc/{record['pid']}").exists():
            return {}
        self.attempts.setdefault(str(record["slurm_job"]), record["attempt"])
        return record

    def ended_well(self) -> bool:
        """Whether the workflow ends in time and without an error."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(LIMIT) == 0
        return False

    def situation(self) -> str:
        """What a person would look at: the workflow's output, all jobs, the daemon's log."""
        jobs = subprocess.run(
            ["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True, check=False
        )
        nodes = subprocess.run(["sinfo", "--long"], capture_output=True, text=True, check=False)
        daemons = [
            f"== {log.name}\n{log.read_text()[-8000:]}"
            for log in sorted(Path(os.environ["SLURM_CONF"]).parent.glob("slurm*.log"))
        ]
        parts = [self.log.read_text(), jobs.stdout, nodes.stdout, *daemons]
        return "\n".join(parts)

    def inject(self, faults: "dict[str, Fault]") -> dict[str, str]:
        """Do each fault as soon as its time has come; returns the SLURM jobs that they struck."""
        struck: dict[str, str] = {}
        end = time.monotonic() + LIMIT
        while len(struck) < len(faults):
            for name, fault in faults.items():
                if name not in struck and (job := fault(self)):
                    struck[name] = job
            over = self.process.poll() is not None and len(struck) < len(faults)
            assert not over, f"only {struck} when it ended:\n{self.situation()}"
            assert time.monotonic() < end, f"only {struck}:\n{self.situation()}"
            time.sleep(0.02)
        return struck


Fault = Callable[[Controller], str | None]
"""Strikes a job if its time has come, and returns its SLURM number."""


def facts(job: str) -> dict[str, str]:
    """What SLURM knows of a job: its `Restarts`, `JobName` and so on."""
    shown = subprocess.run(
        ["scontrol", "show", "job", job], capture_output=True, text=True, check=True
    )
    return dict(word.split("=", 1) for word in shown.stdout.split() if "=" in word)


def state(job: str) -> str:
    """State of a SLURM job, as squeue names it."""
    command = ["squeue", "--noheader", "--states=all", "--format=%T", "--jobs", job]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def wait_until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
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
    attempts: dict[str, int]
    submitted: dict[str, dict[str, str]]

    def record(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            (self.folder / RESULTS / f"logs/{name}.json").read_text()
        )
        return found

    def refused(self, job: str) -> bool:
        """Whether SLURM refused a job a step, as it may for a moment after a node or job ended."""
        logs = (self.folder / "results/slurm-logs").rglob(f"{job}.log")
        return any("Unable to create step" in log.read_text() for log in logs)

    def taken_for_failed(self, job: str) -> bool:
        """Whether Snakemake asked for a job after SLURM had ended it and before it was in the queue
        again, which happened once in some forty runs; its log then says why SLURM ended it."""
        logs = [log.read_text() for log in (self.folder / "results/slurm-logs").rglob(f"{job}.log")]
        requeued = any(re.search(r"DUE TO (JOB REQUEUE|NODE FAILURE)", log) for log in logs)
        return requeued and f"/{job}.log (check log" in (self.folder / "second.log").read_text()

    def records(self) -> list[dict[str, Any]]:
        found = (self.folder / RESULTS / "logs").rglob("*.json")
        return [json.loads(path.read_text()) for path in found]


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disturbed]:
    """The study without SLURM and without a fault, and the same on the cluster with all of them."""
    reference = checkout(tmp_path_factory.mktemp("reference") / "checkout")
    folder = checkout(tmp_path_factory.mktemp("cluster") / "checkout")
    done = workflow(reference, "--cores", "2", "--show-failed-logs", "--", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    with cluster() as running:
        controllers = [first := Controller.start(folder, "first")]
        try:
            struck = first.inject({"orphan": kill_controller})
            locked = workflow(folder, *PROFILE, "--", "all").stderr
            assert workflow(folder, "--unlock").returncode == 0
            controllers.append(second := Controller.start(folder, "second"))
            faults = {
                "training": cancel_training,
                "requeued": requeue,
                "resumed": requeue_training,
                "lost": lambda controller: lose_the_node(controller, running),
            }
            struck |= second.inject(faults)
            assert second.ended_well(), second.situation()
        finally:
            for controller in controllers:
                controller.process.kill()
        found = Disturbed(folder, reference, locked, struck, second.attempts, {})
        jobs = {record["slurm_job"] for record in found.records()} - {None}
        found.submitted.update({job: facts(job) for job in jobs | set(struck.values())})
        yield found


def kill_controller(controller: Controller) -> str | None:
    """Kill the workflow itself, with no chance to cancel its jobs, while the base model is trained.

    The job stands still, as a long training would still be at work when its user comes back.
    """
    record = controller.at_work("base_model")
    if not record:
        return None
    os.kill(record["pid"], signal.SIGSTOP)
    controller.process.kill()
    controller.process.wait()
    return str(record["slurm_job"])


def stopped_training(controller: Controller, name: str) -> str | None:
    """The SLURM job of a training, made to stand still as soon as it has a checkpoint."""
    record = controller.at_work(name)
    if not record:
        return None
    work = controller.folder / record["work"]
    if not list(work.glob("checkpoint-*/trainer_state.json")):
        return None
    with suppress(ProcessLookupError):
        os.kill(record["pid"], signal.SIGSTOP)
    job = str(record["slurm_job"])
    return job if controller.at_work(name) and state(job) == "RUNNING" else None


def cancel_training(controller: Controller) -> str | None:
    """Cancel a training that has a checkpoint."""
    if job := stopped_training(controller, TRAINING):
        subprocess.run(["scancel", job], check=True)
    return job


def requeue_training(controller: Controller) -> str | None:
    """Requeue a training that has a checkpoint, as preemption does."""
    if job := stopped_training(controller, REWARD_MODEL):
        subprocess.run(["scontrol", "requeue", job], check=True)
    return job


def requeue(controller: Controller) -> str | None:
    """Requeue a job that samples, as preemption does."""
    record = controller.at_work("generate/base-pool_0-of-1")
    if not record or state(record["slurm_job"]) != "RUNNING":
        return None
    subprocess.run(["scontrol", "requeue", record["slurm_job"]], check=True)
    return str(record["slurm_job"])


def lose_the_node(controller: Controller, running: Cluster) -> str | None:
    """Lose the node while the trained model answers, and bring it back."""
    record = controller.at_work(ANSWERS)
    if not record or state(record["slurm_job"]) != "RUNNING":
        return None
    running.lose_node()
    wait_until(lambda: state(record["slurm_job"]) != "RUNNING")
    running.bring_node_back()
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
    for pattern, count in (("policies/*/*/rewards.parquet", 4), ("palettes/lam/*.json", 2)):
        written = [
            {
                str(path.relative_to(folder)): path.read_bytes()
                for path in (folder / RESULTS).glob(pattern)
            }
            for folder in (disturbed.folder, disturbed.reference)
        ]
        assert len(written[0]) == count, sorted(written[0])
        assert written[0] == written[1]
    report = disturbed.folder / RESULTS / "report.html"
    assert report.stat().st_size > 100_000
    planned = workflow(disturbed.folder, *PROFILE, "--dry-run", "--", "all")
    assert "Nothing to be done" in planned.stdout + planned.stderr


def test_jobs_with_a_model_held_a_gpu_and_no_others(disturbed: Disturbed) -> None:
    stages = {"generate", "annotate", "train", "reward_model"}
    held = {record["stage"] for record in disturbed.records() if record["gpus"] in ("0", "1")}
    assert held == stages
    for record in disturbed.records():
        if record["stage"] not in stages:
            assert record["gpus"] in (None, "", "NoDevFiles"), record


def test_a_gpu_has_one_job_at_a_time(disturbed: Disturbed) -> None:
    events: list[tuple[str, int]] = []
    for gpu in map(str, range(GPUS)):
        spans = sorted(
            (record["started"], record["ended"])
            for record in disturbed.records()
            if record["gpus"] == gpu
        )
        assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))
        events += [(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans]
    at_once = [sum(step for _, step in sorted(events)[: i + 1]) for i in range(len(events))]
    assert max(at_once) <= GPUS


def test_a_shard_is_sampled_and_scored_in_one_submission(disturbed: Disturbed) -> None:
    shards = {
        shard: {
            disturbed.record(f"{stage}/{shard}{value}_0-of-1")["slurm_job"]
            for stage, value in (("generate", ""), *(("annotate", f"_{name}") for name in PALETTE))
        }
        for shard in ("base-pool", "base-base", "dpo-beta-0.1_helpful")
    }
    assert all(len(jobs) == 1 for jobs in shards.values()), shards
    assert len(set.union(*shards.values())) == 3, shards


def test_light_jobs_ran_beside_the_workflow(disturbed: Disturbed) -> None:
    light = {"merge", "solve", "decode", "levels", "winrate", "tables", "plot", "overview"}
    light |= {"prompts"}
    submitted = {record["stage"] for record in disturbed.records() if record["slurm_job"]}
    assert not submitted & light
    assert "diagnose" in submitted


def test_palettes_take_turns_in_one_submission(disturbed: Disturbed) -> None:
    found = [record for record in disturbed.records() if record["stage"] == "diagnose"]
    assert len(found) == 2
    (job,) = {record["slurm_job"] for record in found}
    first, second = sorted((record["started"], record["ended"]) for record in found)
    assert second[0] >= first[1]
    # Time is for all of them, memory and cores are for the one whose turn it is.
    asked = disturbed.submitted[job]
    assert asked["TimeLimit"] == "01:00:00", "2 jobs of the profile's 30 minutes"
    assert asked["MinMemoryNode"] == "4000M"
    assert asked["NumCPUs"] == "1"


def test_submissions_are_named_after_the_workflow(disturbed: Disturbed) -> None:
    names = [facts["JobName"] for facts in disturbed.submitted.values()]
    assert len(names) > 5
    assert all(name.startswith(SITE["slurm-jobname-prefix"] + "_") for name in names)


def test_a_second_workflow_is_told_that_the_folder_is_locked(disturbed: Disturbed) -> None:
    assert "LockException" in disturbed.locked


def test_the_job_of_the_killed_workflow_made_room(disturbed: Disturbed) -> None:
    log = (disturbed.folder / RESULTS / "logs/base_model.log").read_text()
    orphan = disturbed.struck["orphan"]
    assert f"SLURM job {orphan} of an earlier workflow still runs this job; cancelled" in log
    assert disturbed.record("base_model")["slurm_job"] != orphan


def test_the_cancelled_training_went_on_from_its_checkpoint(disturbed: Disturbed) -> None:
    """The next attempt trained the last steps only, and came to the same weights."""
    record = disturbed.record(TRAINING)
    cancelled = disturbed.struck["training"]
    assert record["attempt"] == disturbed.attempts[cancelled] + 1
    assert record["slurm_job"] != cancelled
    manifests = [
        json.loads((folder / f"{MODEL}.json").read_text())
        for folder in (disturbed.folder, disturbed.reference)
    ]
    assert manifests[0]["files"] == manifests[1]["files"]
    log = (disturbed.folder / RESULTS / f"logs/{TRAINING}.log").read_text()
    resumed = re.search(r"resumes from \S+/checkpoint-(\d+)\n", log)
    assert resumed
    metrics = pd.read_csv(disturbed.folder / f"{MODEL}.csv").dropna(subset="loss")
    left = int((metrics["step"] > int(resumed[1])).sum())
    assert 0 < left < len(metrics)
    assert log.count("'loss'") == left


def test_requeued_jobs_ran_again_under_their_numbers(disturbed: Disturbed) -> None:
    for name, fault in (
        ("generate/base-pool_0-of-1", "requeued"),
        (REWARD_MODEL, "resumed"),
        (ANSWERS, "lost"),
    ):
        record, job = disturbed.record(name), disturbed.struck[fault]
        assert record["state"] == "done"
        # A job that was requeued may also run when the node goes down.
        assert int(disturbed.submitted[job]["Restarts"]) >= 1
        if disturbed.refused(job) or disturbed.taken_for_failed(job):
            # SLURM refused it a step when it ran again, or Snakemake asked at the wrong moment.
            # That is a failure, and another attempt.
            assert record["attempt"] > disturbed.attempts[job]
            continue
        # To be requeued is no attempt.
        assert (record["attempt"], record["slurm_job"]) == (disturbed.attempts[job], job)
        assert disturbed.submitted[job]["JobState"] == "COMPLETED"
    assert not list((disturbed.folder / RESULTS).rglob(".*.parquet.*"))


def test_the_requeued_training_went_on_from_its_checkpoint(disturbed: Disturbed) -> None:
    log = (disturbed.folder / RESULTS / f"logs/{REWARD_MODEL}.log").read_text()
    assert re.search(r"resumes from \S+/checkpoint-\d+\n", log)
    manifests = [
        json.loads((folder / RESULTS / "models/reward/helpful.json").read_text())
        for folder in (disturbed.folder, disturbed.reference)
    ]
    assert manifests[0]["files"] == manifests[1]["files"]
