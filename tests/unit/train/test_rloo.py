"""What RLOO and GRPO add to trl: rewards, the KL per response, and GRPO's advantages."""

import numpy as np
import pandas as pd
import pytest
import torch
from enumerable import LAM, REWARDS, TEMPLATE
from trainers import reached, run_in, train
from transformers import AutoTokenizer

from polyalign.errors import InputError
from polyalign.families.rloo import Rloo
from polyalign.train import common
from polyalign.train.loading import load
from polyalign.train.rl import scored
from polyalign.train.rloo import ALGORITHMS, reward_function


def test_grpo_that_divides_by_the_group_loses_lambda(base, tmp_path, monkeypatch):
    trainer, config, options = ALGORITHMS["grpo"]
    monkeypatch.setitem(
        ALGORITHMS, "grpo", (trainer, config, {**options, "scale_rewards": "group"})
    )
    nats, _ = reached("grpo", base, tmp_path)
    assert nats > 0.1


def test_padding_on_the_left_changes_no_probability(base, tmp_path):
    """What a trainer computes in a batch of several lengths is what was sampled from."""
    policy, _ = load(str(base), None, TEMPLATE, Rloo(), run_in(tmp_path))
    alone = policy(torch.tensor([[5, 1, 2]])).logits
    ids, mask = torch.tensor([[0, 5, 1, 2], [5, 6, 1, 2]]), torch.tensor([[0, 1, 1, 1], [1] * 4])
    torch.testing.assert_close(policy(ids, attention_mask=mask).logits[:1, 1:], alone)


def test_the_steps_after_the_last_full_row_of_metrics_count_too(base, tmp_path):
    tables = {}
    for every in (1, 4):
        train("rloo", base, tmp_path / str(every), log_every=every)
        tables[every] = pd.read_csv(tmp_path / str(every) / "model/metrics.csv")
    assert tables[4]["step"].tolist() == [4, 6]
    last = tables[1]["reward"].iloc[4:].mean()
    assert tables[4]["reward"].iloc[1] == pytest.approx(last, rel=1e-5)


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_the_kl_is_that_of_a_response(base, tmp_path, monkeypatch, algorithm):
    """Against the responses' own, in a step of two parts."""
    seen = []
    original = ALGORITHMS[algorithm][0].log

    def spy(self, logs, *arguments):
        found = self._metrics["train"]
        if "kl" in found:
            tokens = found["completions/mean_length"]
            seen.append(np.mean(found["kl"]) * np.mean(tokens))
        original(self, logs, *arguments)

    monkeypatch.setattr(ALGORITHMS[algorithm][0], "log", spy)
    train(algorithm, base, tmp_path, steps=4, accumulation=2)
    table = pd.read_csv(tmp_path / "model/metrics.csv")
    assert table["kl"].iloc[-1] > 0.001
    np.testing.assert_allclose(table["kl"], seen[:4], rtol=0.02, atol=1e-6)


def test_a_value_without_weight_is_not_scored(base, tmp_path):
    read = []

    def noting(name):
        def score(prompts, responses):
            read.append(name)
            return REWARDS.get(name, REWARDS["sweet"])(prompts, responses)

        return score

    rewards = {name: noting(name) for name in (*REWARDS, "unwanted")}
    lam = {**LAM, "unwanted": 0.0}
    train("rloo", base, tmp_path, rewards=rewards, lam=lam, steps=1, generations=2, batch_size=4)
    assert set(read) == set(LAM)


def test_scores_see_bare_prompts_and_stripped_responses(base):
    seen = []

    def score(prompts, responses):
        seen.append((prompts, responses))
        return np.zeros(len(prompts))

    function = reward_function("zero", score, [0], AutoTokenizer.from_pretrained(base))
    asked = {"completions": [" a b <end>"], "completion_ids": [[2, 3, 0]], "bare_prompt": ["p"]}
    assert function(prompts=["p:"], **asked) == [0.0]
    assert seen == [(["p"], ["a b"])]
    assert function.__name__ == "zero"


def test_scores_see_trimmed_responses_where_the_limit_ended_them():
    """As those of the pool, which a response with an end token is not."""
    seen = []

    def score(prompts, responses):
        seen.append(responses)
        return np.zeros(len(prompts))

    for trim, texts in ((None, ["A b. C", "A b. C"]), ("sentence", ["A b.", "A b. C"])):
        scored("zero", score, ["p"] * 2, [" A b. C "] * 2, ["", "<end>"], trim)
        assert seen[-1] == texts


def test_refuses_a_reward_that_is_not_finite(base):
    odd = lambda prompts, responses: np.array([np.nan])  # noqa: E731
    function = reward_function("odd", odd, [0], AutoTokenizer.from_pretrained(base))
    with pytest.raises(InputError, match="'odd' is nan"):
        function(prompts=["p:"], completions=["a"], completion_ids=[[2]], bare_prompt=["p"])


def test_incomplete_checkpoints_are_removed(tmp_path):
    (tmp_path / "checkpoint-9").mkdir()
    (tmp_path / "checkpoint-9/trainer_state.json").write_text("{")
    (tmp_path / "checkpoint-10").mkdir()
    (tmp_path / "checkpoint-8").mkdir()
    (tmp_path / "checkpoint-8/trainer_state.json").write_text("{}")
    assert common.last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-8")
    assert not (tmp_path / "checkpoint-9").exists()
