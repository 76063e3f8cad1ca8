"""Moving a palette to where it can be had, and drawing palettes at random.

The furthest feasible points are exact (linear programmes) but need an infinite lam. The furthest
*supportable* ones keep an effective sample size or a norm of lam; they are found by bisection, on
the fact that the KL of a solution rises along the way.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from polyalign.errors import InputError
from polyalign.map.base import Base, check_target
from polyalign.map.batch import Batch, solve_many_on
from polyalign.map.dual import Solution, solve_on
from polyalign.map.feasibility import furthest_of_value, furthest_on_segment

STEPS = 40


@dataclass(frozen=True)
class Limits:
    """What makes a solution supportable; None asks nothing.

    Attributes:
        min_ess: least effective sample size (scope `prompt`: mean a prompt).
        max_weight: largest weight allowed, as in `Solution`.
        max_norm: largest sum of lam, in 1 / the rewards' units.
    """

    min_ess: float | None = None
    max_weight: float | None = None
    max_norm: float | None = None


@dataclass(frozen=True)
class Moved:
    """A palette that was moved.

    Attributes:
        asked: (k,) levels asked for.
        target: (k,) levels after the move.
        share: how far it got: along base → asked (1 is all), or the level of the value (raw).
        furthest: the same for the exact edge of what is feasible.
        solution: the solution at `target`.
    """

    asked: np.ndarray
    target: np.ndarray
    share: float
    furthest: float
    solution: Solution


def interpolate(
    base: Base, target: np.ndarray, limits: Limits | None = None, names: list[str] | None = None
) -> Moved:
    """Furthest supportable point on the segment from the base level to the target.

    Args:
        base: the base policy.
        target: (k,) raw levels.
        limits: what counts as supportable; None: the verdict `supported`.
        names: names of the values.
    """
    asked = check_target(target, base.k)
    furthest = furthest_on_segment(base, asked)

    def at(share: float) -> np.ndarray:
        return base.center + share * (asked - base.center)

    share, solution = _bisect(base, at, 0.0, min(1.0, furthest), limits, names)
    return Moved(asked, at(share), share, furthest, solution)


def raise_value(
    base: Base,
    target: np.ndarray,
    value: int,
    limits: Limits | None = None,
    names: list[str] | None = None,
) -> Moved:
    """Highest supportable level of one value with the others held at their targets.

    Args:
        base: the base policy.
        target: (k,) raw levels; that of `value` is not used.
        value: index of the value to raise.
        limits: what counts as supportable; None: the verdict `supported`.
        names: names of the values.

    Raises:
        InputError: if the others' targets alone are infeasible or not supportable.
    """
    asked = check_target(target, base.k)
    furthest = furthest_of_value(base, asked, value)

    def at(level: float) -> np.ndarray:
        return np.where(np.arange(base.k) == value, level, asked)

    # A level that every policy has binds nothing: it is what the others alone would give.
    lowest = min(float((b.z[value]).min()) for b in base.blocks)
    free = solve_on(base, at(lowest * base.scale[value] + base.center[value]), names=names)
    level, solution = _bisect(base, at, float(free.realised[value]), furthest, limits, names)
    return Moved(asked, at(level), level, furthest, solution)


def _bisect(
    base: Base,
    at: Callable[[float], np.ndarray],
    low: float,
    high: float,
    limits: Limits | None,
    names: list[str] | None,
) -> tuple[float, Solution]:
    def attempt(place: float, start: np.ndarray | None) -> Solution:
        bounds = limits or Limits()
        return solve_on(
            base,
            at(place),
            names=names,
            min_ess=bounds.min_ess,
            max_weight=bounds.max_weight,
            start=start,
        )

    solution = attempt(high, None)
    if _within(base, solution, limits):
        return high, solution
    best = attempt(low, None)
    if not _within(base, best, limits):
        raise InputError(f"the base policy's own levels are not supportable: {best.message}")
    for _ in range(STEPS):
        middle = (low + high) / 2
        solution = attempt(middle, best.lam)
        if _within(base, solution, limits):
            low, best = middle, solution
        else:
            high = middle
        if high - low <= 1e-9 * max(1.0, abs(low)):
            break
    return low, best


def _within(base: Base, solution: Solution, limits: Limits | None) -> bool:
    if solution.status != "solved":
        return False
    if limits is None:
        return solution.verdict == "supported"
    size, mean, largest = base.spent(solution.lam * base.scale)
    carried = mean if base.scope == "prompt" else size
    return (
        (limits.min_ess is None or carried >= limits.min_ess)
        and (limits.max_weight is None or largest <= limits.max_weight)
        and (limits.max_norm is None or float(solution.lam.sum()) <= limits.max_norm)
    )


@dataclass(frozen=True)
class RandomPalettes:
    """Random palettes beside a Dirichlet reference.

    Attributes:
        batch: all palettes drawn, solved.
        kept: (m,) feasible and within the cap.
        success: share kept.
        reference: (m, k) lam drawn without a palette: a Dirichlet direction times a uniform norm
            below the cap.
        reference_levels: (m, k) levels that the reference realises.
        cap: the cap on the sum of lam, in 1 / the rewards' units.
    """

    batch: Batch
    kept: np.ndarray
    success: float
    reference: np.ndarray
    reference_levels: np.ndarray
    cap: float


def random_palettes(base: Base, count: int, *, seed: int, cap: float) -> RandomPalettes:
    """Draw palettes uniformly between the base level and the maximum of each value; solve them.

    Args:
        base: the base policy, with at least 2 values.
        count: palettes to draw.
        seed: of the draws.
        cap: largest sum of lam that is kept, in 1 / the rewards' units.

    Raises:
        InputError: with fewer than 2 values, no palettes, or a cap that is not positive.
    """
    if base.k < 2 or count < 1 or not cap > 0:
        raise InputError(
            f"random palettes: {base.k} values, count {count}, cap {cap}; expected at least 2 "
            "values, 1 palette and a cap above 0"
        )
    draws = np.random.default_rng(seed)
    highest = np.array([base.best(unit)[i] for i, unit in enumerate(np.eye(base.k))])
    targets = base.raw(draws.random((count, base.k)) * highest)
    batch = solve_many_on(base, targets)
    kept = batch.feasible & (np.nan_to_num(batch.lam, nan=np.inf).sum(axis=1) <= cap)
    direction = draws.dirichlet(np.ones(base.k), size=count)
    reference = direction * cap * draws.random((count, 1))
    levels = np.array([base.moments(lam * base.scale)[1] for lam in reference])
    return RandomPalettes(
        batch=batch,
        kept=kept,
        success=float(kept.mean()),
        reference=reference,
        reference_levels=base.raw(levels),
        cap=cap,
    )
