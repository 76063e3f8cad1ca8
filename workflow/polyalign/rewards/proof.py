"""Shortcuts prove themselves: each must give what the model's own plain forward gives.

Padding, batches, shared prefixes and key-value caches are exact for most architectures and wrong
for some: there a mask is ignored, an attention window is not seen, a scale of the logits is
skipped. No list of architectures stays complete. So when a model is loaded, a few short texts are
scored one at a time by the plain forward, and again with each shortcut. One that does not agree is
not taken.
"""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import torch

from polyalign.errors import InputError
from polyalign.models.block_sparse import block_sparse_above
from polyalign.models.encoding import known_tokens
from polyalign.models.plain import agrees, unreadable
from polyalign.rewards.batches import Batching

WIDEST = 512
"""Tokens of the widest attention window that a proof reads beyond."""

IDS = 8
"""Different tokens in the texts of a proof."""


def probes(model: Any, tokenizer: Any, limit: int | None) -> list[tuple[list[int], list[int]]]:
    """Token ids of seven texts, each as a prefix, which others share, and a suffix.

    Three are longer than the model's attention window, as far as `WIDEST` and `limit` allow; or one
    is the longest that a model with block-sparse attention reads whole, and two are longer.
    """
    special = set(tokenizer.all_special_ids)
    known = min(len(tokenizer), known_tokens(model) or len(tokenizer))
    plain = [token for token in range(known) if token not in special]
    plain = plain[len(plain) // 2 :][:IDS]
    rng = np.random.default_rng(0)

    def text(length: int) -> list[int]:
        return rng.choice(plain, length).tolist()

    whole = block_sparse_above(model)
    most = _window(model) + 9 if whole is None else whole + 7
    most = min(most, limit or most)
    short, longer = text(min(3, most // 2)), text(min(7, most // 2))
    long = text(max(1, most - 3))
    room = max(1, most - len(longer))
    return [
        (short, text(1)), (short, text(min(6, room))), (longer, text(min(2, room))),
        (longer, text(min(9, room))), (long[:-5] or long[:1], text(1)), (long, text(2)),
        (short, long[: most - len(short)]),
    ]  # fmt: skip


def _window(model: Any) -> int:
    """Tokens of the widest attention window that the configuration names; at least 16."""
    config = model.config.to_dict()
    sizes = [
        size
        for name, entry in config.items()
        if "window" in name or name in ("attention_chunk_size", "local_attention", "chunk_size")
        for size in (entry if isinstance(entry, list) else [entry])
        if isinstance(size, int) and size <= WIDEST
    ]
    return max([16, *sizes])


def proven(
    what: str,
    source: str,
    shortcut: Callable[[], np.ndarray],
    expected: np.ndarray,
    dtype: torch.dtype,
) -> bool:
    """Whether a shortcut gives the expected scores; if not, one line in the log says so.

    Args:
        what: the shortcut, for the log.
        source: the model, for the log.
        shortcut: gives the scores.
        expected: those of the plain forward.
        dtype: number format that the model computes in.
    """
    try:
        found = shortcut()
        if agrees(found, expected, dtype):
            return True
        why = f"scores differ by {np.abs(found - expected).max():.2g}"
    # A model that does not know a mask or a cache may raise anything.
    except Exception as fault:
        why = f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0]}"
    print(f"{source}: not with {what} ({why})")
    return False


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
