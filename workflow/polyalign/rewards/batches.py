"""Scoring many texts in batches, with the same result whatever the batch size and the order."""

from collections.abc import Callable, Iterator, Sequence
from math import gcd
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from polyalign.errors import InputError
from polyalign.models.encoding import max_positions

BLOCK = 16
"""Rows that the kernels of a CPU compute at once."""

Batching = Literal["padded", "equal", "single"]
"""Which texts share a batch: any, padded; those of equal length, without padding; none."""


def score_by_length(
    encoded: list[Any],
    lengths: list[int],
    batch_size: int,
    score: Callable[[list[Any], int], Any],
    *,
    device: Any,
    limit: int | None,
    batching: Batching = "padded",
) -> np.ndarray:
    """Apply `score` to batches of items of similar length.

    On a CPU the result of an item is bitwise the same whatever is in its batch, so scores do not
    depend on shards or on the cache. On a GPU it is the same up to rounding. A batch that does not
    fit the memory is divided in two and tried again, down to one item.

    Args:
        encoded: n items.
        lengths: their lengths in tokens.
        batch_size: most items in a batch.
        score: b items and the length to pad them to → tensor (b,) or (b, d).
        device: where the model computes.
        limit: most tokens that the model takes, or None.
        batching: see `polyalign.rewards.proof`, which says what a model allows.

    Returns:
        Float64 (n,) or (n, d), in the order of the items.

    Raises:
        InputError: if one item alone does not fit the memory.
    """
    exact, each = is_batch_invariant(device), np.array(lengths)
    if batching == "padded":
        batches = (
            fixed_shape_batches(each, batch_size, limit)
            if exact
            else length_sorted_batches(each, batch_size)
        )
    else:
        together = batch_size if batching == "equal" else 1
        batches = fixed_shape_batches(each, together, limit, step=1, spare=0)
    results = np.empty(0)
    progress = tqdm(total=len(encoded), unit="text", mininterval=5, delay=5)
    for batch, width in batches:
        multiple = row_multiple(width) if exact and batching != "single" else 1
        for rows, values in split_on_oom(batch, encoded, width, multiple, score, lengths):
            if not results.size:
                results = np.empty((len(encoded), *values.shape[1:]))
            results[rows] = values
            progress.update(len(rows))
    progress.close()
    return results


def max_tokens(model: Any, tokenizer: Any, max_length: int | None = None) -> int | None:
    """Most tokens of a text with its padding: what model, tokenizer and `max_length` allow."""
    limits = [max_positions(model), tokenizer.model_max_length, max_length]
    # A tokenizer without a limit says 1e30.
    return min((limit for limit in limits if limit is not None and limit < 2**31), default=None)


def say_cut(source: str, cut: int, texts: int, longest: int | None, lost: str) -> None:
    """Say in the log how many texts were too long, if any were.

    Args:
        source: the model that reads them.
        cut: how many were cut.
        texts: how many there are.
        longest: tokens that one may have.
        lost: the part that is gone, in words.
    """
    if cut:
        print(
            f"{source}: {cut} of {texts} texts are longer than {longest} tokens and lost {lost}",
            flush=True,
        )


def stand_in(tokenizer: Any) -> int:
    """The token that stands for a text without tokens, which no model can read: the end token."""
    ends = (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
    return next(int(token) for token in ends if token is not None)


def length_sorted_batches(lengths: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows and padded length of batches, the longest texts first."""
    order = np.argsort(lengths, kind="stable")[::-1]
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size], int(lengths[order[start]])


def fixed_shape_batches(
    lengths: np.ndarray, batch_size: int, limit: int | None = None, step: int = 4, spare: int = 1
) -> Iterator[tuple[np.ndarray, int]]:
    """As `length_sorted_batches`, but the padded length of a text depends on this text alone.

    The kernels of a CPU sum in a different order if the padded length differs, if nothing is
    masked, and in the rows that remain after their blocks of 16. So all texts of a batch have the
    same padded length, and batches are filled up to whole blocks of rows.

    Args:
        lengths: (n,) tokens of each text.
        batch_size: most texts in a batch.
        limit: most tokens that the model takes, or None.
        step: texts are padded to a multiple of it.
        spare: at least so many tokens are padding, as far as `limit` allows. A model that makes its
            own mask makes none for a text without padding.
    """
    widths = -(-(lengths + spare) // step) * step
    if limit is not None:
        widths = np.maximum(lengths, np.minimum(widths, limit))
    shapes = np.stack([widths, lengths + spare <= widths], axis=1)
    for width, padded in np.unique(shapes, axis=0)[::-1]:
        same = np.flatnonzero((shapes == (width, padded)).all(axis=1))
        for start in range(0, len(same), batch_size):
            yield same[start : start + batch_size], int(width)


def is_batch_invariant(device: Any) -> bool:
    """Whether scores must be bitwise the same in any batch: on a CPU this is possible."""
    return bool(device.type == "cpu")


def row_multiple(width: int) -> int:
    """The number of rows of a batch must be a multiple of this, to fill whole blocks."""
    return BLOCK // gcd(BLOCK, width)


def unrolled(
    prompts: Sequence[str], texts: Sequence[Sequence[str]]
) -> tuple[list[str], list[str], list[int]]:
    """Several texts per prompt as two columns, and the number of texts per prompt, for `split`."""
    sizes = [len(several) for several in texts]
    asked = [prompt for prompt, size in zip(prompts, sizes, strict=True) for _ in range(size)]
    return asked, [text for several in texts for text in several], sizes


def split(items: Any, sizes: list[int]) -> list[Any]:
    """Consecutive parts of the given sizes; `items` is a list or an array."""
    ends = np.cumsum(sizes).tolist()
    return [items[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def split_on_oom(
    rows: np.ndarray,
    encoded: list[Any],
    width: int,
    multiple: int,
    score: Callable[[list[Any], int], Any],
    lengths: list[int],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and their results; a batch that does not fit the memory is divided in two.

    Copies of its first item fill up a batch to a multiple of `multiple`.
    """
    import torch

    items = [encoded[row] for row in rows]
    items += items[:1] * (-len(items) % multiple)
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
                f"a text of {lengths[rows[0]]} tokens does not fit the memory even alone; expected "
                "enough memory for one text; lower the value's `max_length`, or set its "
                "`device: cpu`"
            ) from None
    torch.cuda.empty_cache()
    for half in np.array_split(rows, 2):
        yield from split_on_oom(half, encoded, width, multiple, score, lengths)


def _out_of_memory(fault: RuntimeError) -> bool:
    """Whether memory was not enough; torch has no exception class for that on a CPU."""
    import torch

    return isinstance(fault, torch.OutOfMemoryError) or "not enough memory" in str(fault)
