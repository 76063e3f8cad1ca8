"""Training samples by the study's rule whatever the model ships, and rewards see how texts end."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from enumerable import END, LENGTH, SAMPLING, TOKENS
from safetensors.torch import load_file
from trainers import train
from transformers import AutoModelForCausalLM

from polyalign.families.options import Lora
from polyalign.rewards import EndScore
from polyalign.runtime.files import sha256

# What models ship (Qwen2.5, Whisper, Mistral, …), and what none should.
OWN = {
    "do_sample": True, "temperature": 0.1, "top_k": 1, "top_p": 0.1, "min_p": 0.9,
    "typical_p": 0.2, "repetition_penalty": 1.5, "no_repeat_ngram_size": 1,
    "suppress_tokens": [2, 3], "begin_suppress_tokens": [4], "min_new_tokens": 3,
    "forced_eos_token_id": 4, "sequence_bias": [[[4], 5.0]], "guidance_scale": 2.0,
}  # fmt: skip


def shipped(base: Path, folder: Path) -> Path:
    """The base model with a generation_config full of rules of its own."""
    shutil.copytree(base, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": END, **OWN}))
    return folder


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "grpo"])
@pytest.mark.parametrize("lora", [None, Lora(rank=2)], ids=["full", "lora"])
def test_training_is_the_same_whatever_the_model_ships(
    base: Path, tmp_path: Path, algorithm: str, lora: Lora | None
) -> None:
    other = shipped(base, tmp_path / "shipped")
    settings = {"steps": 4, "lora": lora}
    hashes = []
    for source, name in ((base, "one"), (other, "two")):
        train(algorithm, source, tmp_path / name, **settings)
        hashes.append(sha256(tmp_path / name / "model" / "model.safetensors"))
    assert hashes[0] == hashes[1]
    moved = load_file(tmp_path / "two" / "model" / "model.safetensors")
    start = load_file(base / "model.safetensors")
    assert any(not torch.equal(moved[name], start[name]) for name in start)
    own = AutoModelForCausalLM.from_pretrained(tmp_path / "two" / "model").generation_config
    assert own.eos_token_id == END
    assert own.repetition_penalty is None
    assert own.min_p is None


class Ends(EndScore):
    """A reward that notes how each response ended."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []

    def ended(self, prompts, responses, ends):  # type: ignore[no-untyped-def]
        self.seen += list(zip(responses, ends, strict=True))
        return np.zeros(len(responses))


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "grpo"])
def test_rewards_are_told_the_end_token_that_was_sampled(
    base: Path, tmp_path: Path, algorithm: str
) -> None:
    """Here `c` ends a response too, and is drawn at every place."""
    source = tmp_path / "source"
    shutil.copytree(base, source)
    ends = [TOKENS.index("c"), END]
    (source / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    reward = Ends()
    settings = {"rewards": {"v": reward}, "lam": {"v": 1.0}, "sampling": SAMPLING}
    train(algorithm, source, tmp_path, **settings, steps=4)
    assert {end for _, end in reward.seen} == {"c", "<end>", ""}
    for text, end in reward.seen:
        assert "c" not in text.split(), "an end token is no part of the text"
        assert (end == "") == (len(text.split()) == LENGTH)
