"""Scoring texts that begin alike: a causal model reads each beginning once, then what follows.

All candidates of a prompt share its tokens. Their keys and values are computed once, and every text
reads on from a copy of them, so that a score costs the tokens of its response alone.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch

from polyalign.values._batches import VECTOR, halving, like, several_rows, steady

Halves = tuple[list[int], list[int]]
"""Token ids of a text: its beginning, which other texts may share, and the rest, not empty."""

STEP = 8
"""Tokens to a multiple of which a rest is padded on a processor: fewer would make small batches."""

BATCHES = 16
"""Batches of beginnings that a processor keeps: more of them fill the batches of the rests."""


def worth_sharing(texts: Sequence[Halves], device: Any) -> bool:
    """Whether beginnings are read by themselves.

    On a processor always: the scores, which must not depend on the texts beside a text, would
    differ in rounding. On a GPU where it saves half of them.
    """
    different = {tuple(beginning) for beginning, _ in texts}
    return device.type == "cpu" or 2 * len(different) <= len(texts)


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
    and a batch that does not fit the memory is halved.

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
    reader = _Reader(texts, batch_size, score, backbone, pad)
    for numbers, width in _chunks(texts, batch_size, backbone.device.type == "cpu"):
        for rows, values in halving(numbers, list(range(len(texts))), width, 1, reader.chunk):
            results[rows] = values
    return results


def _chunks(
    texts: list[Halves], batch_size: int, on_processor: bool
) -> Iterator[tuple[np.ndarray, int]]:
    """Numbers of texts whose beginnings are kept at the same time, and their padded length.

    That depends on a processor on nothing but the beginning itself, as in `_batches.steady`.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, (beginning, _) in enumerate(texts):
        alike.setdefault(tuple(beginning), []).append(number)

    def width(beginning: tuple[int, ...]) -> int:
        length = len(beginning)
        return -(-length // VECTOR) * VECTOR if on_processor else length

    longest = sorted(alike, key=len, reverse=True)
    many = BATCHES * batch_size if on_processor else batch_size
    for _, group in groupby(longest, key=width if on_processor else bool):
        beginnings = list(group)
        for start in range(0, len(beginnings), many):
            kept = beginnings[start : start + many]
            yield np.concatenate([alike[beginning] for beginning in kept]), width(kept[0])


class _Reader:
    """Reads the texts of one chunk after another; the arguments are those of the function above."""

    def __init__(
        self, texts: list[Halves], batch_size: int, score: Any, backbone: Any, pad: int
    ) -> None:
        self.texts, self.batch_size, self.score = texts, batch_size, score
        self.backbone, self.pad = backbone, pad
        self.limit = getattr(backbone.config, "max_position_embeddings", None)

    def chunk(self, numbers: list[int], width: int) -> torch.Tensor:
        """Scores (n,) of some texts whose beginnings are padded to `width`."""
        beginnings = list(dict.fromkeys(tuple(self.texts[number][0]) for number in numbers))
        place = {beginning: row for row, beginning in enumerate(beginnings)}
        kept = self._beginnings([list(beginning) for beginning in beginnings], width)
        lengths = np.array([len(self.texts[number][1]) for number in numbers])
        on_processor = self.backbone.device.type == "cpu"
        scores = torch.empty(len(numbers), dtype=torch.float64)
        batches = (
            steady(lengths, self.batch_size, step=STEP, spare=0)
            if on_processor
            else like(lengths, self.batch_size)
        )
        for rows, longest in batches:
            asked = [numbers[row] for row in rows]
            asked += asked[:1] * (-len(asked) % several_rows(longest, on_processor))
            at = [place[tuple(self.texts[number][0])] for number in asked]
            hidden = self._forward(
                [self.texts[number][1] for number in asked],
                longest,
                before=[len(self.texts[number][0]) for number in asked],
                cache=_copies(kept, at),
                width=width,
            ).last_hidden_state
            scores[rows] = self.score(hidden, asked)[: len(rows)].double().cpu()
        return scores

    def _beginnings(self, beginnings: list[list[int]], width: int) -> list[Any]:
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
        rows: list[list[int]],
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
        if self.limit is not None:
            # Only padding can lie beyond the model's positions.
            positions = positions.clip(max=self.limit - 1)
        device, dtype = self.backbone.device, self.backbone.dtype
        # Always one of ours: without a mask, the kernel is another one.
        mask = torch.zeros(seen.shape, dtype=dtype)
        mask.masked_fill_(~torch.from_numpy(seen), torch.finfo(dtype).min)
        return self.backbone(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=mask[:, None].to(device),
            position_ids=torch.from_numpy(positions).to(device),
            past_key_values=cache,
            use_cache=True,
        )


def _copies(layers: list[Any], rows: list[int]) -> Any:
    """A cache that holds the given rows of the keys and values."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for number, (keys, values) in enumerate(layers):
        index = torch.tensor(rows, device=keys.device)
        cache.update(keys[index], values[index], number)
    return cache
