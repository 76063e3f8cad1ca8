"""Incremental scoring with a key-value cache: of a growing text, a model reads only what is new.

Token-level decoding asks at every step for the rewards of some continuations of each text. They
share all but their last tokens with each other and with the step before. So the common prefix is
kept in the cache, and one forward pass reads all continuations of a text side by side, each of them
masked from the others. The results are those of encoding every text separately.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch

from polyalign.models.encoding import max_positions


@dataclass(frozen=True)
class Read:
    """What one step read.

    Attributes:
        hidden: last hidden states (b, C + k·B, d): C places for the common prefix of each text,
            then B for each of its k continuations.
        start: (b,) tokens of each text that the cache held before.
        common: (b,) tokens that all continuations of a text share.
        shared: C.
        branch: B.
    """

    hidden: torch.Tensor
    start: list[int]
    common: list[int]
    shared: int
    branch: int

    def place(self, row: int, continuation: int, token: int) -> int:
        """Index in `hidden` of a token of a continuation; the token must not be before `start`."""
        if token < self.common[row]:
            return token - self.start[row]
        return self.shared + continuation * self.branch + token - self.common[row]


class PrefixCache:
    """Keys and values of the common prefixes of the texts.

    Args:
        backbone: a causal model without its head.
        pad_token_id: fills up shorter rows.
    """

    def __init__(self, backbone: Any, pad_token_id: int) -> None:
        from transformers import DynamicCache

        self.backbone, self.pad = backbone, pad_token_id
        self.cache = DynamicCache()
        self.rows: list[int] = []
        self.cached: list[list[int]] = []
        self.slots: list[list[int]] = []
        self.filled = 0

    def _keep(self, rows: Sequence[int]) -> None:
        """Drop the texts that are not among `rows`; at the first step, start with `rows`."""
        if not self.rows:
            self.cached, self.slots = [[] for _ in rows], [[] for _ in rows]
        elif list(rows) != self.rows:
            kept = [self.rows.index(row) for row in rows]
            self.cache.batch_select_indices(torch.tensor(kept, device=self.backbone.device))
            self.cached = [self.cached[place] for place in kept]
            self.slots = [self.slots[place] for place in kept]
        self.rows = list(rows)

    def read(self, rows: Sequence[int], texts: Sequence[Sequence[list[int]]]) -> Read:
        """Read the continuations (token ids) of each text; the cache grows by their common prefix.

        The last token in the cache is read again, so that the hidden states start at the last
        common token.
        """
        self._keep(rows)
        start, common = [], []
        for row, continuations in enumerate(texts):
            end = min(shared_length(continuations), min(map(len, continuations)) - 1)
            old = shared_length([self.cached[row], continuations[0][:end]])
            start.append(max(0, old - 1))
            common.append(end)
            del self.cached[row][start[row] :], self.slots[row][start[row] :]
        shared = max(end - begin for begin, end in zip(start, common, strict=True))
        branch = max(
            len(ids) - end
            for end, continuations in zip(common, texts, strict=True)
            for ids in continuations
        )
        width = shared + branch * max(map(len, texts))
        ids = np.full((len(texts), width), self.pad)
        positions = np.zeros((len(texts), width), dtype=np.int64)
        old_valid = np.zeros((len(texts), self.filled), dtype=bool)
        new_valid = np.zeros((len(texts), shared), dtype=bool)
        for row, continuations in enumerate(texts):
            begin, end = start[row], common[row]
            old_valid[row, self.slots[row]] = True
            new_valid[row, : end - begin] = True
            ids[row, : end - begin] = continuations[0][begin:end]
            positions[row, :shared] = begin + np.arange(shared)
            positions[row, shared:] = end + np.arange(width - shared) % branch
            for number, continuation in enumerate(continuations):
                at = shared + number * branch
                ids[row, at : at + len(continuation) - end] = continuation[end:]
            self.cached[row] += continuations[0][begin:end]
            self.slots[row] += range(self.filled, self.filled + end - begin)
        seen = _mask(old_valid, new_valid, width, branch)
        hidden = forward(self.backbone, ids, positions, seen, self.cache).last_hidden_state
        self.filled += shared
        if width > shared:
            self.cache.crop(shared - width)
        return Read(hidden, start, common, shared, branch)


def forward(
    backbone: Any, ids: np.ndarray, positions: np.ndarray, seen: np.ndarray, cache: Any = None
) -> Any:
    """The output of a causal model with an attention mask of our own.

    Args:
        backbone: the model without its head.
        ids: (b, w) token ids.
        positions: (b, w) positions of the tokens in their texts.
        seen: (b, w, slots in the cache + w) what each token attends to, itself at least.
        cache: keys and values of earlier tokens; those of `ids` are added.
    """
    device, dtype = backbone.device, backbone.dtype
    mask = torch.zeros(seen.shape, dtype=dtype, device=device)
    mask.masked_fill_(~torch.from_numpy(seen).to(device), torch.finfo(dtype).min)
    limit = max_positions(backbone)
    places = torch.from_numpy(positions).to(device)
    return backbone(
        input_ids=torch.from_numpy(ids).to(device),
        # Only padding can be beyond the model's positions.
        position_ids=places if limit is None else places.clamp(max=limit - 1),
        attention_mask=mask[:, None],
        past_key_values=cache,
        use_cache=True,
    )


def _mask(old_valid: np.ndarray, new_valid: np.ndarray, width: int, branch: int) -> np.ndarray:
    """What each token attends to: (b, width, slots in the cache + width)."""
    rows, filled = old_valid.shape
    shared = new_valid.shape[1]
    number = (np.arange(width) - shared) // branch
    number[:shared] = -1
    own = (number[:, None] == number[None, :]) & np.tri(width, dtype=bool)
    allowed = np.zeros((rows, width, filled + width), dtype=bool)
    allowed[:, :, :filled] = old_valid[:, None, :]
    allowed[:, :, filled:] = own
    allowed[:, shared:, filled : filled + shared] = new_valid[:, None, :]
    return allowed


def shared_length(texts: Sequence[Sequence[int]]) -> int:
    """Length of the longest common prefix of sequences of ids."""
    columns = zip(*texts, strict=False)
    return sum(1 for _ in takewhile(lambda ids: ids.count(ids[0]) == len(ids), columns))


def increments_agree(model: Any, head: Any, tokenizer: Any, source: str, limit: int | None) -> bool:
    """Whether `PrefixCache` gives the model's own logits of texts that grow, branch and end.

    Args:
        model: a causal model with its head.
        head: reads the hidden states.
        tokenizer: the model's.
        source: the model, for the log.
        limit: most tokens that the model takes, or None.
    """
    from polyalign.models.plain import plain_logits
    from polyalign.models.probes import probes, proven

    (a, b), _, (c, d), _, _, (long, end), _ = probes(model, tokenizer, limit)
    steps = [
        ([0, 1, 2], [[a, a + b], [c + d, c + b], [long, long[:-1] + b]]),
        ([0, 2], [[a + b, a + b + d], [long + end, long + b]]),
        ([2], [[long + end, long + b]]),
    ]

    def read() -> np.ndarray:
        cache, found = PrefixCache(model.base_model, tokenizer.pad_token_id), []
        for rows, texts in steps:
            hidden = cache.read(rows, texts)
            logits = head(hidden.hidden).float().cpu().numpy()
            for row, several in enumerate(texts):
                for number, ids in enumerate(several):
                    found.append(logits[row, hidden.place(row, number, len(ids) - 1)])
        return np.array(found)

    with torch.inference_mode():
        expected = np.array(
            [
                np.atleast_2d(plain_logits(model, ids).numpy())[-1]
                for _, texts in steps
                for several in texts
                for ids in several
            ]
        )
        return proven("a key-value cache", source, read, expected, model.dtype)


def supports_prefix_cache(model: Any) -> bool:
    """Whether a model is causal, without attention windows, and takes our attention mask."""
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    placed = "position_ids" in inspect.signature(model.base_model.forward).parameters
    if kinds != {"full_attention"} or not placed:
        return False
    window = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    attention = getattr(config, "_attn_implementation", None)
    return not window and not config.is_encoder_decoder and attention in ("sdpa", "eager")
