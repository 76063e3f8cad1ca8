"""A batch in parts has the gradient of the whole batch, and its parts fit the memory."""

import accelerate
import numpy as np
import pandas as pd
import pytest
import torch
import trainers
from enumerable import END, LENGTH, SAMPLING, TEMPLATE, TOKENS
from torch.distributed._tools.mem_tracker import MemTracker
from trainers import run_in
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from trl.trainer.utils import add_fused_lm_head

from polyalign.data.labels import labelled_texts
from polyalign.families.dpo import Dpo, Labels
from polyalign.families.options import LabelTable, RewardTraining
from polyalign.families.sft import Sft
from polyalign.families.value_d import ValueTraining
from polyalign.train import parts
from polyalign.train.candidates import train_on_candidates
from polyalign.train.classifier import train_classifier
from polyalign.train.dpo import train_dpo
from polyalign.train.listwise import ListwiseTrainer
from polyalign.train.responses import (
    by_length,
    response_logits,
    sampled,
    spread,
    token_entropies,
    token_logprobs,
)
from polyalign.train.reward import train_reward
from polyalign.train.sft import SelectionTrainer
from polyalign.train.value import train_values

ROWS = 11
"""Rows of data: a step of 8, and a last one of 3."""

OPTIONS = {"learning_rate": 1e-3, "batch_size": 8, "epochs": 1}


def candidates(each: int, prompts: int = ROWS) -> pd.DataFrame:
    """`each` answers to each prompt, of one to three tokens, with made-up rewards."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(prompts):
        for answer in range(each):
            words = rng.choice(["a", "b", "c"], size=rng.integers(1, LENGTH + 1))
            rows.append(
                {"prompt_id": str(number), "candidate": answer, "prompt": ("p", "p q")[number % 2],
                 "response": " ".join(words), "end_token": TOKENS[END] if len(words) < 3 else "",
                 "score": rng.normal(), "sweet": rng.normal(), "split": "fit"}
            )  # fmt: skip
    return pd.DataFrame(rows)


def pairs() -> pd.DataFrame:
    answers = candidates(2)["response"].to_numpy().reshape(-1, 2)
    return pd.DataFrame(
        {"prompt": "p", "chosen": answers[:, 0] + " a", "rejected": answers[:, 1] + " b"}
    )


def train_pairs(base, folder, lora=None):
    section = Dpo(**OPTIONS, lora=lora)
    preference = pairs().assign(preference=np.linspace(0.5, 1, ROWS))
    train_dpo(str(base), preference, section, run_in(folder), folder / "model",
              template=TEMPLATE, beta=1.0, max_new_tokens=LENGTH + 1)  # fmt: skip


def train_candidates(kind, section, each, prompts):
    def trains(base, folder):
        frame = candidates(each, prompts)
        if prompts > 1:  # prompts of 2, 3 and 4 candidates: each counts once
            frame = frame[frame["candidate"] < 2 + frame["prompt_id"].astype(int) % 3]
        train_on_candidates(kind, str(base), frame, frame[:0], section(**OPTIONS), run_in(folder),
                            folder / "model", template=TEMPLATE, max_new_tokens=LENGTH)  # fmt: skip

    return trains


def train_texts(base, folder):
    texts = candidates(1).assign(text=lambda rows: rows["response"], label=[0, 1] * 5 + [1])
    texts["split"] = ["train"] * ROWS
    texts = pd.concat([texts, texts[:4].assign(split="test")])[["text", "label", "split"]]
    table = LabelTable(path="texts.jsonl")
    # A classifier keeps its base's dropout, which draws otherwise for other parts.
    model = AutoModelForCausalLM.from_pretrained(base, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0)
    model.save_pretrained(folder / "base")
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / "base")
    train_classifier(str(folder / "base"), labelled_texts(texts, table), table,
                     RewardTraining(**OPTIONS), run_in(folder), folder / "model")  # fmt: skip


def train_preferences(base, folder):
    train_reward(str(base), pairs(), pairs()[:4], RewardTraining(**OPTIONS), run_in(folder),
                 folder / "model", template=TEMPLATE)  # fmt: skip


def train_soft_values(base, folder):
    train_values({"source": str(base), "revision": None}, candidates(4), ["sweet"],
                 ValueTraining(rank=2, **OPTIONS), run_in(folder), folder / "model",
                 template=TEMPLATE, sampling=SAMPLING, raised=["sweet"],
                 signs={"sweet": 1})  # fmt: skip


def train_by_reward(algorithm, **settings):
    def trains(base, folder):
        trainers.train(algorithm, base, folder, **{"batch_size": 8, "steps": 2, **settings})

    return trains


TRAININGS = {
    "ppo": train_by_reward("ppo", minibatches=1, passes=2),
    "rloo": train_by_reward("rloo"),
    "rloo, adapters": train_by_reward("rloo", lora={"rank": 4, "targets": ["c_attn"]}),
    "grpo": train_by_reward("grpo"),
    "dpo": train_pairs,
    "listwise": train_candidates(ListwiseTrainer, Labels, 4, ROWS),
    "sft": train_candidates(SelectionTrainer, Sft, ROWS, 1),
    "values": train_soft_values,
    "classifier": train_texts,
    "reward": train_preferences,
}


@pytest.fixture
def gradients(monkeypatch):
    """The gradient of every step, before it is clipped."""
    taken: list[torch.Tensor] = []
    clip = accelerate.Accelerator.clip_grad_norm_

    def noting(self, parameters, *arguments, **named):
        parameters = list(parameters)
        found = [weight.grad.flatten() for weight in parameters if weight.grad is not None]
        taken.append(torch.cat(found).clone())
        return clip(self, parameters, *arguments, **named)

    monkeypatch.setattr(accelerate.Accelerator, "clip_grad_norm_", noting)
    return taken


@pytest.mark.parametrize("name", TRAININGS)
def test_parts_have_the_gradient_of_the_whole_batch(
    base, tmp_path, monkeypatch, capfd, gradients, name
):
    """Memory for 3 rows: 2 at a time, since 8 rows are divided evenly; the last 3 are 2 and 1."""
    monkeypatch.setattr(parts, "text_bytes", lambda *arguments, **named: 1)
    TRAININGS[name](base, tmp_path / "whole")
    assert "at a time" not in capfd.readouterr().out
    whole = gradients.copy()
    gradients.clear()
    texts = {"dpo": 2, "reward": 2, "listwise": 4, "values": 4}
    monkeypatch.setattr(parts, "HELD_ON_CPU", 3 * texts.get(name, 1))
    TRAININGS[name](base, tmp_path / "parts")
    assert "a step's 8 rows are computed 2 at a time" in capfd.readouterr().out
    assert len(whole) == len(gradients) >= 1
    for one, other in zip(whole, gradients, strict=True):
        assert one.norm() > 1e-3
        assert (one - other).norm() <= 1e-3 * one.norm()


@pytest.mark.parametrize("whole", [False, True])
def test_the_bytes_of_a_text_are_those_that_its_gradient_takes(whole):
    """Against torch's own tracker of what is allocated while the gradient is computed."""
    config = LlamaConfig(
        vocab_size=parts.TILE, hidden_size=64, intermediate_size=160, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    tokens, texts = 40, 8
    counted = texts * parts.text_bytes(model, tokens, whole=whole)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    ids = torch.randint(config.vocab_size, (texts, tokens))
    attention = torch.ones_like(ids)

    def read(part):
        every = spread(response_logits(model, part)[0], 1.0)
        return token_logprobs(every, part), token_entropies(every)

    def logprobs():
        if whole:
            return by_length(read, sampled(ids, attention, tokens - 1), config.vocab_size)[0]
        made = model(input_ids=ids, attention_mask=attention, labels=ids, fused_lm_head=True)
        return made.log_probs

    # The weights' own gradients are there before, as in the second part of a batch.
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    with MemTracker() as tracker:
        logprobs().sum().backward()
    assert 0.8 <= taken(tracker) / counted <= 1.1


@pytest.mark.parametrize("dropout", [False, True])
def test_the_bytes_of_a_text_count_what_dropout_keeps(dropout):
    """Attention with dropout keeps the weights of all pairs of tokens; no number is drawn."""
    config = BertConfig(
        vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=8, max_position_embeddings=256,
    )  # fmt: skip
    model = BertModel(config).eval()
    tokens, texts = 256, 6
    drawn = torch.get_rng_state()
    counted = texts * parts.text_bytes(model, tokens, logits=False, dropout=dropout)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not model.training
    model.train(dropout)
    ids = torch.randint(config.vocab_size, (texts, tokens))
    padded = torch.ones_like(ids).tril(tokens - texts)
    with MemTracker() as tracker:
        model(input_ids=ids, attention_mask=padded).last_hidden_state.sum().backward()
    assert 0.8 <= taken(tracker) / counted <= 1.3


def taken(tracker):
    """Most bytes that were taken at once, without weights and their gradients."""
    peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]
    found = sum(size for kind, size in peak.items() if "ACT" in str(kind) or "TEMP" in str(kind))
    print(f"taken: {found / 1e6:.1f} MB")
    return found


def test_a_row_is_not_divided_and_a_gpu_has_no_limit(base, monkeypatch):
    model = AutoModelForCausalLM.from_pretrained(base)
    one = parts.text_bytes(model, 4)
    monkeypatch.setattr(parts, "HELD_ON_CPU", 10 * one)
    assert parts.fitting(model, 2, 4, "cpu") == 5
    assert parts.fitting(model, 30, 4, "cpu") == 1
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert parts.fitting(model, 1, 4, "cpu") == 3, "processes share the memory"
    monkeypatch.setattr(parts, "on_cuda", lambda device: True)
    assert parts.fitting(model, 30, 4, "cuda") is None
