"""Levels of p_lam for infinitely many candidates, from few, by the jackknife of second order.

The K candidates of a prompt stand for the base policy, and the logarithm of a mean of K weights is
too small: its bias is of order 1/K, and it lowers the levels. The jackknife of second order takes
the orders 1/K and 1/K^2 off log Z_x, the mean over all choices of K - 1 and K - 2 candidates with
it (Nowozin, "Debiasing evidence approximations: on importance-weighted autoencoders and jackknife
variational inference", ICLR 2018), and its derivative off the levels. In scope `joint` the prompts
take the place of the candidates. Nothing is solved here.
"""

from typing import NamedTuple

import numpy as np

from polyalign.map.base import Base, tilt

MOST_PAIRS = 64  # candidates beyond which order 1/K^2 is nothing, and pairs would cost
LEAST = 1e-12  # share of the weight that is left without a candidate, up to rounding


class LimitMoments(NamedTuple):
    """Estimates for infinitely many candidates; G prompts (1 in scope `joint`), k values.

    Attributes:
        log_z: (G,) log Z_x.
        levels: (G, k) levels, standardised.
        share: (G,) probability of each prompt.
    """

    log_z: np.ndarray
    levels: np.ndarray
    share: np.ndarray


def limit_moments(base: Base, lam: np.ndarray, *, order: int = 2) -> LimitMoments:
    """log Z_x and levels of p_lam for infinitely many candidates, at a standardised lam (k,).

    Args:
        base: the base policy.
        lam: weights.
        order: powers of 1/K that are taken off: 2, 1 or 0 (none). A prompt with K candidates bears
            K - 1 at most.
    """
    log_z, levels = [], []
    for block, (weight, mass, sums) in zip(base.blocks, units(base, lam), strict=True):
        bias, level = _jackknifed(weight, mass, sums, order)
        log_z.append(tilt(block, lam)[0] + bias)
        levels.append(level.T)
    share = np.concatenate([block.share for block in base.blocks])
    return LimitMoments(np.concatenate(log_z), np.concatenate(levels), share)


def limit_level(weight: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Level (k,) for infinitely many candidates of any policy at one prompt.

    Args:
        weight: (K,) proportional to policy / p0 at candidates drawn from p0, with sum 1.
        rewards: (K, k).
    """
    mass = np.full((len(weight), 1), 1 / len(weight))
    sums = (weight[:, None] * rewards).T[:, :, None]
    return np.asarray(_jackknifed(weight[:, None], mass, sums, 2)[1][:, 0])


def units(base: Base, lam: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What is drawn independently, by block: candidates, or in scope `joint` whole prompts.

    Returns:
        weight (U, G) of each unit under p_lam, its probability (U, G) under p0, and its sum
        (k, U, G) of weighted rewards.
    """
    found = []
    for block in base.blocks:
        p, p0 = tilt(block, lam)[1], np.exp(block.log_p0)
        if base.scope == "joint":
            prompt = np.unique(base.prompt[block.rows[:, 0]], return_inverse=True)[1]
            columns = [p[:, 0], p0[:, 0], *(block.z[:, :, 0] * p[:, 0])]
            table = np.stack([np.bincount(prompt, one) for one in columns])[:, :, None]
            found.append((table[0], table[1], table[2:]))
        else:
            found.append((p, p0, block.z * p))
    return found


def _jackknifed(
    weight: np.ndarray, mass: np.ndarray, sums: np.ndarray, order: int
) -> tuple[np.ndarray, np.ndarray]:
    """What the jackknife adds to log Z (G,), and the levels (k, G) that it gives.

    Args:
        weight: (U, G) weights that sum to 1.
        mass: (U, G) their probabilities under p0, which sum to 1.
        sums: (k, U, G) weighted rewards.
        order: the most powers of 1/U that are taken off.
    """
    n, whole = len(weight), sums.sum(axis=1)
    order = min(order, n - 1, 1 if n > MOST_PAIRS else 2)
    if order == 0:
        return np.zeros(weight.shape[1]), whole
    one_log, one_level = _without_one(weight, mass, sums, whole)
    if order == 1:
        return -(n - 1) * one_log, n * whole - (n - 1) * one_level
    two_log, two_level = _without_two(weight, mass, sums, whole)
    one, two = -((n - 1) ** 2), (n - 2) ** 2 / 2
    return one * one_log + two * two_log, n**2 / 2 * whole + one * one_level + two * two_level


def _without_one(
    weight: np.ndarray, mass: np.ndarray, sums: np.ndarray, whole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the choices of all units but one: log Z (G,) less that of all, levels (k, G)."""
    rest = np.maximum(1.0 - weight, LEAST)
    inverse = 1.0 / rest
    log_z = (np.log(rest) - np.log(1.0 - mass)).mean(axis=0)
    level = whole * inverse.sum(axis=0) - np.einsum("kux,ux->kx", sums, inverse)
    return log_z, level / len(weight)


def _without_two(
    weight: np.ndarray, mass: np.ndarray, sums: np.ndarray, whole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the choices of all units but two, as `_without_one`."""
    n, prompts = weight.shape
    log_z, inverses = np.zeros(prompts), np.zeros_like(weight)
    for unit in range(n - 1):
        rest = np.maximum((1.0 - weight[unit]) - weight[unit + 1 :], LEAST)
        left = (1.0 - mass[unit]) - mass[unit + 1 :]
        log_z += np.log(rest / np.maximum(left, LEAST)).sum(axis=0)
        inverse = 1.0 / rest
        inverses[unit] += inverse.sum(axis=0)
        inverses[unit + 1 :] += inverse
    # Each pair was counted with both of its units.
    level = whole * (inverses.sum(axis=0) / 2) - np.einsum("kux,ux->kx", sums, inverses)
    pairs = n * (n - 1) / 2
    return log_z / pairs, level / pairs
