"""Scoring many texts in batches, with the same result whatever the batch size and the order."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from polyalign.errors import InputError

VECTOR = 16


def score_by_length(
    encoded: list[Any], lengths: list[int], batch_size: int, score: Callable[[list[Any]], Any]
) -> np.ndarray:
    """Apply `score` to batches of items of like length; results (n,) in the order of the items.

    A batch that does not fit the GPU's memory is halved and tried again, down to one item.

    Args:
        encoded: n items.
        lengths: their lengths in tokens.
        batch_size: most items in a batch.
        score: b items → tensor (b,).

    Raises:
        InputError: if one item alone does not fit.
    """
    order = np.argsort(lengths, kind="stable")[::-1]
    results = np.empty(len(encoded), dtype=np.float64)
    progress = tqdm(total=len(order), unit="text", mininterval=5, delay=5)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        for rows, values in _halving(batch, encoded, lengths, score):
            results[rows] = values
            progress.update(len(rows))
    progress.close()
    return results


def room(model: Any, max_length: int | None = None) -> int | None:
    """Most tokens of a text, with its padding: what the model has places for, and `max_length`."""
    limits = [getattr(model.config, "max_position_embeddings", None), max_length]
    return min((limit for limit in limits if limit is not None), default=None)


def steady_length(longest: int, limit: int | None) -> int:
    """Length to which a batch is padded so that a text's score depends on no other text.

    The kernels of a processor add up in another order where the padded length is no multiple of
    their vectors, and where nothing is masked. So it is a multiple of 16 tokens, at least one of
    them padding, as far as `limit` allows. Then scores are equal bit by bit in any batch, hence
    from any shard and from the cache; on a GPU, to rounding.

    Args:
        longest: tokens of the batch's longest text.
        limit: most tokens that the model takes, or None.
    """
    length = -(-(longest + 1) // VECTOR) * VECTOR
    return length if limit is None else max(longest, min(length, limit))


def split(items: list[Any], sizes: list[int]) -> list[list[Any]]:
    """Consecutive parts of `items` of the given sizes."""
    ends = np.cumsum(sizes).tolist()
    return [items[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def _halving(
    rows: np.ndarray, encoded: list[Any], lengths: list[int], score: Callable[[list[Any]], Any]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    import torch

    try:
        with torch.inference_mode():
            values = score([encoded[row] for row in rows])
        yield rows, values.double().cpu().numpy()
        return
    except torch.cuda.OutOfMemoryError:
        if len(rows) == 1:
            raise InputError(
                f"a text of {lengths[rows[0]]} tokens does not fit the GPU's memory by itself; "
                "expected room for one; lower the value's `max_length`, or set its `device: cpu`"
            ) from None
    torch.cuda.empty_cache()
    for half in np.array_split(rows, 2):
        yield from _halving(half, encoded, lengths, score)
