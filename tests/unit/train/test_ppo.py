"""PPO's own parts: advantages, the actor and critic, and what its trainer does with them."""

import numpy as np
import pytest
import torch
from enumerable import REWARDS, TEMPLATE
from trainers import assert_same_but_for_rounding, run_in, same_weights, train

from polyalign.families.ppo import Ppo
from polyalign.train.actor_critic import ActorCritic, advantages
from polyalign.train.loading import load
from polyalign.train.ppo import PpoTrainer
from polyalign.train.responses import padded, spread, token_logprobs


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


def test_network_against_the_definition(base, tmp_path):
    """Log-probabilities and entropies of a padded batch, against one sequence at a time."""
    policy, _ = load(str(base), None, TEMPLATE, Ppo(), run_in(tmp_path))
    prompts, responses = [[5, 1], [5, 6, 1]], [[2, 3, 0], [4]]
    batch = padded(prompts, responses, 0, torch.device("cpu"))
    assert batch.mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    actor = ActorCritic(policy, temperature=0.7)
    logprobs, values, entropy = actor(batch, entropy=True)
    assert len(actor(batch)) == 2
    assert values.detach().abs().max() == 0
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        logits = policy(torch.tensor([prompt + response])).logits[0] / 0.7
        every = logits.log_softmax(-1)
        for place, token in enumerate(response):
            here = every[len(prompt) - 1 + place]
            torch.testing.assert_close(logprobs[row, place], here[token])
            torch.testing.assert_close(entropy[row, place], -(here.exp() * here).sum())
    shifted = token_logprobs(spread(policy(batch.ids).logits[:, -4:-1], 1.0), batch)
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
    changes = {"steps": 80, "batch_size": 32, "value_learning_rate": 1e-2}
    train("ppo", base, tmp_path, lam={"sweet": 1.0}, **changes)
    assert same_weights(base, tmp_path / "model")
    assert errors[0] > 3
    assert errors[-1] < errors[0] / 3


@pytest.mark.parametrize("changes", [{"accumulation": 4}, {"gradient_checkpointing": True}])
def test_accumulation_and_checkpointing_change_only_rounding(base, tmp_path, monkeypatch, changes):
    """With the same responses: what is sampled depends on the parts that it is sampled in."""
    words = [[2, 3, 0], [4, 0], [2, 2, 2], [3, 4, 2], [0]]
    monkeypatch.setattr(
        PpoTrainer,
        "sample",
        lambda self, prompts, asked, number: [words[n % 5] for n in range(len(prompts))],
    )
    train("ppo", base, tmp_path / "one", learning_rate=1e-3)
    train("ppo", base, tmp_path / "other", learning_rate=1e-3, **changes)
    assert_same_but_for_rounding(base, tmp_path / "one/model", tmp_path / "other/model", 1e-4)
