"""Several passes over prompts of which there are fresh ones until the end.

What the candidates of a prompt say of a policy's levels is unbiased until the policy learns from
them. After a first pass over all prompts nothing would be. So each step has new prompts and old
ones: the new ones come evenly over the whole training, and the old ones again in turn.
"""

from collections import deque
from typing import Any

import numpy as np
from torch.utils.data import Dataset

FRESH = "fresh"


def replayed(prompts: int, passes: int, batch: int, seed: int) -> list[list[tuple[int, bool]]]:
    """The prompts of each step, and whether it is the first that has them.

    Args:
        prompts: number of prompts.
        passes: how often a prompt is read on average.
        batch: prompts of a step.
        seed: of the order.
    """
    order = np.random.default_rng(seed).permutation(prompts).tolist()
    batch = min(batch, prompts)
    steps = -(-passes * prompts // batch)
    # The first step has new ones alone.
    ends = np.linspace(batch, prompts, steps).round().astype(int).tolist()
    old: deque[int] = deque()
    found, start = [], 0
    for end in ends:
        new = order[start:end]
        again = [old.popleft() for _ in range(batch - len(new))]
        old.extend(new + again)
        found.append([(one, True) for one in new] + [(one, False) for one in again])
        start = end
    return found


class Replayed(Dataset[dict[str, Any]]):
    """Rows of data in that order, as one pass; each row says under `fresh` whether it is new."""

    def __init__(self, rows: Any, steps: list[list[tuple[int, bool]]]) -> None:
        self.rows = rows
        self.order = [one for step in steps for one in step]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, at: int) -> dict[str, Any]:
        row, fresh = self.order[at]
        return {**self.rows[row], FRESH: fresh}
