"""Loading models and tokenizers from folders, packages, GGUF files and the hub."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.activations import NewGELUActivation

from polyalign.errors import InputError
from polyalign.models.sources import adapter_base, gguf_parts, resolve
from polyalign.paths import repair

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str = "auto") -> torch.device:
    """The device to compute on; `auto` takes CUDA where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def load_model(loader: Any, source: str, what: str, **options: Any) -> Any:
    """`loader.from_pretrained(source)`, with one clear error; `what` names it there.

    Raises:
        InputError: if it cannot be loaded.
    """
    try:
        return _load(loader, source, options)
    except (OSError, ValueError, KeyError, RuntimeError) as fault:
        raise InputError(
            f"{source}: cannot be loaded as a {what} ({str(fault).splitlines()[0]}); expected "
            "a HuggingFace folder, an adapter, a GGUF file or a hub id: "
            f"{repair(source, 'the folder and its .json')}"
        ) from fault
    except Exception as fault:  # safetensors raises its own, unrelated class on a damaged file
        if type(fault).__module__.partition(".")[0] not in ("safetensors", "safetensors_rust"):
            raise
        raise InputError(
            f"{source}: its weights are damaged ({fault}); expected a whole file: "
            f"{repair(source, 'the folder and its .json')}"
        ) from fault


def _load(loader: Any, source: str, options: dict[str, Any]) -> Any:
    """The model at `source`: a folder or hub id, a GGUF file, or an adapter on its base."""
    if parts := gguf_parts(source):
        return loader.from_pretrained(parts[0], gguf_file=parts[1], **options)
    base = adapter_base(source)
    if base is None:
        return loader.from_pretrained(resolve(source), **options)
    if loader is AutoTokenizer:
        own = (Path(resolve(source)) / "tokenizer_config.json").is_file()
        if own:
            return loader.from_pretrained(resolve(source), **options)
        return _load(loader, base[0], {**options, "revision": base[1]})
    import peft

    loaded = _load(loader, base[0], {**options, "revision": base[1]})
    adapted = peft.PeftModel.from_pretrained(loaded, resolve(source))
    return adapted.merge_and_unload()


def load_tokenizer(source: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Tokenizer of a model; a missing padding token becomes the end-of-sequence token.

    Raises:
        InputError: if it cannot be loaded or has no end-of-sequence token to pad with.
    """
    tokenizer = load_model(AutoTokenizer, source, "tokenizer", revision=revision)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise InputError(f"{source}: its tokenizer has neither a padding nor an end token")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_causal_lm(source: str, **options: Any) -> PreTrainedModel:
    """Causal language model in evaluation mode; options as in `_placed`.

    Raises:
        InputError: if it cannot be loaded.
    """
    return _placed(AutoModelForCausalLM, source, "causal model", **options)


def load_classifier(source: str, **options: Any) -> PreTrainedModel:
    """Sequence classifier (a reward model has one label) in evaluation mode; see `_placed`.

    Raises:
        InputError: if it cannot be loaded.
    """
    return _placed(AutoModelForSequenceClassification, source, "sequence classifier", **options)


def load_encoder(source: str, **options: Any) -> PreTrainedModel:
    """Text encoder whose last hidden states are used, in evaluation mode; see `_placed`.

    Raises:
        InputError: if it cannot be loaded.
    """
    return _placed(AutoModel, source, "text encoder", **options)


def _placed(
    loader: Any,
    source: str,
    what: str,
    *,
    dtype: str = "float32",
    device: str = "auto",
    device_map: str | None = None,
    revision: str | None = None,
) -> PreTrainedModel:
    """A model on the device that it runs on, in evaluation mode.

    Args:
        loader: a class of transformers.
        source: folder, adapter folder, GGUF file, `package:NAME/PATH` or hub id.
        what: the kind of model, for messages.
        dtype: number format that it computes in.
        device: auto, cpu or cuda; ignored with `device_map`.
        device_map: how accelerate spreads it over several GPUs: auto, balanced, sequential.
        revision: commit or tag of a hub model.
    """
    options = {"dtype": DTYPES[dtype], "revision": revision}
    if device_map is not None:
        spread: PreTrainedModel = load_model(loader, source, what, device_map=device_map, **options)
        return fused(spread).eval()
    model: Any = load_model(loader, source, what, **options)
    placed: PreTrainedModel = fused(model.to(pick_device(device))).eval()
    return placed


def fused(model: PreTrainedModel) -> PreTrainedModel:
    """The model with GPT-2's activation as one kernel: the same function in a third of the time.

    In transformers it is eight passes over memory and takes a third of the time of scoring.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    return model
