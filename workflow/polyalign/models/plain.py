"""The plain forward of a model: one text, no padding, no cache; shortcuts must equal it."""

from typing import Any

import numpy as np
import torch

from polyalign.errors import InputError
from polyalign.models.encoding import max_positions, text_config

PROBE = 16
"""Tokens of the text that shows whether a model is causal."""


def plain_logits(model: Any, ids: list[int]) -> torch.Tensor:
    """Logits (tokens, vocabulary) or (1, labels) of one text by the plain forward."""
    logits: torch.Tensor = model(input_ids=torch.tensor([ids], device=model.device)).logits
    return logits.float().cpu()[0]


def agrees(found: np.ndarray, expected: np.ndarray, dtype: torch.dtype) -> bool:
    """Whether scores are the same up to rounding: 1e-4 in float32, relative above 1."""
    tolerance = 1e-4 if dtype == torch.float32 else float(torch.finfo(dtype).eps ** 0.5)
    return bool(np.all(np.abs(found - expected) <= tolerance * np.maximum(1, np.abs(expected))))


def unreadable(source: str, fault: Exception) -> InputError:
    """The error for a model whose plain forward fails: it needs a picture, a sound, an end token.

    Args:
        source: the model, for the message.
        fault: what it raised, which may be anything.
    """
    return InputError(
        f"{source}: cannot read a text by itself ({type(fault).__name__}: "
        f"{(str(fault).splitlines() or [''])[0]}); expected a model that scores texts of "
        "tokens alone: take another one"
    )


def check_causal(model: Any, source: str) -> None:
    """Refuse a language model in which a token's probability depends on the tokens after it.

    transformers loads encoders, such as BERT, as causal models too.

    Args:
        model: in evaluation mode.
        source: names it in messages.

    Raises:
        InputError: if it does, or the model cannot read a text.
    """
    size = text_config(model).vocab_size
    length = min(PROBE, max_positions(model) or PROBE)
    ids = [(size // 2 + place) % size for place in range(length)]
    try:
        with torch.inference_mode():
            few, every = (plain_logits(model, part).double().numpy() for part in (ids[:-1], ids))
    except Exception as fault:
        raise unreadable(source, fault) from fault
    if not agrees(few, every[: len(few)], model.dtype):
        raise InputError(
            f"{source}: predicts a token with a look at the tokens after it; expected a causal "
            "language model: an encoder has no probabilities of texts"
        )
