"""The exact trade-off front between two or three values, and its hypervolume.

Among all policies with KL(p || p0) <= budget, the one with the largest nu . E r is p_lam with
lam = s nu, where s spends the budget (Lagrange's condition). Sweeping the direction nu >= 0 traces
the whole front; no random lam is needed.
"""

from dataclasses import dataclass

import numpy as np

from polyalign.errors import InputError
from polyalign.map.base import Base


@dataclass(frozen=True)
class Front:
    """Points of a front: lam (m, k) and levels (m, k) in raw units, kl (m,) in nats.

    `hypervolume` is the volume between the base level and the front's points, in products of the
    base's standard deviations of the chosen values.
    """

    lam: np.ndarray
    levels: np.ndarray
    kl: np.ndarray
    hypervolume: float


def front(base: Base, values: list[int], budget: float, *, points: int = 33) -> Front:
    """Front of the levels of two or three values among policies within a KL budget.

    Args:
        base: the base policy; the other values have no weight.
        values: indices of the values traded against each other.
        budget: nats (per prompt, in scope `prompt`).
        points: directions along each edge of the front.

    Raises:
        InputError: on another number of values, a budget that no policy on these samples can
            spend, or fewer than 2 points.
    """
    if len(set(values)) != len(values) or len(values) not in (2, 3) or points < 2:
        raise InputError(
            f"front: {len(values)} values, {points} points; expected 2 or 3 different values and "
            "at least 2 points"
        )
    if not 0 < budget < base.max_kl:
        raise InputError(
            f"front: a budget of {budget:g} nats; expected one between 0 and {base.max_kl:.3g}, "
            "the most that choosing among these samples can spend"
        )
    lams, levels, kls = [], [], []
    for direction in _directions(len(values), points):
        nu = np.zeros(base.k)
        nu[values] = direction
        lam, level, kl = _spend(base, nu, budget)
        lams.append(lam / base.scale)
        levels.append(base.raw(level))
        kls.append(kl)
    table = np.array(levels)
    volume = hypervolume(base.standardise(table)[:, values])
    return Front(np.array(lams), table, np.array(kls), volume)


def hypervolume(points: np.ndarray) -> float:
    """Volume of the union of the boxes between the origin and each point (m, 2 or 3).

    Points with a negative coordinate span no box. Swept along the last coordinate, as in Fonseca,
    Paquete and López-Ibáñez (CEC 2006).
    """
    points = points[(points > 0).all(axis=1)]
    if not len(points):
        return 0.0
    points = points[np.argsort(-points[:, -1], kind="stable")]
    if points.shape[1] == 1:
        return float(points.max())
    floors = np.append(points[1:, -1], 0.0)
    return sum(
        float(top - floor) * hypervolume(points[: i + 1, :-1])
        for i, (top, floor) in enumerate(zip(points[:, -1], floors, strict=True))
        if top > floor
    )


def _directions(count: int, points: int) -> np.ndarray:
    """Directions (m, count) >= 0 of length 1, evenly spread, the axes among them."""
    if count == 2:
        angle = np.linspace(0.0, np.pi / 2, points)
        # The cosine of pi/2 is not quite 0, and the axes need exact zeros.
        return np.round(np.stack([np.cos(angle), np.sin(angle)], axis=1), 15)
    steps = points - 1
    grid = [(i, j, steps - i - j) for i in range(points) for j in range(points - i)]
    directions = np.array(grid, dtype=np.float64)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _spend(base: Base, nu: np.ndarray, budget: float) -> tuple[np.ndarray, np.ndarray, float]:
    """lam = s nu with KL = budget, its level (standardised) and its KL.

    sqrt(2 KL) is nearly linear in s, so Newton's method on it, kept between the two nearest s seen
    so far, needs few steps: d KL / ds = s nu . H nu. If even the greedy policy along nu spends
    less, s stops where the KL no longer rises.
    """
    low, high, scale = 0.0, 2.0**20, 1.0
    for _ in range(200):
        log_z, level, hessian = base.moments(scale * nu)
        kl = max(0.0, scale * float(nu @ level) - log_z)
        if abs(kl - budget) <= 1e-12 * (1.0 + budget) or high - low <= 1e-12 * high:
            break
        low, high = (scale, high) if kl < budget else (low, scale)
        slope = scale * float(nu @ hessian @ nu)
        root = np.sqrt(2.0 * kl)
        newton = scale + (np.sqrt(2.0 * budget) - root) * root / slope if slope > 0 else np.inf
        # Outside the bracket, or on a slope so flat that the step says nothing: go on by doubling
        # while nothing bounds s from above, else halve the bracket.
        halfway = (low + high) / 2 if high < 2.0**20 else 2.0 * scale
        scale = newton if low < newton < min(high, 4.0 * scale) else min(halfway, high)
    return scale * nu, level, kl
