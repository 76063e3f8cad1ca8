"""Which levels any policy on the samples can reach: linear programmes with exact certificates.

The reachable levels are the convex hull of those of the deterministic policies (one candidate a
prompt; in scope `joint` one sample of the table). The programme over one simplex per prompt has as
many unknowns as there are samples, but only k rows that tie them together, so it is solved by
column generation (Dantzig and Wolfe, Operations Research 8, 1960): a small programme over the
policies met so far yields prices of the values, the prices yield the best policy for them in one
pass over the table, and when that policy is worth no more than the small programme's optimum, the
optimum is that of the whole programme. The two bounds are the certificate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyalign.errors import InputError
from polyalign.map.base import EDGE, Tilted, check_target

GAP = 1e-9
MAX_COLUMNS = 20_000


@dataclass(frozen=True)
class Feasibility:
    """Answer of the feasibility programme.

    Attributes:
        status: `feasible` or `infeasible`.
        slack: largest t with E r >= target + t sd for some policy, in standard deviations of the
            base (per value); negative where infeasible.
        conflict: names of the values whose prices are positive at the optimum: where infeasible,
            these cannot be reached together.
        prices: (k,) the prices, in standard deviations; they sum to 1.
        reached: (k,) levels of the policy that attains the slack, raw units.
        gap: distance between the programme's two bounds.
        scope: `prompt` or `joint`.
    """

    status: str
    slack: float
    conflict: list[str]
    prices: np.ndarray
    reached: np.ndarray
    gap: float
    scope: str


@dataclass(frozen=True)
class Furthest:
    """Largest theta with E r >= offset + theta * direction, with the policies that span it.

    `columns` (m, k) are levels of policies, `mix` (m,) the probabilities with which they are mixed,
    `prices` (k,) the dual variables, `gap` the distance between the two bounds.
    """

    theta: float
    prices: np.ndarray
    columns: np.ndarray
    mix: np.ndarray
    gap: float


def feasibility_on(base: Tilted, target: np.ndarray, names: Sequence[str]) -> Feasibility:
    """Can any policy on these samples reach the target, and with how much room?

    Args:
        base: the base policy.
        target: (k,) raw levels.
        names: names of the values.
    """
    goal = base.standardise(target)
    furthest = reach(base, goal, np.ones(base.k), np.zeros((1, base.k)))
    status = "feasible" if furthest.theta >= -EDGE else "infeasible"
    binding = furthest.prices > 1e-6 * furthest.prices.max()
    return Feasibility(
        status=status,
        slack=furthest.theta + 0.0,
        conflict=[name for name, tied in zip(names, binding, strict=True) if tied],
        prices=furthest.prices,
        reached=base.raw(furthest.mix @ furthest.columns),
        gap=furthest.gap,
        scope=base.scope,
    )


def furthest_on_segment(base: Tilted, target: np.ndarray) -> float:
    """Largest theta for which base + theta (target - base) is feasible; inf where nothing binds.

    Args:
        base: the base policy.
        target: (k,) raw levels.
    """
    direction = base.standardise(check_target(target, base.k))
    # A target that is the base mean has a direction of rounding, at which the programme has no end.
    if (direction <= EDGE).all():
        return np.inf
    return reach(base, np.zeros(base.k), direction, np.zeros((1, base.k))).theta


def furthest_of_value(base: Tilted, target: np.ndarray, value: int) -> float:
    """Highest level of one value, raw units, that is feasible with the others held at target.

    Args:
        base: the base policy.
        target: (k,) raw levels; that of `value` is not used.
        value: its index.

    Raises:
        InputError: if the others cannot be reached even without it.
    """
    goal = base.standardise(check_target(target, base.k))
    unit = np.eye(base.k)[value]
    offset = np.where(unit > 0, lowest(base, value), goal)
    columns = np.zeros((1, base.k))
    if base.k > 1:
        first = reach(base, offset, 1.0 - unit, columns)
        if first.theta < -EDGE:
            raise InputError(
                "the other values' targets are infeasible already "
                f"(slack {first.theta:.3g} standard deviations); lower them first"
            )
        # Held levels that are reachable only up to rounding must not empty the second programme.
        offset += min(0.0, first.theta - GAP)
        columns = first.columns
    theta = reach(base, np.where(unit > 0, 0.0, offset), unit, columns).theta
    return float(theta * base.scale[value] + base.center[value])


def lowest(base: Tilted, value: int) -> float:
    """A standardised level of a value that every policy reaches: a target that costs nothing."""
    return float(base.best(-np.eye(base.k)[value])[value]) - 1.0


def reach(
    base: Tilted,
    offset: np.ndarray,
    direction: np.ndarray,
    columns: np.ndarray,
    gap: float = GAP,
) -> Furthest:
    """Largest theta with E r >= offset + theta direction over all policies on the samples.

    Args:
        base: the base policy; all levels here are standardised.
        offset: (k,) levels at theta = 0.
        direction: (k,) with at least one positive entry.
        columns: (m, k) levels of known policies, some mixture of which is >= offset + theta
            direction for some theta.
        gap: distance between the two bounds, relative to 1 + |theta|, at which to stop.
    """
    best, ceiling = -np.inf, np.inf
    for _ in range(MAX_COLUMNS):
        theta, prices, mix = _master(columns, offset, direction)
        column = base.best(prices)
        # Any theta obeys prices . (offset + theta direction) <= max over policies of prices . r.
        ceiling = min(ceiling, float(prices @ (column - offset)))
        improved, best = theta > best, theta
        if ceiling - theta <= gap * (1.0 + abs(theta)):
            break
        if not improved and (columns == column).all(axis=1).any():
            break
        columns = np.vstack([columns, column])
    return Furthest(theta, prices, columns[: mix.size], mix, max(0.0, ceiling - theta))


def _master(
    columns: np.ndarray, offset: np.ndarray, direction: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The programme over mixtures of `columns`: theta, prices with prices.direction = 1, mix."""
    from scipy.optimize import linprog

    m, k = columns.shape
    cost = np.zeros(m + 1)
    cost[m] = -1.0
    result: Any = linprog(
        cost,
        A_ub=np.hstack([-columns.T, direction[:, None]]),
        b_ub=-offset,
        A_eq=np.append(np.ones(m), 0.0)[None, :],
        b_eq=[1.0],
        bounds=[(0, None)] * m + [(None, None)],
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if result.status != 0:
        raise ArithmeticError(f"linear programme with {k} values: {result.message}")
    prices = np.maximum(-result.ineqlin.marginals, 0.0)
    return float(result.x[m]), prices / float(prices @ direction), result.x[:m]
