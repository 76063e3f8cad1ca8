"""Two processes, started as the rules start them, do what one does on the same total batch."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import two_processes
from enumerable import END, LAM, TOKENS, distribution, divergence, save_base, target
from safetensors.torch import load_file
from test_dpo import candidates
from transformers import AutoModelForSequenceClassification

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
    if torch.cuda.device_count() < 2:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, base, pairs


def test_every_record_says_so(trained):
    records = json.loads((trained[0] / "records.json").read_text())
    names = {*two_processes.ALIKE, "ppo", "rloo"}
    assert {name: record["processes"] for name, record in records.items()} == dict.fromkeys(
        names, 2
    )
    assert records["resumed"]["resumed_from"] == 3


@pytest.mark.parametrize("name", ["dpo", "adapters"])
def test_dpo_comes_to_the_same_weights(trained, tmp_path, name):
    folder, base, pairs = trained
    torch.set_num_threads(1)
    two_processes.ALIKE[name](str(base), pairs, tmp_path)
    one, two = (distribution(path / "model") for path in (tmp_path, folder / name))
    assert np.abs(one - distribution(base)).max() > 0.01
    np.testing.assert_allclose(one, two, atol=1e-4)


def rewards(folder: Path) -> torch.Tensor:
    """Rewards of every text of three tokens and the end token, less their mean.

    The loss sees differences alone: what shifts all rewards has no gradient but rounding.
    """
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    texts = [[*words, END] for words in product(range(1, len(TOKENS)), repeat=3)]
    with torch.inference_mode():
        found = model(torch.tensor(texts)).logits[:, 0]
    return found - found.mean()


def test_a_reward_model_comes_to_the_same_rewards(trained, tmp_path):
    folder, base, pairs = trained
    torch.set_num_threads(1)
    record = two_processes.reward(str(base), pairs, tmp_path)
    both = json.loads((folder / "records.json").read_text())["reward"]
    assert record["held_out"] == pytest.approx(both["held_out"], abs=1e-4)
    one, two = (rewards(path / "model") for path in (tmp_path, folder / "reward"))
    assert one.std() > 0.5
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


def test_two_processes_that_are_killed_go_on_to_the_same_weights(trained):
    folder = trained[0]
    whole, resumed = (
        load_file(folder / name / "model/model.safetensors") for name in ("dpo", "resumed")
    )
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.parametrize("family", ["ppo", "rloo"])
def test_reinforcement_learning_comes_to_the_same_optimum(trained, family):
    """Two processes sample other responses than one, so only the optimum is the same."""
    folder, base, _ = trained
    nats = divergence(distribution(folder / family / "model"), target(distribution(base)))
    print(f"KL to the target, two processes, {family}: {nats:.4f}")
    assert nats <= 0.05
