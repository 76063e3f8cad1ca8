"""PPO reaches the optimum it aims at, repeats itself, and goes on after a kill."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
import torch
from enumerable import (
    LAM,
    MUTATIONS,
    PROMPTS,
    REWARDS,
    SAMPLING,
    TEMPLATE,
    distribution,
    divergence,
    save_base,
    target,
)
from safetensors.torch import load_file

from polyalign.errors import InputError
from polyalign.train import common
from polyalign.train.actor_critic import ActorCritic, advantages, padded, token_logprobs
from polyalign.train.ppo import Ppo, PpoTrainer, train_ppo

TIMES = ["step_time", "train_runtime"]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


def train(base, folder, **changes):
    settings = {
        "template": TEMPLATE, "sampling": SAMPLING, "learning_rate": 3e-3, "steps": 8,
        "batch_size": 16, "log_every": 1, **changes,
    }  # fmt: skip
    parts = []
    for kind in (common.Training, Ppo):
        names = [field.name for field in fields(kind) if field.name in settings]
        parts.append(kind(**{name: settings.pop(name) for name in names}))
    return train_ppo(
        str(base), PROMPTS, REWARDS, settings.pop("lam", LAM), folder / "model",
        work=folder / "work", training=parts[0], ppo=parts[1], **settings,
    )  # fmt: skip


def reached(base, folder, **changes):
    start = distribution(base)
    goal = target(start)
    assert divergence(start, goal) >= 0.5
    settings = {"steps": 240, "batch_size": 128, "log_every": 60, **changes}
    record = train(base, folder, **settings)
    nats = divergence(distribution(folder / "model"), goal)
    print(f"KL to the target: base {divergence(start, goal):.3f}, trained {nats:.4f}, "
          f"{record['seconds']} s")  # fmt: skip
    return nats, record


@pytest.mark.parametrize("changes", [{}, {"gae_lambda": 0.9, "minibatches": 4, "passes": 1}])
def test_reaches_the_exact_optimum(base, tmp_path, changes):
    nats, record = reached(base, tmp_path, **changes)
    assert nats <= 0.05
    assert record["exact_target"]


@pytest.mark.parametrize("name", MUTATIONS)
def test_misses_the_optimum_of_something_else(base, tmp_path, name):
    """A wrong β, a dropped value and sampling that is not p0's cannot hide behind the bar."""
    nats, _ = reached(base, tmp_path, **MUTATIONS[name])
    assert nats > 0.1


def test_advantages_by_hand():
    rewards = torch.tensor([[1.0, 2.0, 4.0], [3.0, 9.0, 9.0]])
    values = torch.tensor([[0.5, 1.0, 2.0], [1.0, 7.0, 7.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    deltas = [1.0 + 1.0 - 0.5, 2.0 + 2.0 - 1.0, 4.0 - 2.0]
    for decay in (0.0, 0.5, 1.0):
        found = advantages(rewards, values, mask, decay)
        first = deltas[0] + decay * deltas[1] + decay**2 * deltas[2]
        expected = [[first, deltas[1] + decay * deltas[2], deltas[2]], [2.0, 0.0, 0.0]]
        torch.testing.assert_close(found, torch.tensor(expected))
    whole = advantages(rewards, values, mask, 1.0)[0]
    torch.testing.assert_close(whole + values[0], torch.tensor([7.0, 6.0, 4.0]), msg="the returns")


def test_network_against_the_definition(base):
    """Log-probabilities and entropies of a padded batch, against one sequence at a time."""
    training = common.Training(1e-3, 2)
    policy, _ = common.load(str(base), TEMPLATE, training)
    prompts, responses = [[5, 1], [5, 6, 1]], [[2, 3, 0], [4]]
    batch = padded(prompts, responses, 0, torch.device("cpu"))
    assert batch.mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    actor = ActorCritic(policy, temperature=0.7)
    logprobs, entropy, values = actor(batch)
    assert values.detach().abs().max() == 0
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        logits = policy(torch.tensor([prompt + response])).logits[0] / 0.7
        every = logits.log_softmax(-1)
        for place, token in enumerate(response):
            spread = every[len(prompt) - 1 + place]
            torch.testing.assert_close(logprobs[row, place], spread[token])
            torch.testing.assert_close(entropy[row, place], -(spread.exp() * spread).sum())
    shifted, _ = token_logprobs(policy(batch.ids).logits[:, -4:-1], batch, 1.0)
    assert not torch.allclose(shifted * batch.mask, logprobs * batch.mask)


def test_learning_values_does_not_move_the_policy(base, tmp_path, monkeypatch):
    """Without advantages nothing but the critic learns: here what a prompt alone is worth."""

    def easy(prompts, responses):
        return np.array([4.0 * (prompt == "p") for prompt in prompts])

    monkeypatch.setitem(REWARDS, "sweet", easy)
    original = PpoTrainer.judge
    errors = []

    def flat(self, *arguments):
        made = original(self, *arguments)
        errors.append(float(made.advantages.square().mean()))
        made.advantages = torch.zeros_like(made.advantages)
        return made

    monkeypatch.setattr(PpoTrainer, "judge", flat)
    train(base, tmp_path, steps=80, batch_size=32, lam={"sweet": 1.0}, value_learning_rate=1e-2)
    old, new = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "model"))
    assert all(torch.equal(old[key], new[key]) for key in old)
    assert errors[0] > 3
    assert errors[-1] < errors[0] / 3


def test_same_seed_gives_the_same_weights(base, tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        train(base, tmp_path / name, seed=seed)
    one, two, other = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("one", "two", "other")
    )
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_killed_and_resumed_equals_uninterrupted(base, tmp_path, monkeypatch, accumulation):
    """Checkpoints lie between rollouts and on rows of metrics: at steps 4 and 8 here."""
    settings = {"steps": 16, "save_every": 3, "accumulation": accumulation, "log_every": 2}
    train(base, tmp_path / "whole", **settings)
    calls = []
    original = REWARDS["apt"]

    def dies(prompts, responses):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(prompts, responses)

    monkeypatch.setitem(REWARDS, "apt", dies)
    with pytest.raises(KeyboardInterrupt):
        train(base, tmp_path / "killed", **settings)
    assert not (tmp_path / "killed/model").exists()
    record = train(base, tmp_path / "killed", **settings)
    assert (record["resumed_from"], record["steps"]) == (8, 16)
    whole, resumed = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "killed")
    )
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    tables = [
        pd.read_csv(tmp_path / name / "model/metrics.csv").drop(columns=TIMES, errors="ignore")
        for name in ("whole", "killed")
    ]
    pd.testing.assert_frame_equal(*tables)
    assert not (tmp_path / "killed/work").exists()


def test_metrics_and_folder(base, tmp_path):
    record = train(base, tmp_path, steps=8, minibatches=1, passes=1)
    table = pd.read_csv(tmp_path / "model/metrics.csv")
    assert table["step"].tolist() == list(range(1, 9))
    assert {"loss", "reward", "kl", "entropy", "length", "truncated", "clipped", "value_error",
            "rewards/sweet/mean", "rewards/apt/mean"} <= set(table)  # fmt: skip
    assert record["metrics"]["reward"] == pytest.approx(table["reward"].iloc[-1])
    total = sum(LAM.values())
    weighted = sum(table[f"rewards/{name}/mean"] * weight / total for name, weight in LAM.items())
    np.testing.assert_allclose(table["reward"], weighted, rtol=1e-5)
    assert table["kl"].iloc[0] == pytest.approx(0, abs=1e-5), "the first responses are the base's"
    assert table["length"].between(1, 3).all()
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert names == {"config.json", "generation_config.json", "model.safetensors", "metrics.csv",
                     "tokenizer.json", "tokenizer_config.json"}  # fmt: skip


def test_no_weight_at_all_copies_the_base(base, tmp_path):
    record = train(base, tmp_path, lam={"sweet": 0.0, "apt": 0.0})
    assert record["steps"] == 0
    old, new = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "model"))
    assert all(torch.equal(old[key], new[key]) for key in old)


def test_accumulation_and_checkpointing_change_only_rounding(base, tmp_path, monkeypatch):
    """With the same responses: what is sampled depends on the parts that it is sampled in."""
    words = [[2, 3, 0], [4, 0], [2, 2, 2], [3, 4, 2], [0]]
    monkeypatch.setattr(
        PpoTrainer, "sample", lambda self, prompts: [words[n % 5] for n in range(len(prompts))]
    )
    for name, changes in (("one", {}), ("parts", {"accumulation": 4}),
                          ("twice", {"gradient_checkpointing": True})):  # fmt: skip
        train(base, tmp_path / name, learning_rate=1e-3, **changes)
    one, parts, twice = (
        distribution(tmp_path / name / "model") for name in ("one", "parts", "twice")
    )
    assert np.abs(one - distribution(base)).max() > 0.01
    np.testing.assert_allclose(one, twice, atol=1e-4)
    np.testing.assert_allclose(one, parts, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 9}, "no multiple of the 4 on one rollout"),
        ({"lam": {"unknown": 1.0}}, "no such reward"),
        ({"accumulation": 3}, "expected a multiple of 3"),
        ({"template": "{prompt} a a a a a :"}, "exceeds the model's 8 positions"),
        ({"lora": common.Lora(four_bit=True), "device": "cpu"}, "training runs on the CPU"),
    ],
)
def test_refuses_early_what_does_not_fit(base, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        train(base, tmp_path, **changes)
    assert not (tmp_path / "model").exists()


def test_sampling_with_excluded_tokens_is_said_to_be_inexact(base, tmp_path):
    record = train(base, tmp_path, steps=4, sampling=replace(SAMPLING, top_k=3))
    assert not record["exact_target"]


def test_a_training_that_diverges_ends_at_once_and_leaves_no_model(base, tmp_path):
    with pytest.raises(FloatingPointError, match=r"step .*lower learning_rate"):
        train(base, tmp_path, learning_rate=1e30)
    assert not (tmp_path / "model").exists()


def test_more_parts_after_a_lack_of_memory_change_only_rounding(base, tmp_path):
    """The same responses too: noise is drawn for as many at once as before."""
    for name, changes in (("one", {}), ("parts", {"parts": 4})):
        train(base, tmp_path / name, learning_rate=1e-3, **changes)
    one, parts = (distribution(tmp_path / name / "model") for name in ("one", "parts"))
    assert np.abs(one - distribution(base)).max() > 0.01
    np.testing.assert_allclose(one, parts, atol=1e-4)
