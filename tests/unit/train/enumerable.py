"""A problem so small that p_λ is computed exactly: 2 prompts, 7 tokens, responses of ≤ 3 tokens."""

from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    set_seed,
)

from polyalign.settings import SamplingRule

TOKENS = ["<end>", ":", "a", "b", "c", "p", "q"]
END = 0
# Of different lengths: in a batch the shorter one is padded, which must not change its responses.
PROMPTS = ["p", "p q"]
TEMPLATE = "{prompt}:"
LENGTH = 3
SAMPLING = SamplingRule(max_new_tokens=LENGTH)
LAM = {"sweet": 1.2, "apt": 2.2}


def sweet(prompts: list[str], responses: list[str]) -> np.ndarray:
    """How often the response says `a`."""
    return np.array([text.split().count("a") for text in responses], dtype=np.float64)


def apt(prompts: list[str], responses: list[str]) -> np.ndarray:
    """Whether the response begins with `b` to `p`, and with `c` to `p q`."""
    wanted = {"p": "b", "p q": "c"}
    return np.array(
        [float(text.split()[:1] == [wanted[prompt]])
         for prompt, text in zip(prompts, responses, strict=True)]
    )  # fmt: skip


REWARDS = {"sweet": sweet, "apt": apt}


def save_base(folder: Path, seed: int = 5) -> Path:
    """A tiny GPT-2 whose random weights are large enough for a base that is not uniform."""
    set_seed(seed)
    config = GPT2Config(
        vocab_size=len(TOKENS), n_positions=8, n_embd=32, n_layer=1, n_head=2,
        bos_token_id=END, eos_token_id=END, pad_token_id=END, initializer_range=0.15,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>"
    ).save_pretrained(folder)
    return folder


@cache
def responses() -> list[tuple[int, ...]]:
    """Every response: ended by `<end>`, or cut at the length limit."""
    words = range(1, len(TOKENS))
    ended = [(*body, END) for n in range(LENGTH) for body in product(words, repeat=n)]
    return ended + list(product(words, repeat=LENGTH))


@cache
def texts() -> list[str]:
    """The responses as decoded and stripped text."""
    return [" ".join(TOKENS[token] for token in ids if token != END) for ids in responses()]


@torch.inference_mode()
def distribution(folder: Path) -> np.ndarray:
    """Probability of every response to every prompt under a model, (2, n), by the chain rule."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    table = np.zeros((len(PROMPTS), len(responses())))
    lengths = np.array([len(ids) for ids in responses()])
    for row, prompt in enumerate(PROMPTS):
        start = [TOKENS.index(word) for word in (*prompt.split(), ":")]
        for length in range(1, LENGTH + 1):  # of one length, so nothing is padded
            same = np.flatnonzero(lengths == length)
            asked = torch.tensor([responses()[column] for column in same])
            tokens = torch.cat([torch.tensor(start).expand(len(same), -1), asked], dim=1)
            logits = model(tokens, attention_mask=torch.ones_like(tokens)).logits
            logs = logits[:, len(start) - 1 : -1].double().log_softmax(-1)
            table[row, same] = logs.gather(-1, asked[..., None]).sum((1, 2)).numpy()
    table = np.exp(table)
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-9)
    return table


@cache
def reward_table() -> np.ndarray:
    """Rewards (2, n, 2) of every response to every prompt, in the order of LAM."""
    return np.array(
        [np.column_stack([REWARDS[name]([prompt] * len(texts()), texts()) for name in LAM])
         for prompt in PROMPTS]
    )  # fmt: skip


def target(base: np.ndarray) -> np.ndarray:
    """p_λ, (2, n)."""
    tilted = base * np.exp(reward_table() @ np.array(list(LAM.values())))
    return tilted / tilted.sum(axis=1, keepdims=True)


def divergence(policy: np.ndarray, goal: np.ndarray) -> float:
    """KL(policy ‖ goal) in nats, averaged over the prompts."""
    return float((policy * np.log(policy / goal)).sum(axis=1).mean())


# What must not pass for the real thing; arguments of a trainer by reinforcement learning.
MUTATIONS = {
    "half of β": {"lam": {name: 2 * weight for name, weight in LAM.items()}},
    "a dropped value": {"lam": {"sweet": LAM["sweet"]}},
    "sampling with top_k": {"sampling": SAMPLING.model_copy(update={"top_k": 3})},
}
