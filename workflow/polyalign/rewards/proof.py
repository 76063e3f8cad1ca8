"""What a reward model's shortcuts must give, and which batches it allows (models.probes)."""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import torch

from polyalign.errors import InputError
from polyalign.models.plain import unreadable
from polyalign.models.probes import proven
from polyalign.rewards.batches import Batching


def proven_batching(
    source: str,
    score: Callable[[Batching], np.ndarray],
    expected: np.ndarray,
    dtype: torch.dtype,
) -> Batching:
    """The first way to batch texts in which scores are those of one text at a time.

    Args:
        source: the model, for messages.
        score: the scores of some texts, batched in a given way.
        expected: their scores by the plain forward.
        dtype: number format that the model computes in.

    Raises:
        InputError: if a text does not even get the same score twice.
    """
    names = {"padded": "padding", "equal": "batches", "single": "one text at a time"}
    way: Batching
    for way in get_args(Batching):
        if proven(names[way], source, lambda way=way: score(way), expected, dtype):  # type: ignore[misc]
            return way
    raise InputError(
        f"{source}: gives one text two scores; expected a model whose scores depend on the text "
        "alone: take another one"
    )


def plain_scores(source: str, score: Callable[[Any], Any], texts: Sequence[Any]) -> np.ndarray:
    """The scores (n,) or (n, d) of n texts by the plain forward, one at a time.

    Args:
        source: the model, for the message.
        score: text → its score as a tensor without dimensions, or its d scores (d,).
        texts: n texts as `score` takes them.

    Raises:
        InputError: if the model cannot read a text by itself.
    """
    try:
        with torch.inference_mode():
            return np.array([score(text).double().cpu().numpy() for text in texts])
    except InputError:
        raise
    except Exception as fault:
        raise unreadable(source, fault) from fault
