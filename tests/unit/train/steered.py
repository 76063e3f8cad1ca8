"""The closed loop on the enumerable problem: its exact aim, and how far a policy is from it."""

import numpy as np
from enumerable import LAM, divergence, reward_table, target

from polyalign.train.closed_loop import Aim

NAMES = list(LAM)


def levels(policy: np.ndarray) -> np.ndarray:
    """Mean rewards (k,) of a policy (2, n), by enumeration."""
    return np.einsum("xn,xnk->k", policy, reward_table()) / len(policy)


def base_sd(base: np.ndarray) -> np.ndarray:
    """Standard deviations (k,) of the rewards under the base model."""
    table = reward_table()
    return np.sqrt(np.einsum("xn,xnk->k", base, (table - levels(base)) ** 2) / len(base))


def exact_aim(base: np.ndarray, factor: float) -> Aim:
    """The levels of p_λ at LAM, and a start that is wrong by a factor."""
    goal, table = target(base), reward_table()
    means = np.einsum("xn,xnk->xk", goal, table)
    apart = table - means[:, None]
    level, half = means.mean(axis=0), 0.01 * base_sd(base)
    return Aim(
        values=NAMES,
        start=factor * np.array(list(LAM.values())),
        target=level,
        low=level - half,
        high=level + half,
        curvature=np.einsum("xn,xnk,xnj->kj", goal, apart, apart) / len(goal),
    )


def misses(base: np.ndarray, policy: np.ndarray) -> tuple[float, float]:
    """Largest miss of a level, in sd of the base model, and KL to p_λ at LAM in nats."""
    goal = target(base)
    miss = np.abs(levels(policy) - levels(goal)) / base_sd(base)
    return float(miss.max()), divergence(policy, goal)
