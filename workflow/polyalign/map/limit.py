"""lam for infinitely many candidates, from few: what a policy that is trained must aim at.

The lam of selection among few candidates is too large for a policy that can say anything. Here the
dual is solved with log Z_x and the levels of `polyalign.map.jackknife`, so that no other bias than
that of a prompt's log Z_x is left. `benchmarks/lam_bias.py` compares it with others.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from polyalign.map.base import Base
from polyalign.map.dual import maximise
from polyalign.map.jackknife import LimitMoments, limit_moments, units

LARGEST_REMAINDER = 0.1  # above it lam has been seen to be wrong by more than 10 %
MOST_STEPS = 60
TOLERANCE = 1e-7  # largest residual, in standard deviations
LEAST_UNITS = 3  # with fewer the second order is unknown
STEP = 1e-4  # of finite differences, standardised


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
        weight, _, sums = units(self.base, self.lam)[0]
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
    if max(len(weight) for weight, _, _ in units(base, np.zeros(base.k))) < LEAST_UNITS:
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
