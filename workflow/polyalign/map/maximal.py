"""The highest level of one value within a KL budget, the other levels held.

Among the policies with KL(p || p0) <= budget that keep the others' levels, the one with the highest
level is a p_lam: for a fixed weight s of the value, the others' lam maximise their dual, and s is
that at which the KL is the budget. The KL rises with s, so a bracketed root finds it.
"""

import numpy as np

from polyalign.errors import InputError
from polyalign.map.base import Tilted
from polyalign.map.dual import Optimum, maximise, optimum_on
from polyalign.map.feasibility import lowest

LARGEST = 2.0**16
"""Weight of the value, per standard deviation, beyond which the KL does not rise any more."""


def highest_within(
    base: Tilted, target: np.ndarray, value: int, budget: float, name: str
) -> tuple[float, str]:
    """The highest level of a value, raw units, and why there is none; empty if there is one.

    Where there is none, the level is one that every policy has, so that the verdict on the palette
    is that on the other levels.

    Args:
        base: the base policy.
        target: (k,) raw levels; that of `value` is not used.
        value: its index.
        budget: nats (per prompt, in scope `prompt`).
        name: the value, for messages.

    Raises:
        InputError: if the budget is more than the highest level costs.
    """
    from scipy.optimize import brentq

    goal = base.standardise(target)
    goal[value] = lowest(base, value)
    free = optimum_on(base, goal)
    nothing = float(base.raw(goal)[value])
    if free.status != "solved":
        return nothing, ""
    if (least := _kl(free)) >= budget:
        return nothing, (
            f"infeasible: the other levels alone need {least:.3g} nats, and {name} is to be "
            f"maximised within {budget:g}: lower a level, or raise the budget"
        )
    held = np.arange(base.k) == value
    last = free

    def at(weight: float) -> Optimum:
        nonlocal last
        start = np.where(held, weight, last.lam)
        last = maximise(base.moments, goal, base.max_kl, start=start, fixed=held)
        return last

    def excess(weight: float) -> float:
        return float(np.sqrt(_kl(at(weight))) - np.sqrt(budget))

    high = 1.0
    while excess(high) < 0:
        high *= 2
        if high > LARGEST:
            raise InputError(
                f"{name}: to maximise it within {budget:g} nats is no limit, since its highest "
                f"level costs {_kl(last):.3g}; expected a smaller budget"
            )
    found = at(brentq(excess, 0.0, high, xtol=1e-13, rtol=1e-14))
    return float(base.raw(goal - found.gradient)[value]), ""


def _kl(optimum: Optimum) -> float:
    """KL of the tilt (nats): lam . level - log Z."""
    return max(0.0, optimum.value - float(optimum.lam @ optimum.gradient))
