"""Two processes, started as the rules start them, do what one does on the same total batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import two_processes
from enumerable import LAM, distribution, divergence, save_base, target
from test_dpo import candidates

from polyalign.train.dpo import lambda_pairs


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run in two processes, and the base model."""
    folder = tmp_path_factory.mktemp("two")
    base = save_base(tmp_path_factory.mktemp("base"))
    frame, rewards = candidates(distribution(base), 20)
    pairs = lambda_pairs(frame, rewards, np.array(list(LAM.values())), 1, 128)
    pairs.to_parquet(folder / "pairs.parquet")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        str(Path(two_processes.__file__)), str(base), str(folder),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, base, pairs


def test_every_record_says_so(trained):
    records = json.loads((trained[0] / "records.json").read_text())
    assert {name: record["processes"] for name, record in records.items()} == {
        "dpo": 2, "ppo": 2, "rloo": 2,
    }  # fmt: skip


def test_dpo_comes_to_the_same_weights(trained, tmp_path):
    folder, base, pairs = trained
    torch.set_num_threads(1)
    two_processes.dpo(str(base), pairs, tmp_path)
    one, two = (distribution(path / "model") for path in (tmp_path, folder / "dpo"))
    assert np.abs(one - distribution(base)).max() > 0.01
    np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.parametrize("family", ["ppo", "rloo"])
def test_reinforcement_learning_comes_to_the_same_optimum(trained, family):
    """Two processes sample other responses than one, so only the optimum is the same."""
    folder, base, _ = trained
    nats = divergence(distribution(folder / family / "model"), target(distribution(base)))
    print(f"KL to the target, two processes, {family}: {nats:.4f}")
    assert nats <= 0.05
