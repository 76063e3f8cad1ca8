"""Scoring many texts in batches, with the same result whatever the batch size and the order."""

from collections.abc import Callable, Iterator, Sequence
from math import gcd
from typing import Any

import numpy as np
from tqdm import tqdm

from polyalign.errors import InputError

VECTOR = 16


def score_by_length(
    encoded: list[Any],
    lengths: list[int],
    batch_size: int,
    score: Callable[[list[Any], int], Any],
    *,
    device: Any,
    limit: int | None,
) -> np.ndarray:
    """Apply `score` to batches of items of like length; results (n,) in the order of the items.

    On a processor a text's score is the same bit by bit whatever is scored beside it, hence in any
    shard and from the cache; on a GPU, to rounding (see `steady`). A batch that does not fit the
    memory is halved and tried again, down to one item.

    Args:
        encoded: n items.
        lengths: their lengths in tokens.
        batch_size: most items in a batch.
        score: b items and the length to pad them to → tensor (b,).
        device: where the model computes.
        limit: most tokens that the model takes, or None.

    Raises:
        InputError: if one item alone does not fit.
    """
    exact, each = is_steady(device), np.array(lengths)
    batches = steady(each, batch_size, limit) if exact else like(each, batch_size)
    results = np.empty(len(encoded), dtype=np.float64)
    progress = tqdm(total=len(encoded), unit="text", mininterval=5, delay=5)
    for batch, width in batches:
        several = several_rows(width) if exact else 1
        for rows, values in halving(batch, encoded, width, several, score, lengths):
            results[rows] = values
            progress.update(len(rows))
    progress.close()
    return results


def room(model: Any, tokenizer: Any, max_length: int | None = None) -> int | None:
    """Most tokens of a text, with its padding: what model and tokenizer allow, and `max_length`."""
    places = getattr(model.config, "max_position_embeddings", None)
    limits = [places, tokenizer.model_max_length, max_length]
    return min((limit for limit in limits if limit is not None), default=None)


def like(lengths: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows and length of batches, the longest texts first."""
    order = np.argsort(lengths, kind="stable")[::-1]
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size], int(lengths[order[start]])


def steady(
    lengths: np.ndarray, batch_size: int, limit: int | None = None, step: int = 4, spare: int = 1
) -> Iterator[tuple[np.ndarray, int]]:
    """As `like`, where the length to which a text is padded depends on nothing but the text.

    The kernels of a processor add up in another order at another padded length, where nothing is
    masked, and in what is left over of their blocks of 16 rows. So a text is padded to a multiple
    of `step` tokens, at least `spare` of them padding as far as `limit` allows, beside texts padded
    alike; batches are filled up to whole blocks. A mask that the model makes itself needs one of
    padding, or is none.
    """
    widths = -(-(lengths + spare) // step) * step
    if limit is not None:
        widths = np.maximum(lengths, np.minimum(widths, limit))
    kinds = np.stack([widths, lengths + spare <= widths], axis=1)
    for width, padded in np.unique(kinds, axis=0)[::-1]:
        alike = np.flatnonzero((kinds == (width, padded)).all(axis=1))
        for start in range(0, len(alike), batch_size):
            yield alike[start : start + batch_size], int(width)


def is_steady(device: Any) -> bool:
    """Whether scores are to be the same bit by bit in any batch: on a processor that can be had."""
    return bool(device.type == "cpu")


def several_rows(width: int) -> int:
    """What the rows of a steady batch are a multiple of, to fill whole blocks of the kernels."""
    return VECTOR // gcd(VECTOR, width)


def unrolled(
    prompts: Sequence[str], texts: Sequence[Sequence[str]]
) -> tuple[list[str], list[str], list[int]]:
    """Several texts a prompt as two columns, and how many each prompt has, for `split`."""
    sizes = [len(several) for several in texts]
    asked = [prompt for prompt, size in zip(prompts, sizes, strict=True) for _ in range(size)]
    return asked, [text for several in texts for text in several], sizes


def split(items: list[Any], sizes: list[int]) -> list[list[Any]]:
    """Consecutive parts of `items` of the given sizes."""
    ends = np.cumsum(sizes).tolist()
    return [items[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def halving(
    rows: np.ndarray,
    encoded: list[Any],
    width: int,
    several: int,
    score: Callable[[list[Any], int], Any],
    lengths: list[int],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and their results; the batch is filled up with its first item to a multiple."""
    import torch

    items = [encoded[row] for row in rows]
    items += items[:1] * (-len(items) % several)
    try:
        with torch.inference_mode():
            values = score(items, width)
        yield rows, values[: len(rows)].double().cpu().numpy()
        return
    except RuntimeError as fault:
        if not _out_of_memory(fault):
            raise
        if len(rows) == 1:
            raise InputError(
                f"a text of {lengths[rows[0]]} tokens does not fit the memory by itself; expected "
                "room for one; lower the value's `max_length`, or set its `device: cpu`"
            ) from None
    torch.cuda.empty_cache()
    for half in np.array_split(rows, 2):
        yield from halving(half, encoded, width, several, score, lengths)


def _out_of_memory(fault: RuntimeError) -> bool:
    """Whether torch lacked memory; for that of the processor it has no class of its own."""
    import torch

    return isinstance(fault, torch.OutOfMemoryError) or "not enough memory" in str(fault)
