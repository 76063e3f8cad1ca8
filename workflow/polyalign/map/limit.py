"""p_lam of infinitely many candidates, from few: what a policy that is trained must aim at.

The K candidates of a prompt stand for the base policy, and the logarithm of a mean of K weights is
too small: its bias is of order 1/K, it lowers the levels, and so the lam of selection among few
candidates is too large for a policy that can say anything. The jackknife of second order takes the
orders 1/K and 1/K^2 off log Z_x, the mean over all choices of K - 1 and K - 2 candidates with it
(Nowozin, "Debiasing evidence approximations: on importance-weighted autoencoders and jackknife
variational inference", ICLR 2018), and its derivative off the levels. The dual is then solved with
these, so that no other bias than that of a prompt's log Z_x is left. In scope `joint` the prompts
take the place of the candidates. `benchmarks/lam_bias.py` compares it with others.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from polyalign.map.base import Base, tilt
from polyalign.map.dual import maximise

LARGEST_REMAINDER = 0.1  # above it lam has been seen to be wrong by more than 10 %
MOST_STEPS = 60
TOLERANCE = 1e-7  # largest residual, in standard deviations
MOST_PAIRS = 64  # candidates beyond which order 1/K^2 is nothing, and pairs would cost
LEAST_UNITS = 3  # with fewer the second order is unknown
LEAST = 1e-12  # share of the weight that is left without a candidate, up to rounding
STEP = 1e-4  # of finite differences, standardised


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


@dataclass(frozen=True)
class Limit:
    """The solution of a palette for infinitely many candidates.

    Attributes:
        base: the base policy that it was solved on.
        lam: (k,) weights >= 0, standardised.
    """

    base: Base
    lam: np.ndarray

    @property
    def raw(self) -> np.ndarray:
        """lam (k,) in raw units."""
        return self.lam / self.base.scale + 0.0

    @cached_property
    def moments(self) -> LimitMoments:
        """What p_lam has at this lam."""
        return limit_moments(self.base, self.lam)

    @cached_property
    def hessian(self) -> np.ndarray:
        """(k, k) derivatives of the mean levels by lam, standardised."""
        return _hessian(self.base, self.lam, 2)

    @property
    def remainder(self) -> float:
        """How far lam would move without the order 1/K^2, as a share of its length, standardised.

        What is left of the bias is of the next order: the smaller the share, the surer is lam.
        """
        first = limit_moments(self.base, self.lam, order=1)
        gap = self.moments.share @ (self.moments.levels - first.levels)
        free = np.flatnonzero(self.lam > 0)
        moved = np.linalg.pinv(self.hessian[np.ix_(free, free)], hermitian=True) @ gap[free]
        return float(np.linalg.norm(moved) / np.linalg.norm(self.lam)) if free.size else 0.0

    @cached_property
    def clusters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices (N,) of the prompts, and what they add to the level: weight (N,), sum (N, k)."""
        if self.base.scope == "prompt":
            prompts = [self.base.prompt[block.rows[0]] for block in self.base.blocks]
            share = self.moments.share
            return np.concatenate(prompts), share, self.moments.levels * share[:, None]
        weight, _, sums = _units(self.base, self.lam)[0]
        return np.unique(self.base.prompt), weight[:, 0], sums[:, :, 0].T

    def se(self) -> np.ndarray:
        """Standard errors (k,) of lam, raw units, by the delta method with the target as given."""
        _, weight, sums = self.clusters
        scores = sums - weight[:, None] * sums.sum(axis=0)
        free = np.flatnonzero(self.lam > 0)
        found = np.zeros(self.base.k)
        inverse = np.linalg.pinv(self.hessian[np.ix_(free, free)], hermitian=True)
        found[free] = np.sqrt(np.square(scores[:, free] @ inverse).sum(axis=0))
        return found / np.abs(self.base.scale)

    def resampled(self, times: np.ndarray, target: np.ndarray) -> np.ndarray:
        """lam (k,), raw units, on a resample of the prompts, to first order.

        Args:
            times: how often the resample has each prompt, by its index.
            target: (k,) levels asked on the resample, raw units.
        """
        prompts, weight, sums = self.clusters
        often = times[prompts]
        moved = (often @ sums) / (often @ weight) - sums.sum(axis=0)
        at = self.moments.share @ self.moments.levels + moved

        def linear(lam: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
            step = lam - self.lam
            slope = at + self.hessian @ step
            return float(step @ (at + slope) / 2), slope, self.hessian

        found = maximise(
            linear, self.base.standardise(target), np.inf, tolerance=TOLERANCE, start=self.lam
        )
        return found.lam / self.base.scale + 0.0


def limit_moments(base: Base, lam: np.ndarray, *, order: int = 2) -> LimitMoments:
    """log Z_x and levels of p_lam for infinitely many candidates, at a standardised lam (k,).

    Args:
        base: the base policy.
        lam: weights.
        order: powers of 1/K that are taken off: 2, 1 or 0 (none). A prompt with K candidates bears
            K - 1 at most.
    """
    log_z, levels = [], []
    for block, (weight, mass, sums) in zip(base.blocks, _units(base, lam), strict=True):
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


def solve_limit(
    base: Base, target: np.ndarray, start: np.ndarray, *, order: int = 2
) -> Limit | None:
    """The lam that reaches a target with infinitely many candidates.

    Args:
        base: the base policy.
        target: (k,) levels, raw units.
        start: (k,) lam that solves it on the table itself, raw units.
        order: as in `limit_moments`.

    Returns:
        The solution; None where it cannot be estimated: no prompt has three candidates, the
        corrected dual has no maximum, or the second order is above `LARGEST_REMAINDER` of lam, as
        where the table hardly reaches the target.
    """
    if max(len(weight) for weight, _, _ in _units(base, np.zeros(base.k))) < LEAST_UNITS:
        return None

    goal, first = base.standardise(target), np.asarray(start) * base.scale
    # The table's own Hessian costs nothing, and is near enough where the bias is small.
    for exact in (False, True):

        def moments(lam: np.ndarray, exact: bool = exact) -> tuple[float, np.ndarray, np.ndarray]:
            log_z, levels, share = limit_moments(base, lam, order=order)
            hessian = _hessian(base, lam, order) if exact else base.moments(lam)[2]
            return float(share @ log_z), share @ levels, hessian

        found = maximise(moments, goal, np.inf, tolerance=TOLERANCE, start=first, most=MOST_STEPS)
        if found.status == "solved":
            limit = Limit(base, found.lam)
            return limit if limit.remainder <= LARGEST_REMAINDER else None
    return None


def _hessian(base: Base, lam: np.ndarray, order: int) -> np.ndarray:
    """Derivatives (k, k) of the mean levels by lam, by central differences."""

    def level(lam: np.ndarray) -> np.ndarray:
        found = limit_moments(base, lam, order=order)
        return found.share @ found.levels

    steps = STEP * np.eye(base.k)
    columns = [level(lam + step) - level(lam - step) for step in steps]
    found = np.stack(columns, axis=1) / (2 * STEP)
    return (found + found.T) / 2


def _units(base: Base, lam: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
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
