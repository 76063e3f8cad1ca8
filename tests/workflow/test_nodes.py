"""Training over several nodes: the command of the rule, and two launchers that it starts here."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import snakemake

# SLURM's, as far as the command needs it: one task per node, each with its number.
SRUN = """#!/bin/bash
tasks=
while [[ $1 == --* ]]; do
    [[ $1 == --ntasks=* ]] && tasks=${1#*=}
    shift
done
pids=()
for ((i = 0; i < tasks; i++)); do
    SLURM_NODEID=$i "$@" & pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || exit 1; done
"""

TRAINER = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace

import torch

from polyalign.runtime import job_record
from polyalign.runtime.job import is_main_process
from polyalign.train.common import per_process, process_count

torch.distributed.init_process_group("gloo")
total = torch.tensor([float(os.environ["RANK"]) + 1])
torch.distributed.all_reduce(total)
if is_main_process():
    # A node of this test has one GPU.
    torch.cuda.device_count = lambda: 1
    record = job_record.ended(job_record.started("train", 1, "key", [], None, 2))
    facts = {
        "sum": total.item(), "processes": process_count(), "rows": per_process(16, 2),
        "on_this_node": os.environ["LOCAL_WORLD_SIZE"], "gpus_held": record["gpus_held"],
    }
    Path(sys.argv[1]).write_text(json.dumps(facts))
torch.distributed.destroy_process_group()
"""

SLURM = ("mpi=srun", "tasks=2", "tasks_per_gpu=0")


MODEL = "results/sandbox/models/rloo/hhh-60.json"


def planned_launch(plan: Callable[..., str], *resources: str) -> str:
    """What the command of a training with these resources has before the script."""
    given = (f"train_rloo:{one}" for one in resources)
    printed = plan("--cores", "2", "--set-resources", *given, "--", MODEL)
    found = re.search(
        r"RAYON_NUM_THREADS=1 OMP_NUM_THREADS=1 (srun .*) \S+/scripts/train\.py", printed
    )
    assert found, printed
    return found[1]


def test_one_launcher_per_node_and_one_process_per_gpu(plan: Callable[..., str]) -> None:
    assert planned_launch(plan, "gpu=8", "nodes=2", *SLURM) == (
        "srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpu-bind=none "
        "python -m torch.distributed.run --nnodes 2 --nproc_per_node 4 --rdzv_backend c10d "
        "--rdzv_id $SLURM_JOB_ID --rdzv_endpoint $(hostname):$((20000 + SLURM_JOB_ID % 20000))"
    )


@pytest.mark.parametrize(
    "resources",
    [("gpu=8", "nodes=2"), ("gpu=3", "nodes=2", *SLURM), ("gpu=0", "nodes=2", *SLURM)],
)
def test_what_cannot_be_started_is_refused_in_the_plan(
    checkout: Path, resources: tuple[str, ...]
) -> None:
    dry = snakemake(
        checkout, "--dry-run", "--cores", "2",
        "--set-resources", *(f"train_rloo:{one}" for one in resources), "--", MODEL,
    )  # fmt: skip
    assert dry.returncode != 0
    assert "a training on nodes=2 with gpu=" in dry.stdout
    assert "see docs/cluster.md, or set nodes=1" in dry.stdout


def number_with_a_free_port() -> int:
    """A number of a SLURM job for which the port of the launchers is free here."""
    for number in range(os.getpid(), os.getpid() + 1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", 20000 + number % 20000))
            return number
    raise AssertionError("no port is free")


def test_two_nodes_train_together(plan: Callable[..., str], tmp_path: Path) -> None:
    launch = planned_launch(plan, "gpu=2", "nodes=2", *SLURM)
    srun, trainer, facts = tmp_path / "srun", tmp_path / "trainer.py", tmp_path / "facts.json"
    srun.write_text(SRUN)
    srun.chmod(0o755)
    trainer.write_text(TRAINER)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(
            [str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]]
        ),
        "SLURM_JOB_ID": str(number_with_a_free_port()),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{launch} {trainer} {facts}"],
        env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(facts.read_text()) == {
        "sum": 3.0, "processes": 2, "rows": 4, "on_this_node": "1", "gpus_held": 2,
    }  # fmt: skip
