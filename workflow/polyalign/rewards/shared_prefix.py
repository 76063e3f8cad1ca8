"""Scoring texts that begin alike: a causal model reads each beginning once, then what follows.

All candidates of a prompt share its tokens. Their keys and values are computed once, and every text
reads on from a copy of them, so that a score costs the tokens of its response alone.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from polyalign.rewards.batches import VECTOR, halving, is_steady, like, several_rows, steady
from polyalign.rewards.incremental import forward

Halves = tuple[list[int], list[int]]
"""Token ids of a text: its beginning, which other texts may share, and the rest, not empty."""

STEP = 8
"""Tokens to a multiple of which a rest is padded on a processor: fewer would make small batches."""

BATCHES = 16
"""Batches of beginnings that a processor keeps: more of them fill the batches of the rests."""


def worth_sharing(texts: Sequence[Halves], device: Any) -> bool:
    """Whether beginnings are read by themselves.

    Always where scores must not depend on the texts beside a text: they differ in rounding from
    those of whole texts. Elsewhere where it saves half of the beginnings.
    """
    different = {tuple(beginning) for beginning, _ in texts}
    return is_steady(device) or 2 * len(different) <= len(texts)


def score_after_beginnings(
    texts: list[Halves],
    batch_size: int,
    score: Callable[[torch.Tensor, list[int]], torch.Tensor],
    *,
    backbone: Any,
    pad: int,
) -> np.ndarray:
    """Apply `score` to the last hidden states of every text's rest; (n,) in the order of the texts.

    As in `score_by_length`, on a processor the same bit by bit whatever is scored beside a text,
    and what does not fit the memory is halved and tried again.

    Args:
        texts: n texts in their two parts.
        batch_size: most texts, and on a GPU most beginnings, in a batch.
        score: hidden states (b, longest rest, d) and the numbers of b texts → tensor (b,).
        backbone: a causal model without its head; see `_follow.can_follow`.
        pad: id that fills up what is shorter, masked.

    Raises:
        InputError: if one text alone does not fit the memory.
    """
    results = np.empty(len(texts), dtype=np.float64)
    numbers = list(range(len(texts)))
    lengths = [len(beginning) + len(rest) for beginning, rest in texts]
    with tqdm(total=len(texts), unit="text", mininterval=5, delay=5) as progress:
        reader = _Reader(texts, batch_size, score, backbone, pad, progress)
        for chunk, width in _chunks(texts, batch_size, is_steady(backbone.device)):
            for rows, values in halving(chunk, numbers, width, 1, reader.chunk, lengths):
                results[rows] = values
    return results


def _chunks(texts: list[Halves], batch_size: int, exact: bool) -> Iterator[tuple[np.ndarray, int]]:
    """Numbers of texts whose beginnings are kept at the same time, and their padded length.

    Where scores are exact it depends on nothing but the beginning itself, as in `_batches.steady`.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, (beginning, _) in enumerate(texts):
        alike.setdefault(tuple(beginning), []).append(number)

    def width(beginning: tuple[int, ...]) -> int:
        return -(-len(beginning) // VECTOR) * VECTOR if exact else len(beginning)

    longest = sorted(alike, key=len, reverse=True)
    many = BATCHES * batch_size if exact else batch_size
    # A model cannot read nothing, so texts without a beginning are by themselves.
    for _, group in groupby(longest, key=width if exact else bool):
        beginnings = list(group)
        for start in range(0, len(beginnings), many):
            kept = beginnings[start : start + many]
            yield np.concatenate([alike[beginning] for beginning in kept]), width(kept[0])


class _Reader:
    """Reads the texts of one chunk after another; the arguments are those of the function above."""

    def __init__(
        self,
        texts: list[Halves],
        batch_size: int,
        score: Callable[[torch.Tensor, list[int]], torch.Tensor],
        backbone: Any,
        pad: int,
        progress: Any,
    ) -> None:
        self.texts, self.batch_size, self.score = texts, batch_size, score
        self.backbone, self.pad, self.progress = backbone, pad, progress

    def chunk(self, numbers: list[int], width: int) -> torch.Tensor:
        """Scores (n,) of some texts whose beginnings are padded to `width`."""
        before = self.progress.n
        try:
            return self._chunk(numbers, width)
        except RuntimeError:
            self.progress.n = before
            raise

    def _chunk(self, numbers: list[int], width: int) -> torch.Tensor:
        beginnings = list(dict.fromkeys(tuple(self.texts[number][0]) for number in numbers))
        place = {beginning: row for row, beginning in enumerate(beginnings)}
        kept = self._beginnings(beginnings, width)
        lengths = np.array([len(self.texts[number][1]) for number in numbers])
        exact = is_steady(self.backbone.device)
        scores = np.empty(len(numbers), dtype=np.float64)
        for rows, longest in (
            steady(lengths, self.batch_size, step=STEP, spare=0)
            if exact
            else like(lengths, self.batch_size)
        ):
            asked = [numbers[row] for row in rows]
            if exact:
                asked += asked[:1] * (-len(asked) % several_rows(longest))
            halves = [self.texts[number] for number in asked]
            hidden = self._forward(
                [rest for _, rest in halves],
                longest,
                before=[len(beginning) for beginning, _ in halves],
                cache=_copies(kept, [place[tuple(beginning)] for beginning, _ in halves]),
                width=width,
            ).last_hidden_state
            scores[rows] = self.score(hidden, asked)[: len(rows)].double().cpu().numpy()
            self.progress.update(len(rows))
        return torch.from_numpy(scores)

    def _beginnings(self, beginnings: list[tuple[int, ...]], width: int) -> list[Any]:
        """Keys and values of each layer, a row a beginning."""
        if not width:
            return []
        layers: list[list[tuple[torch.Tensor, torch.Tensor]]] = []
        for start in range(0, len(beginnings), self.batch_size):
            batch = beginnings[start : start + self.batch_size]
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
        """The model's output for token ids, each behind `before` tokens of the cache's `width`."""
        ids = np.full((len(rows), longest), self.pad)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
        # What a place sees: the beginning of its text, and the rest up to itself. Padding behind a
        # text is seen by padding alone.
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
