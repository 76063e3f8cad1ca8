"""Loading models and tokenizers from anywhere, and the manifest that stands for a model folder."""

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

from polyalign.errors import InputError
from polyalign.sources import resolve

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
        return loader.from_pretrained(resolve(source), **options)
    except (OSError, ValueError, KeyError, RuntimeError) as fault:
        raise InputError(
            f"{source}: cannot be loaded as a {what} ({str(fault).splitlines()[0]}); expected a "
            "HuggingFace folder or a hub id: check the path, or delete the folder and its .json "
            "and let the workflow make it again"
        ) from fault
    except Exception as fault:  # safetensors raises its own, unrelated class on a damaged file
        if type(fault).__module__.partition(".")[0] not in ("safetensors", "safetensors_rust"):
            raise
        raise InputError(
            f"{source}: its weights are damaged ({fault}); delete the folder and its .json and "
            "let the workflow make it again, or download it again"
        ) from fault


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


def load_causal_lm(
    source: str, *, dtype: str = "float32", device: str = "auto", revision: str | None = None
) -> PreTrainedModel:
    """Causal language model in evaluation mode on `device`.

    Raises:
        InputError: if it cannot be loaded.
    """
    model = load_model(
        AutoModelForCausalLM, source, "causal model", dtype=DTYPES[dtype], revision=revision
    )
    return model.to(pick_device(device)).eval()


def load_classifier(
    source: str, *, dtype: str = "float32", device: str = "auto", revision: str | None = None
) -> PreTrainedModel:
    """Sequence classifier (a reward model has one label) in evaluation mode on `device`.

    Raises:
        InputError: if it cannot be loaded.
    """
    model = load_model(
        AutoModelForSequenceClassification,
        source,
        "sequence classifier",
        dtype=DTYPES[dtype],
        revision=revision,
    )
    return model.to(pick_device(device)).eval()


def load_encoder(
    source: str, *, dtype: str = "float32", device: str = "auto", revision: str | None = None
) -> PreTrainedModel:
    """Text encoder whose last hidden states are used, in evaluation mode on `device`.

    Raises:
        InputError: if it cannot be loaded.
    """
    model = load_model(AutoModel, source, "text encoder", dtype=DTYPES[dtype], revision=revision)
    return model.to(pick_device(device)).eval()
