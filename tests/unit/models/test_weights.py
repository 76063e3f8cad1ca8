"""All weights of a model come from its files: none is missing, misshapen or left over."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

from polyalign.errors import InputError
from polyalign.models.load import load_causal_lm, load_classifier, load_encoder, load_model
from polyalign.models.sources import label_names

SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "llama": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen2": {"num_key_value_heads": 2, "tie_word_embeddings": False},
    "gpt_neox": {},
    "opt": {"ffn_dim": 16, "word_embed_proj_dim": 16},
    "gemma": {"num_key_value_heads": 1, "head_dim": 8},
    "bloom": {"n_layer": 2, "n_head": 2},
    "bert": {},
    "roberta": {},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 16},
    "electra": {"embedding_size": 16},
    "deberta-v2": {},
}
SHARED = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
}
CAUSAL = ["gpt2", "llama", "qwen2", "gpt_neox", "opt", "gemma", "bloom"]
ENCODERS = [kind for kind in SIZES if kind not in CAUSAL]
IDS = torch.tensor([[5, 6, 7, 8]])

Change = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


def saved(kind: str, folder: Path, loader: Any, **settings: Any) -> Path:
    config = AutoConfig.for_model(kind, **{**SHARED, **SIZES[kind], **settings})
    torch.manual_seed(0)
    loader.from_config(config).save_pretrained(folder)
    return folder


def changed(folder: Path, change: Change) -> Path:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return folder


def layer(name: str) -> bool:
    return re.search(r"\.(h|layers?|block)\.1\.", name) is not None


@pytest.mark.parametrize("kind", SIZES)
def test_a_whole_classifier_is_the_same_at_every_load(kind: str, tmp_path: Path) -> None:
    folder = saved(kind, tmp_path, AutoModelForSequenceClassification, num_labels=3)
    expected = AutoModelForSequenceClassification.from_pretrained(folder).eval()(IDS).logits
    assert expected.shape == (1, 3)
    for seed in (1, 2):
        torch.manual_seed(seed)
        found = load_classifier(str(folder), device="cpu")(IDS).logits
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", SIZES)
def test_a_language_model_is_no_classifier(kind: str, tmp_path: Path) -> None:
    loader = AutoModelForCausalLM if kind in CAUSAL else AutoModelForMaskedLM
    folder = saved(kind, tmp_path, loader)
    with pytest.raises(InputError, match=r"would be random: .*(score|classifier|pooler)\."):
        load_classifier(str(folder), device="cpu")


@pytest.mark.parametrize("kind", SIZES)
def test_as_a_start_it_gets_a_new_head_alone(kind: str, tmp_path: Path, capsys: Any) -> None:
    loader = AutoModelForCausalLM if kind in CAUSAL else AutoModelForMaskedLM
    folder = saved(kind, tmp_path, loader)
    loaded = load_model(
        AutoModelForSequenceClassification, str(folder), "classifier", new_head=True, num_labels=1
    )
    assert loaded(IDS).logits.shape == (1, 1)
    assert "new, drawn from the seed: " in capsys.readouterr().out
    changed(folder, lambda weights: {n: w for n, w in weights.items() if not layer(n)})
    with pytest.raises(InputError, match="would be random"):
        load_model(AutoModelForSequenceClassification, str(folder), "classifier", new_head=True)


def test_a_head_for_other_labels_is_drawn_anew_for_training_alone(tmp_path: Path) -> None:
    folder = saved("gpt2", tmp_path, AutoModelForSequenceClassification, num_labels=3)
    options: dict[str, Any] = {"num_labels": 1}
    with pytest.raises(InputError, match=re.escape("score.weight ([3, 16], not [1, 16])")):
        load_model(AutoModelForSequenceClassification, str(folder), "classifier", **options)
    new = load_model(
        AutoModelForSequenceClassification, str(folder), "classifier", new_head=True, **options
    )
    assert new.score.weight.shape == (1, 16)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("what", ["lacks a layer", "one layer more", "prefixed", "half as wide"])
def test_other_weights_than_the_configuration_says(kind: str, what: str, tmp_path: Path) -> None:
    changes: dict[str, Change] = {
        "lacks a layer": lambda weights: {n: w for n, w in weights.items() if not layer(n)},
        "one layer more": lambda weights: {
            **weights,
            **{re.sub(r"\.1\.", ".2.", n): w.clone() for n, w in weights.items() if layer(n)},
        },
        "prefixed": lambda weights: {f"module.{n}": w for n, w in weights.items()},
        "half as wide": lambda weights: {
            n: w[..., : w.shape[-1] // 2].clone() if layer(n) else w for n, w in weights.items()
        },
    }
    loaders = [load_classifier, load_encoder]
    found = saved(kind, tmp_path / "c", AutoModelForSequenceClassification, num_labels=1)
    folders = [changed(found, changes[what])] * 2
    if kind in CAUSAL:
        loaders.append(load_causal_lm)
        found = saved(kind, tmp_path / "lm", AutoModelForCausalLM)
        folders.append(changed(found, changes[what]))
    message = "has no place for" if what == "one layer more" else "would be random"
    for load, folder in zip(loaders, folders, strict=True):
        with pytest.raises(InputError, match=message):
            load(str(folder), device="cpu")


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_classifier_is_no_language_model(kind: str, tmp_path: Path) -> None:
    """If its output layer is tied to the embeddings, nothing is missing: only the head is left."""
    folder = saved(kind, tmp_path, AutoModelForSequenceClassification, num_labels=1)
    with pytest.raises(InputError, match=r"score\.weight|lm_head\.weight|embed_out\.weight"):
        load_causal_lm(str(folder), device="cpu")


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_an_encoder_is_no_causal_model(kind: str, tmp_path: Path) -> None:
    """transformers makes a language model of it, with a warning alone."""
    folder = saved(kind, tmp_path / "model", AutoModelForCausalLM, initializer_range=0.5)
    with pytest.raises(InputError, match="predicts a token with a look at the tokens after it"):
        load_causal_lm(str(folder), device="cpu")


@pytest.mark.parametrize("kind", SIZES)
def test_an_encoder_needs_no_head_and_no_pooler(kind: str, tmp_path: Path) -> None:
    loader = AutoModelForCausalLM if kind in CAUSAL else AutoModelForMaskedLM
    folder = saved(kind, tmp_path, loader)
    expected = AutoModel.from_pretrained(folder).eval()(IDS).last_hidden_state
    found = load_encoder(str(folder), device="cpu")(IDS).last_hidden_state
    assert torch.allclose(found, expected, atol=1e-5)


def test_what_nobody_reads_may_be_left_over(tmp_path: Path) -> None:
    one = torch.ones(1)
    folder = saved("gpt2", tmp_path / "lm", AutoModelForCausalLM)
    before = load_causal_lm(str(folder), device="cpu")(IDS).logits
    changed(
        folder,
        lambda weights: {
            **weights,
            "transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4),
            "transformer.h.0.attn.masked_bias": one.clone(),
            "v_head.summary.weight": one,
        },
    )
    assert torch.equal(load_causal_lm(str(folder), device="cpu")(IDS).logits, before)
    folder = saved("roberta", tmp_path / "c", AutoModelForSequenceClassification, num_labels=2)
    extra = {
        "roberta.pooler.dense.weight": one,
        "lm_head.bias": one.clone(),
        "roberta.embeddings.position_ids": one.clone(),
    }
    changed(folder, lambda weights: {**weights, **extra})
    load_classifier(str(folder), device="cpu")


def adapted(base: Path, out: Path, **options: Any) -> tuple[Path, Any]:
    """A classifier with three labels, and its LoRA adapter whose effect is not zero."""
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=3, ignore_mismatched_sizes=True
    )
    # By name, since all-linear takes a head of two layers for layers of the model.
    kind = model.config.model_type
    layers = ["q_lin", "v_lin"] if kind == "distilbert" else "all-linear"
    made = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=layers, **options))
    for name, weight in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    made.save_pretrained(out)
    return out, made.eval()


@pytest.mark.parametrize("kind", SIZES)
def test_an_adapter_brings_its_head_and_number_of_labels(kind: str, tmp_path: Path) -> None:
    loader = AutoModelForCausalLM if kind in CAUSAL else AutoModelForMaskedLM
    base = saved(kind, tmp_path / "base", loader)
    new = {"bert": "pooler", "deberta-v2": "pooler", "distilbert": "pre_classifier"}
    extra = {"modules_to_save": [new[kind]]} if kind in new else {}
    folder, made = adapted(base, tmp_path / "adapter", task_type="SEQ_CLS", **extra)
    expected = made(input_ids=IDS).logits
    for seed in (1, 2):
        torch.manual_seed(seed)
        found = load_classifier(str(folder), device="cpu")
        assert torch.allclose(found(IDS).logits, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "distilbert", "roberta"])
@pytest.mark.parametrize("labels", [2, 3])
def test_the_labels_of_an_adapter_are_known_before_it_is_loaded(
    kind: str, labels: int, tmp_path: Path
) -> None:
    """Names come from the base model, if it has as many labels as the adapter's head."""
    names = {number: f"mood {number}" for number in range(labels)}
    loader = AutoModelForSequenceClassification
    base = saved(kind, tmp_path / "base", loader, id2label=names)
    folder, _ = adapted(base, tmp_path / "adapter", task_type="SEQ_CLS")
    known = load_classifier(str(folder), device="cpu").config.id2label
    assert label_names(str(folder)) == [known[number] for number in range(3)]
    assert known[0] == ("mood 0" if labels == 3 else "LABEL_0")
    headless, _ = adapted(base, tmp_path / "headless")
    assert label_names(str(headless)) == list(names.values())


@pytest.mark.parametrize("kind", SIZES)
def test_an_adapter_without_its_head_is_refused(kind: str, tmp_path: Path) -> None:
    loader = AutoModelForCausalLM if kind in CAUSAL else AutoModelForMaskedLM
    base = saved(kind, tmp_path / "base", loader)
    folder, _ = adapted(base, tmp_path / "adapter")
    why = rf"^{folder}, an adapter on {base}: .* would be random: .*(score|classifier|pooler)\."
    with pytest.raises(InputError, match=why):
        load_classifier(str(folder), device="cpu")


def test_an_adapter_must_fit_its_configuration(base: Path, adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    lacking = dict(list(weights.items())[1:])
    save_file(lacking, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"does not fit its adapter_config.json .*lora_A.weight"):
        load_causal_lm(str(adapter))
    extra = {f"base_model.model.other.{n}": w.clone() for n, w in list(weights.items())[:1]}
    save_file({**weights, **extra}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"does not fit .*other\.base_model"):
        load_causal_lm(str(adapter))


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
def test_an_adapter_that_changes_no_weights_is_refused(
    kind: str, base: Path, tmp_path: Path
) -> None:
    config = getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=4)
    made = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    made.save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match=r"kind P[A-Z]+_TUNING cannot be merged"):
        load_causal_lm(str(tmp_path / "adapter"))


def test_an_adapter_with_new_tokens_brings_their_embeddings(base: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(12)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules="all-linear", modules_to_save=["wte", "lm_head"]
    )
    made = peft.get_peft_model(model, config)
    torch.nn.init.normal_(made.get_output_embeddings().weight)
    made.save_pretrained(tmp_path / "adapter")
    ids = torch.tensor([[2, 9, 11]])
    expected = made.eval()(ids).logits
    found = load_causal_lm(str(tmp_path / "adapter"), device="cpu")
    assert torch.allclose(found(ids).logits, expected, atol=1e-5)
    found.save_pretrained(tmp_path / "whole")
    again = load_causal_lm(str(tmp_path / "whole"), device="cpu")
    assert torch.allclose(again(ids).logits, expected, atol=1e-5)
