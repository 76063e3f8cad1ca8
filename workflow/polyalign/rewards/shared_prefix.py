"""Scoring with a shared-prefix cache: a causal model reads each prefix once, then the suffixes.

All candidates of a prompt share its tokens. Their keys and values are computed once, and every text
continues from a copy of them, so a score costs the tokens of its response alone.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from polyalign.rewards.batches import (
    BLOCK,
    fixed_shape_batches,
    is_batch_invariant,
    length_sorted_batches,
    row_multiple,
    split_on_oom,
)
from polyalign.rewards.incremental import forward

SplitText = tuple[list[int], list[int]]
"""Token ids of a text: its prefix, which other texts may share, and its suffix, not empty."""

STEP = 8
"""On a CPU, suffixes are padded to a multiple of this; a smaller one would make small batches."""

BATCHES = 16
"""Batches of prefixes that a CPU keeps at once: the more, the fuller the batches of suffixes."""


def worth_sharing(texts: Sequence[SplitText], device: Any) -> bool:
    """Whether prefixes are read separately from suffixes.

    Always where scores must not depend on the batch, since the scores of whole texts differ in
    rounding. Elsewhere if at most half as many prefixes as texts are read.
    """
    different = {tuple(prefix) for prefix, _ in texts}
    return is_batch_invariant(device) or 2 * len(different) <= len(texts)


def score_suffixes(
    texts: list[SplitText],
    batch_size: int,
    score: Callable[[torch.Tensor, list[int]], torch.Tensor],
    *,
    backbone: Any,
    pad: int,
) -> np.ndarray:
    """Apply `score` to the last hidden states of each suffix; in the order of the n texts.

    As in `score_by_length`, on a CPU the scores are bitwise the same in any batch, and batches that
    do not fit the memory are divided in two and tried again.

    Args:
        texts: n texts, each as prefix and suffix.
        batch_size: most texts, and on a GPU most prefixes, in a batch.
        score: hidden states (b, longest suffix, d) and the numbers of b texts → tensor (b,) or
            (b, h).
        backbone: a causal model without its head; see `incremental.supports_prefix_cache`.
        pad: id that fills up shorter rows, masked.

    Returns:
        Float64 (n,) or (n, h).

    Raises:
        InputError: if one text alone does not fit the memory.
    """
    results = np.empty(0)
    numbers = list(range(len(texts)))
    lengths = [len(prefix) + len(suffix) for prefix, suffix in texts]
    with tqdm(total=len(texts), unit="text", mininterval=5, delay=5) as progress:
        reader = _Reader(texts, batch_size, score, backbone, pad, progress)
        for chunk, width in _chunks(texts, batch_size, is_batch_invariant(backbone.device)):
            for rows, values in split_on_oom(chunk, numbers, width, 1, reader.chunk, lengths):
                if not results.size:
                    results = np.empty((len(texts), *values.shape[1:]))
                results[rows] = values
    return results


def _chunks(
    texts: list[SplitText], batch_size: int, exact: bool
) -> Iterator[tuple[np.ndarray, int]]:
    """Numbers of the texts whose prefixes are kept at the same time, and their padded length.

    If `exact`, the padded length depends on the prefix alone, as in `batches.fixed_shape_batches`.
    """
    sharing: dict[tuple[int, ...], list[int]] = {}
    for number, (prefix, _) in enumerate(texts):
        sharing.setdefault(tuple(prefix), []).append(number)

    def width(prefix: tuple[int, ...]) -> int:
        return -(-len(prefix) // BLOCK) * BLOCK if exact else len(prefix)

    longest = sorted(sharing, key=len, reverse=True)
    many = BATCHES * batch_size if exact else batch_size
    # A model cannot read an empty prefix, so texts without a prefix have separate chunks.
    for _, group in groupby(longest, key=width if exact else bool):
        prefixes = list(group)
        for start in range(0, len(prefixes), many):
            kept = prefixes[start : start + many]
            yield np.concatenate([sharing[prefix] for prefix in kept]), width(kept[0])


class _Reader:
    """Reads the texts of one chunk after another; the arguments are those of the function above."""

    def __init__(
        self,
        texts: list[SplitText],
        batch_size: int,
        score: Callable[[torch.Tensor, list[int]], torch.Tensor],
        backbone: Any,
        pad: int,
        progress: Any,
    ) -> None:
        self.texts, self.batch_size, self.score = texts, batch_size, score
        self.backbone, self.pad, self.progress = backbone, pad, progress

    def chunk(self, numbers: list[int], width: int) -> torch.Tensor:
        """Scores (n,) or (n, h) of some texts whose prefixes are padded to `width`."""
        before = self.progress.n
        try:
            return self._chunk(numbers, width)
        except RuntimeError:
            self.progress.n = before
            raise

    def _chunk(self, numbers: list[int], width: int) -> torch.Tensor:
        prefixes = list(dict.fromkeys(tuple(self.texts[number][0]) for number in numbers))
        place = {prefix: row for row, prefix in enumerate(prefixes)}
        kept = self._read_prefixes(prefixes, width)
        lengths = np.array([len(self.texts[number][1]) for number in numbers])
        exact = is_batch_invariant(self.backbone.device)
        scores = np.empty(0)
        for rows, longest in (
            fixed_shape_batches(lengths, self.batch_size, step=STEP, spare=0)
            if exact
            else length_sorted_batches(lengths, self.batch_size)
        ):
            asked = [numbers[row] for row in rows]
            if exact:
                asked += asked[:1] * (-len(asked) % row_multiple(longest))
            batch = [self.texts[number] for number in asked]
            hidden = self._forward(
                [suffix for _, suffix in batch],
                longest,
                before=[len(prefix) for prefix, _ in batch],
                cache=_copies(kept, [place[tuple(prefix)] for prefix, _ in batch]),
                width=width,
            ).last_hidden_state
            found = self.score(hidden, asked)[: len(rows)].double().cpu().numpy()
            if not scores.size:
                scores = np.empty((len(numbers), *found.shape[1:]))
            scores[rows] = found
            self.progress.update(len(rows))
        return torch.from_numpy(scores)

    def _read_prefixes(self, prefixes: list[tuple[int, ...]], width: int) -> list[Any]:
        """Keys and values of each layer, one row per prefix."""
        if not width:
            return []
        layers: list[list[tuple[torch.Tensor, torch.Tensor]]] = []
        for start in range(0, len(prefixes), self.batch_size):
            batch = prefixes[start : start + self.batch_size]
            cache = self._forward(batch, width, before=[0] * len(batch)).past_key_values
            layers.append([(layer.keys, layer.values) for layer in cache.layers])
        return [
            tuple(torch.cat(parts) for parts in zip(*same, strict=True))
            for same in zip(*layers, strict=True)
        ]

    def _forward(
        self,
        rows: Sequence[Sequence[int]],
        longest: int,
        *,
        before: list[int],
        cache: Any = None,
        width: int = 0,
    ) -> Any:
        """The model's output for rows of token ids.

        Row i comes after the first `before[i]` of the `width` tokens in its row of the cache.
        """
        ids = np.full((len(rows), longest), self.pad)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
        # A token attends to the prefix of its text, and to the suffix up to itself. Only padding
        # attends to padding.
        seen = np.ones((len(rows), longest, width + longest), dtype=bool)
        seen[:, :, :width] = np.arange(width) < np.array(before)[:, None, None]
        seen[:, :, width:] = np.tri(longest, dtype=bool)
        positions = np.array(before)[:, None] + np.arange(longest)
        return forward(self.backbone, ids, positions, seen, cache)


def _copies(layers: list[Any], rows: list[int]) -> Any:
    """A cache that holds the given rows of the keys and values."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for number, (keys, values) in enumerate(layers):
        index = torch.tensor(rows, device=keys.device)
        cache.update(keys[index], values[index], number)
    return cache
