"""Adapters: trained by every trainer, merged or kept, repeatable, resumable, refused where due."""

import numpy as np
import pandas as pd
import pytest
import torch
import trainers
from enumerable import LENGTH, TEMPLATE, distribution
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.utils.checkpoint import checkpoint
from trainers import killed_at, run_in, told
from transformers import AutoModelForSequenceClassification, modeling_utils

from polyalign.errors import InputError
from polyalign.families.dpo import Dpo
from polyalign.families.options import Lora, RewardTraining, TrainingOptions
from polyalign.families.ppo import Ppo
from polyalign.families.rloo import Rloo
from polyalign.models import few_bits
from polyalign.train import common, loading
from polyalign.train.dpo import train_dpo
from polyalign.train.loading import load
from polyalign.train.reward import train_reward

PAIRS = pd.DataFrame(
    {"prompt": ["p", "p q"] * 8, "chosen": ["a b", "c"] * 8, "rejected": ["b", "a a"] * 8}
)
LORA = Lora(rank=2, alpha=8)


def lora_with(**changes):
    return LORA.model_copy(update=changes)


def train(family, base, folder, lora=LORA, **changes):
    settings = {"learning_rate": 1e-2, "batch_size": 8, "lora": lora, **changes}
    if family != "dpo":
        return trainers.train(family, base, folder, **{"steps": 8, **settings})
    section, run, _ = told(Dpo, folder, epochs=4, **settings)
    return train_dpo(
        str(base), PAIRS, section, run, folder / "model", template=TEMPLATE, beta=1.0,
        max_new_tokens=LENGTH,
    )  # fmt: skip


@pytest.mark.parametrize("family", ["dpo", "ppo", "rloo"])
def test_merged_and_kept_are_one_model(base, tmp_path, family):
    train(family, base, tmp_path / "merged")
    train(family, base, tmp_path / "kept", lora_with(merge=False))
    assert (tmp_path / "kept/model/adapter_config.json").is_file()
    assert not (tmp_path / "kept/model/model.safetensors").exists()
    assert not (tmp_path / "merged/model/adapter_config.json").exists()
    old, new = (
        load_file(folder / "model.safetensors") for folder in (base, tmp_path / "merged/model")
    )
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed
    assert all(".attn." in name or ".mlp." in name for name in changed), "adapters of linear layers"
    merged, kept = (distribution(tmp_path / name / "model") for name in ("merged", "kept"))
    assert np.abs(merged - distribution(base)).max() > 0.01
    np.testing.assert_allclose(merged, kept, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_adapters_are_merged_into_the_exact_base(base, tmp_path, monkeypatch, dtype):
    """In place where it is exact in memory; else it is loaded again."""
    policy, _ = load(str(base), None, TEMPLATE, Rloo(lora=LORA), run_in(tmp_path))
    trained = loading.adapted(policy, Rloo(lora=LORA), run_in(tmp_path), "CAUSAL_LM", None)
    with torch.no_grad():
        for name, weight in trained.named_parameters():
            if "lora_" in name:
                weight.normal_()
    plain = loading._on_whole_base(trained).merge_and_unload().state_dict()
    for weight in trained.get_base_model().parameters():
        weight.data = weight.data.to(torch.float32 if weight.requires_grad else dtype)
    if dtype == torch.float32:
        monkeypatch.setattr(loading, "_on_whole_base", None)
    found = loading.merged(trained).state_dict()
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[name], plain[name]) for name in plain)


@pytest.mark.parametrize("family", ["dpo", "ppo"])
def test_killed_and_resumed_equals_uninterrupted(base, tmp_path, family):
    train(family, base, tmp_path / "whole", save_every=4, seed=3)
    with killed_at(6):
        train(family, base, tmp_path / "killed", save_every=4, seed=3)
    record = train(family, base, tmp_path / "killed", save_every=4, seed=3)
    assert (record["resumed_from"], record["steps"]) == (4, 8)
    whole, resumed = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "killed")
    )
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    train(family, base, tmp_path / "other", seed=4)
    other = load_file(tmp_path / "other/model/model.safetensors")
    assert not all(torch.equal(whole[key], other[key]) for key in whole)


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "adapters"])
@pytest.mark.parametrize("family", ["dpo", "ppo", "rloo"])
def test_gradient_checkpointing_changes_only_rounding(base, tmp_path, monkeypatch, family, lora):
    """It is what computes layers again, and the same responses are sampled under it."""
    twice = []
    monkeypatch.setattr(
        modeling_utils, "checkpoint", lambda *a, **b: twice.append(0) or checkpoint(*a, **b)
    )
    train(family, base, tmp_path / "once", lora)
    assert not twice
    train(family, base, tmp_path / "twice", lora, gradient_checkpointing=True)
    assert len(twice) >= 8
    once, again = (distribution(tmp_path / name / "model") for name in ("once", "twice"))
    assert np.abs(once - distribution(base)).max() > 0.01
    np.testing.assert_allclose(once, again, atol=1e-4)


def test_a_reward_model_with_its_new_head(base, tmp_path):
    heads = {}
    for name, merge in (("merged", True), ("kept", False)):
        section = RewardTraining(
            learning_rate=1e-2, batch_size=8, lora=lora_with(merge=merge), epochs=4
        )
        run = run_in(tmp_path, seed=1, log_every=10)
        record = train_reward(
            str(base), PAIRS, PAIRS[:4], section, run, tmp_path / name, template=TEMPLATE
        )
        model = AutoModelForSequenceClassification.from_pretrained(
            tmp_path / name, **({} if merge else {"num_labels": 1})
        )
        heads[name] = model(torch.tensor([[5, 1, 2, 0]])).logits.item()
        assert record["held_out"]["accuracy"] == 1.0
    assert heads["merged"] == pytest.approx(heads["kept"], abs=1e-5)


def test_four_bits_need_cuda(base, tmp_path):
    for family in ("dpo", "ppo", "rloo"):
        with pytest.raises(InputError, match="training runs on the CPU; expected a GPU"):
            train(family, base, tmp_path, lora_with(four_bit=True), device="cpu")


def test_what_is_asked_for_on_cuda(tmp_path, monkeypatch):
    """Formats of the frozen weights, and of the computation, where there is a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(few_bits, "find_spec", lambda name: object())
    half = run_in(tmp_path, dtype="bfloat16")
    assert loading.frozen_format(None, half) == {"dtype": torch.float32}
    assert loading.frozen_format(LORA, half) == {"dtype": torch.bfloat16}
    on_cpu = run_in(tmp_path, dtype="bfloat16", device="cpu")
    assert loading.frozen_format(LORA, on_cpu) == {"dtype": torch.float32}
    frozen = loading.frozen_format(lora_with(four_bit=True), half)
    assert frozen["quantization_config"].load_in_4bit
    assert frozen["quantization_config"].bnb_4bit_compute_dtype == torch.bfloat16


def test_cuda_is_asked_for_and_not_there(base, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device 'cuda', but there is no CUDA device"):
        train("dpo", base, tmp_path, None, device="cuda")


def test_the_record_names_every_option(tmp_path):
    section = TrainingOptions(
        learning_rate=1e-3, batch_size=8, accumulation=2, gradient_checkpointing=True,
        lora={"rank": 4, "targets": ["c_attn"], "merge": False}, save_every=7,
    )  # fmt: skip
    run = run_in(tmp_path, seed=5, dtype="bfloat16", microbatch_factor=2)
    record = common.recorded(section, run)
    assert section.model_dump().items() <= record.items()
    where = {"seed": 5, "dtype": "bfloat16", "device": "auto", "parts": 2, "log_every": 1}
    assert record == section.model_dump() | where


@pytest.mark.parametrize("section", [Dpo, Ppo, Rloo, RewardTraining, Lora])
def test_a_trainer_refuses_an_unknown_setting(section):
    with pytest.raises(ValidationError, match=r"learning_rat\n.*not permitted"):
        section(learning_rat=1e-3)


def test_what_tensorboard_shows_lies_with_the_model(base, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    train("dpo", base, tmp_path, None, report_to="tensorboard")
    events = list((tmp_path / "model/runs").rglob("events.out.tfevents.*"))
    assert events
    assert b"train/loss" in b"".join(file.read_bytes() for file in events)


def test_a_tracker_that_is_not_installed(base, tmp_path, monkeypatch):
    monkeypatch.setattr(common, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install wandb, or set report_to to none"):
        train("dpo", base, tmp_path, None, report_to="wandb")
