"""What a policy is trained from: an adapter or a GGUF file counts as the model that it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peft
import pytest
import torch
import trainers
from enumerable import LENGTH, TEMPLATE, distribution
from tokenizers import pre_tokenizers
from trainers import run_in, told
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertLMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from polyalign.errors import InputError
from polyalign.families.dpo import Dpo
from polyalign.families.options import Lora, RewardTraining
from polyalign.models.load import load_causal_lm, load_classifier, load_tokenizer
from polyalign.train.dpo import train_dpo
from polyalign.train.reward import train_reward

PAIRS = pd.DataFrame(
    {"prompt": ["p", "p q"] * 8, "chosen": ["a b", "c"] * 8, "rejected": ["b", "a a"] * 8}
)
LORAS = {"whole": None, "merged": Lora(rank=2), "kept": Lora(rank=2, merge=False)}


def train(family: str, base: Path | str, folder: Path, **changes: Any) -> None:
    settings = {"learning_rate": 1e-2, "batch_size": 8, **changes}
    if family != "dpo":
        trainers.train(family, base, folder, **{"steps": 4, **settings})
        return
    section, run, _ = told(Dpo, folder, epochs=2, **settings)
    train_dpo(
        str(base), PAIRS, section, run, folder / "model", template=TEMPLATE, beta=1.0,
        max_new_tokens=LENGTH,
    )  # fmt: skip


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter whose effect is large, with the base's tokenizer."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(1)
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    made = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, weight in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def merged(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as an ordinary folder."""
    folder = tmp_path_factory.mktemp("merged")
    load_causal_lm(str(adapter), device="cpu").save_pretrained(folder)
    AutoTokenizer.from_pretrained(adapter).save_pretrained(folder)
    return folder


def length(prompts: list[str], responses: list[str]) -> np.ndarray:
    """Characters up to `m`: what a model of bytes can learn in a few steps."""
    return np.array([float(sum(char <= "m" for char in text)) for text in responses])


def whole(folder: Path, out: Path) -> Path:
    load_causal_lm(str(folder), device="cpu").save_pretrained(out)
    return out


@pytest.mark.parametrize(
    ("family", "lora"),
    [("dpo", "whole"), ("rloo", "whole"), ("ppo", "whole"), ("dpo", "merged"), ("rloo", "kept")],
)
def test_training_from_an_adapter_is_training_from_the_merged_model(
    base: Path, adapter: Path, merged: Path, tmp_path: Path, family: str, lora: str
) -> None:
    np.testing.assert_allclose(distribution(whole(adapter, tmp_path / "a")), distribution(merged))
    assert np.abs(distribution(merged) - distribution(base)).max() > 0.05
    trained = {}
    for name, source in (("adapter", adapter), ("merged", merged)):
        train(family, source, tmp_path / name, lora=LORAS[lora])
        trained[name] = distribution(whole(tmp_path / name / "model", tmp_path / name / "whole"))
    assert np.abs(trained["adapter"] - distribution(merged)).max() > 0.01
    np.testing.assert_allclose(trained["adapter"], trained["merged"], atol=1e-5)
    if lora == "kept":
        config = json.loads((tmp_path / "adapter/model/adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(adapter)
        assert config["target_modules"] == sorted(config["target_modules"])


@pytest.mark.parametrize("family", ["dpo", "rloo"])
def test_an_encoder_is_no_base(base: Path, tmp_path: Path, family: str) -> None:
    """transformers loads it as a language model; its answers have no probability."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    spread = {"initializer_range": 0.5}
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=16, **sizes, **spread)
    BertLMHeadModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="predicts a token with a look at the tokens after it"):
        train(family, tmp_path / "bert", tmp_path / "out")


@pytest.mark.parametrize("lora", ["whole", "kept"])
def test_a_reward_model_from_an_adapter(
    adapter: Path, merged: Path, tmp_path: Path, lora: str
) -> None:
    logits = {}
    section = RewardTraining(learning_rate=1e-2, batch_size=8, lora=LORAS[lora], epochs=2)
    for name, source in (("adapter", adapter), ("merged", merged)):
        run = run_in(tmp_path / name, seed=1)
        train_reward(
            str(source), PAIRS, PAIRS[:4], section, run, tmp_path / name / "rm", template=TEMPLATE
        )
        for _ in range(2):
            model = load_classifier(str(tmp_path / name / "rm"), device="cpu")
            logits[name] = model(torch.tensor([[5, 1, 2, 0]])).logits.item()
    assert logits["adapter"] == pytest.approx(logits["merged"], abs=1e-5)


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 as a GGUF file, its large matrices in 8 bits, with a tokenizer of bytes."""
    gguf = pytest.importorskip("gguf")
    folder = tmp_path_factory.mktemp("gguf")
    tokens = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokens), hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
        initializer_range=0.3, tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "qwen2")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(0)
    writer.add_pad_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, 2)
    eight_bits = gguf.GGMLQuantizationType.Q8_0
    for name, weight in model.state_dict().items():
        array, kind = weight.numpy(), gguf.GGMLQuantizationType.F32
        if array.ndim == 2:
            array, kind = gguf.quants.quantize(array, eight_bits), eight_bits
            weight.copy_(torch.from_numpy(gguf.quants.dequantize(array, kind)))
        known = names.get_name(name, (".weight", ".bias"))
        writer.add_tensor(known, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model.save_pretrained(folder / "exact")
    return folder / "tiny.gguf"


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(torch.tensor([[5, 40, 66, 7]])).logits
    return found


def test_a_gguf_file_is_the_model_that_was_written(gguf_file: Path, tmp_path: Path) -> None:
    model = load_causal_lm(str(gguf_file), device="cpu")
    exact = logits(Qwen2ForCausalLM.from_pretrained(gguf_file.parent / "exact"))
    torch.testing.assert_close(logits(model), exact, atol=1e-4, rtol=0)
    assert load_tokenizer(str(gguf_file))("c<|endoftext|>")["input_ids"][-1] == 0
    model.save_pretrained(tmp_path / "folder")
    assert torch.equal(logits(load_causal_lm(str(tmp_path / "folder"))), logits(model))


@pytest.mark.parametrize(
    ("family", "lora"), [("rloo", "whole"), ("ppo", "whole"), ("dpo", "merged"), ("dpo", "kept")]
)
def test_training_from_a_gguf_file_is_training_from_its_weights(
    gguf_file: Path, tmp_path: Path, family: str, lora: str
) -> None:
    load_causal_lm(str(gguf_file), device="cpu").save_pretrained(tmp_path / "folder")
    load_tokenizer(str(gguf_file)).save_pretrained(tmp_path / "folder")
    asked = {} if family == "dpo" else {"rewards": {"long": length}, "lam": {"long": 1.0}}
    start, found = logits(load_causal_lm(str(gguf_file), device="cpu")), {}
    for name, source in (("gguf", gguf_file), ("plain", tmp_path / "folder")):
        train(family, source, tmp_path / name, lora=LORAS[lora], device="cpu", **asked)
        found[name] = logits(load_causal_lm(str(tmp_path / name / "model"), device="cpu"))
    assert (found["gguf"] - start).abs().max() > 0.01
    torch.testing.assert_close(found["gguf"], found["plain"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("lora", ["whole", "kept"])
def test_a_reward_model_from_a_gguf_file(gguf_file: Path, tmp_path: Path, lora: str) -> None:
    section = RewardTraining(learning_rate=1e-2, batch_size=8, lora=LORAS[lora], epochs=4)
    record = train_reward(
        str(gguf_file), PAIRS, PAIRS[:4], section, run_in(tmp_path, seed=1), tmp_path / "rm",
        template=TEMPLATE,
    )  # fmt: skip
    assert record["held_out"]["accuracy"] == 1.0
    scores = [load_classifier(str(tmp_path / "rm"), device="cpu") for _ in range(2)]
    assert torch.equal(*(logits(model) for model in scores))
