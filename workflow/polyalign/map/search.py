"""Moving a palette to where it is feasible or supportable, and drawing palettes at random.

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
from polyalign.map.dual import DEFAULT_LIMITS, Limits, Solution, solve_on
from polyalign.map.feasibility import furthest_of_value, furthest_on_segment, lowest
from polyalign.map.random_lam import dirichlet_lam

STEPS = 40


@dataclass(frozen=True)
class Moved:
    """A palette that was moved.

    Attributes:
        asked: (k,) levels asked for.
        target: (k,) levels after the move.
        share: how far it got along base → asked; 1 is all the way.
        furthest: the same for the exact edge of what is feasible.
        solution: the solution at `target`.
    """

    asked: np.ndarray
    target: np.ndarray
    share: float
    furthest: float
    solution: Solution


def interpolate(
    base: Base,
    target: np.ndarray,
    limits: Limits = DEFAULT_LIMITS,
    names: list[str] | None = None,
) -> Moved:
    """Furthest supportable point on the segment from the base level to the target.

    The verdict of `solution` is `supported`.

    Args:
        base: the base policy.
        target: (k,) raw levels.
        limits: what counts as supportable.
        names: names of the values.

    Raises:
        InputError: if the limits are so tight that not even the base policy keeps them.
    """
    asked = check_target(target, base.k)
    furthest = furthest_on_segment(base, asked)
    share, solution = _along(base, asked, furthest, limits, names)
    if np.isnan(share):
        raise InputError(
            f"even the base policy is not supported ({solution.message}); loosen the limits"
        )
    return Moved(asked, solution.target, share, furthest, solution)


def supportable_share(base: Base, target: np.ndarray, limits: Limits = DEFAULT_LIMITS) -> float:
    """How far `interpolate` goes; NaN where not even the base policy keeps the limits."""
    asked = check_target(target, base.k)
    return _along(base, asked, furthest_on_segment(base, asked), limits, None)[0]


def edges(base: Base, target: np.ndarray, limits: Limits = DEFAULT_LIMITS) -> tuple[float, float]:
    """How far one can go from the base level towards a target and beyond it, as shares of the way.

    Args:
        base: the base policy.
        target: (k,) raw levels.
        limits: what counts as supportable.

    Returns:
        The largest supported share (NaN where not even the base policy is supported), and the
        largest feasible one, exact. Both are inf where the target asks for no rise.
    """
    asked = check_target(target, base.k)
    feasible = furthest_on_segment(base, asked)
    if np.isinf(feasible):
        return np.inf, np.inf

    def at(share: float) -> np.ndarray:
        return base.center + share * (asked - base.center)

    return _bisect(base, at, 0.0, feasible, limits, None)[0], feasible


def highest_levels(
    base: Base, target: np.ndarray, limits: Limits = DEFAULT_LIMITS
) -> tuple[np.ndarray, np.ndarray]:
    """How high each single value could go with the others held at their targets; raw units.

    Args:
        base: the base policy.
        target: (k,) raw levels.
        limits: what counts as supportable.

    Returns:
        The highest feasible level (k,), exact, and the highest supportable one (k,). Both are NaN
        where the others' targets alone are infeasible, and the second one also where those alone
        are not supported.
    """
    asked = check_target(target, base.k)
    feasible, supportable = np.full(base.k, np.nan), np.full(base.k, np.nan)
    for value in range(base.k):
        try:
            feasible[value] = furthest_of_value(base, asked, value)
        except InputError:  # the others conflict among themselves
            continue
        supportable[value] = highest_supportable(base, asked, value, float(feasible[value]), limits)
    return feasible, supportable


def highest_supportable(
    base: Base,
    asked: np.ndarray,
    value: int,
    furthest: float,
    limits: Limits = DEFAULT_LIMITS,
) -> float:
    """Highest supportable level of one value, the others held at their targets; raw units.

    Args:
        base: the base policy.
        asked: (k,) raw levels; that of `value` is not used.
        value: its index.
        furthest: a feasible level of it, beyond which nothing is looked for.
        limits: what counts as supportable.

    Returns:
        The level; NaN where the others' targets alone are not supported.
    """

    def at(level: float) -> np.ndarray:
        return np.where(np.arange(base.k) == value, level, asked)

    # This level of the value costs nothing.
    free = solve_on(base, at(lowest(base, value) * base.scale[value] + base.center[value]))
    return _bisect(base, at, float(free.realised[value]), furthest, limits, None)[0]


def _along(
    base: Base, asked: np.ndarray, furthest: float, limits: Limits, names: list[str] | None
) -> tuple[float, Solution]:
    """`_bisect` on the segment from the base level to `asked`, up to the feasible edge."""

    def at(share: float) -> np.ndarray:
        return base.center + share * (asked - base.center)

    return _bisect(base, at, 0.0, min(1.0, furthest), limits, names)


def _bisect(
    base: Base,
    at: Callable[[float], np.ndarray],
    low: float,
    high: float,
    limits: Limits,
    names: list[str] | None,
) -> tuple[float, Solution]:
    """Furthest place from low to high with a supported solution, and that solution.

    If that at `low` is not supported, the place is NaN.
    """

    def attempt(place: float, start: np.ndarray | None) -> Solution:
        return solve_on(base, at(place), names=names, limits=limits, start=start)

    solution = attempt(high, None)
    if solution.verdict == "supported":
        return high, solution
    best = attempt(low, None)
    if best.verdict != "supported":
        return np.nan, best
    for _ in range(STEPS):
        middle = (low + high) / 2
        solution = attempt(middle, best.lam)
        if solution.verdict == "supported":
            low, best = middle, solution
        else:
            high = middle
        if abs(high - low) <= 1e-9 * max(1.0, abs(low)):  # of a ceiling, `high` is the lower one
            break
    return low, best


@dataclass(frozen=True)
class Path:
    """A palette at growing shares of the way from the base levels to what it asks; raw units.

    Rows of infeasible points are NaN in all but `share`, `targets` and `verdicts`.

    Attributes:
        share: (m,) 0 is the base level, 1 the target.
        targets: (m, k) levels asked for.
        verdicts: `supported`, `unsupported` or `infeasible`, one per point.
        lam: (m, k).
        levels: (m, k) levels of p_lam.
        kl: (m,) nats.
        ess: (m,) effective sample size, as in `Solution`.
        max_weight: (m,) largest weight, as in `Solution`.
        supportable: largest share that is supported, looked for up to the path's end or 1; NaN
            where not even the base policy is.
        feasible: largest share that is feasible; inf where nothing binds.
    """

    share: np.ndarray
    targets: np.ndarray
    verdicts: list[str]
    lam: np.ndarray
    levels: np.ndarray
    kl: np.ndarray
    ess: np.ndarray
    max_weight: np.ndarray
    supportable: float
    feasible: float


def path(
    base: Base, target: np.ndarray, shares: np.ndarray, limits: Limits = DEFAULT_LIMITS
) -> Path:
    """Solve a palette at several shares of the way from the base levels to its target.

    Args:
        base: the base policy.
        target: (k,) raw levels.
        shares: (m,) increasing shares >= 0; above 1 goes beyond the target.
        limits: what the verdict `supported` requires.

    Raises:
        InputError: on shares that are negative, not finite or not increasing.
    """
    target = check_target(target, base.k)
    shares = np.asarray(shares, dtype=np.float64)
    if shares.ndim != 1 or not np.isfinite(shares).all() or (np.diff(shares, prepend=0) < 0).any():
        raise InputError(f"path: shares {shares}; expected increasing finite numbers >= 0")
    targets = base.center + shares[:, None] * (target - base.center)
    solutions: list[Solution] = []
    for point in targets:
        known = [one.lam for one in solutions if one.status == "solved"]
        start = known[-1] if known else None
        solutions.append(solve_on(base, point, limits=limits, start=start))
    length = max(1.0, float(shares.max(initial=0.0)))
    end = base.center + length * (target - base.center)
    return Path(
        share=shares,
        targets=targets,
        verdicts=[one.verdict for one in solutions],
        lam=np.array([one.lam for one in solutions]).reshape(-1, base.k),
        levels=np.array([one.realised for one in solutions]).reshape(-1, base.k),
        kl=np.array([one.kl for one in solutions]),
        ess=np.array([one.ess for one in solutions]),
        max_weight=np.array([one.max_weight for one in solutions]),
        supportable=supportable_share(base, end, limits) * length,
        feasible=furthest_on_segment(base, target),
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
        InputError: with fewer than 2 values, no palettes, a cap that is not positive, or a
            negative seed.
    """
    if base.k < 2 or count < 1 or not cap > 0 or seed < 0:
        raise InputError(
            f"random palettes: {base.k} values, count {count}, cap {cap}, seed {seed}; expected at "
            "least 2 values, 1 palette, a cap above 0 and a seed of at least 0"
        )
    highest = np.array([base.best(unit)[i] for i, unit in enumerate(np.eye(base.k))])
    share = np.random.default_rng(seed).random((count, base.k))
    batch = solve_many_on(base, base.raw(share * highest))
    kept = batch.feasible & (np.nan_to_num(batch.lam, nan=np.inf).sum(axis=1) <= cap)
    reference = dirichlet_lam(base.k, count, seed=seed, cap=cap)
    return RandomPalettes(
        batch=batch,
        kept=kept,
        success=float(kept.mean()),
        reference=reference,
        reference_levels=base.raw(base.tilts(reference * base.scale).levels),
        cap=cap,
    )
