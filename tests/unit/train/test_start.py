"""Reinforcement learning that starts from another policy still aims at p_λ of the base model."""

import pandas as pd
import pytest
from enumerable import LAM, distribution, divergence
from trainers import reached, train

from polyalign.families.options import Lora
from polyalign.train import rl
from polyalign.train.inputs import TrainingInputs


@pytest.fixture(scope="module")
def elsewhere(base, tmp_path_factory):
    """A policy that was trained towards something else, some way from the base model."""
    folder = tmp_path_factory.mktemp("elsewhere")
    train("rloo", base, folder, lam={"sweet": 2 * LAM["sweet"]}, steps=12, learning_rate=5e-3)
    nats = divergence(distribution(folder / "model"), distribution(base))
    print(nats)
    assert nats > 0.1
    return folder / "model"


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_the_optimum_stays_that_of_the_base_model(base, elsewhere, tmp_path, algorithm):
    nats, record = reached(algorithm, base, tmp_path, initial=str(elsewhere))
    assert nats <= 0.05
    assert record["settings"]["start"] == str(elsewhere)


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=8)])
@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "grpo"])
def test_the_kl_is_to_the_base_model_from_the_first_step(
    base, elsewhere, tmp_path, algorithm, lora
):
    few = {"steps": 4, "learning_rate": 1e-9, "batch_size": 512, "log_every": 4}
    train(algorithm, base, tmp_path, initial=str(elsewhere), lora=lora, **few)
    expected = divergence(distribution(elsewhere), distribution(base))
    measured = pd.read_csv(tmp_path / "model/metrics.csv")["kl"].iloc[-1]
    assert measured == pytest.approx(expected, rel=0.1)
    # Nothing was learnt: the finished model is the one that it started from, adapters merged.
    assert divergence(distribution(tmp_path / "model"), distribution(elsewhere)) < 1e-6


@pytest.mark.parametrize(("weight", "start"), [(1.0, "dpo/one"), (0.0, None)])
def test_without_weight_the_base_model_is_the_answer(monkeypatch, tmp_path, weight, start):
    monkeypatch.setattr(rl, "load_all", dict.fromkeys)
    inputs = TrainingInputs(
        settings={"adapt": False}, model={"source": "m", "revision": "r"}, template="{prompt}",
        sampling={"max_new_tokens": 4}, seed=0, palette={"values": ["v"], "lam_train": [weight]},
        prompts=[], values={"v": {}}, preferences={}, held_out={},
        policies={"dpo/one": "dpo/one"}, candidates=None, work=tmp_path, microbatch_factor=1,
    )  # fmt: skip
    task = rl.task_of(inputs)
    assert task.initial == start
    assert task.policy == ((start, None) if start else ("m", "r"))
