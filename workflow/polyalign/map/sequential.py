"""Aligning one value (or block of values) after the other, against all at once.

Aligning a policy that is already tilted by the other values is coordinate ascent on the dual: each
turn maximises it over one block of lam, the rest fixed. One round, as sequential alignment is
usually done, undoes part of what the earlier turns reached; many rounds converge to the
simultaneous solution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyalign.errors import InputError
from polyalign.map.base import Base, check_names, check_target
from polyalign.map.dual import maximise


@dataclass(frozen=True)
class Rounds:
    """Coordinate ascent, round by round, in raw units.

    Attributes:
        lam: (rounds, k) after each round.
        levels: (rounds, k) levels of p_lam after each round.
        dual: (rounds,) value of the dual.
        kkt: (rounds,) KKT residual of the whole palette.
    """

    lam: np.ndarray
    levels: np.ndarray
    dual: np.ndarray
    kkt: np.ndarray


def sequential(
    base: Base,
    target: np.ndarray,
    *,
    rounds: int,
    blocks: Sequence[Sequence[int]] | None = None,
    names: Sequence[str] | None = None,
) -> Rounds:
    """Align one block of values after the other, `rounds` times.

    Args:
        base: the base policy.
        target: (k,) raw levels.
        rounds: how often to go through all blocks.
        blocks: the values aligned together, by index, in order; default one by one.
        names: names of the values, for messages.

    Raises:
        InputError: if rounds < 1, the blocks do not name each value once, or a block's target
            cannot be reached.
    """
    called = check_names(names, base.k)
    goal = base.standardise(check_target(target, base.k))
    turns = [[i] for i in range(base.k)] if blocks is None else [list(b) for b in blocks]
    if sorted(i for turn in turns for i in turn) != list(range(base.k)) or rounds < 1:
        raise InputError(
            f"sequential: {rounds} rounds of blocks "
            f"{' | '.join(', '.join(called[i] for i in turn) for turn in turns)}; expected at "
            f"least 1 round, and each of the {base.k} values in one block"
        )
    lam = np.zeros(base.k)
    history = []
    for _ in range(rounds):
        for turn in turns:
            held = ~np.isin(np.arange(base.k), turn)
            optimum = maximise(base.moments, goal, base.max_kl, start=lam, fixed=held)
            if optimum.status != "solved":
                raise InputError(
                    f"sequential: the target of {', '.join(called[i] for i in turn)} cannot be "
                    "reached; run the feasibility check on the palette"
                )
            lam = optimum.lam
        shortfall = optimum.gradient
        kkt = np.maximum(shortfall, np.abs(lam * shortfall)).max(initial=0.0)
        history.append((lam / base.scale, base.raw(goal - shortfall), optimum.value, kkt))
    columns = [np.array(column) for column in zip(*history, strict=True)]
    return Rounds(*columns)
