"""Many palettes on one table at once: Newton's method of `polyalign.map.dual`, vectorised."""

from dataclasses import dataclass

import numpy as np

from polyalign.errors import InputError
from polyalign.map.base import Base, chunks, softmax_rows
from polyalign.map.dual import MAX_ITERATIONS, RELEASE, TOLERANCE, optimum_on, proved_infeasible


@dataclass(frozen=True)
class Batch:
    """Solutions of m palettes; rows of infeasible ones are NaN. Raw units.

    Attributes:
        targets: (m, k) asked levels.
        lam: (m, k) weights >= 0.
        realised: (m, k) levels of p_lam.
        feasible: (m,) whether the palette was solved; False is proved (by weak duality or by the
            linear programme).
        kl: (m,) nats.
        ess: (m,) effective sample size, as in `Solution`.
        max_weight: (m,) largest weight, as in `Solution`.
        kkt: (m,) residual of the optimality conditions.
        iterations: (m,) Newton steps.
        scope: `prompt` or `joint`.
    """

    targets: np.ndarray
    lam: np.ndarray
    realised: np.ndarray
    feasible: np.ndarray
    kl: np.ndarray
    ess: np.ndarray
    max_weight: np.ndarray
    kkt: np.ndarray
    iterations: np.ndarray
    scope: str


@dataclass
class _State:
    """Iterates of m palettes: lam, dual value, gradient (m, k), Hessian (m, k, k), residual."""

    lam: np.ndarray
    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    kkt: np.ndarray

    def take(self, rows: np.ndarray) -> "_State":
        return _State(*(field[rows] for field in vars(self).values()))

    def put(self, rows: np.ndarray, other: "_State") -> None:
        for mine, new in zip(vars(self).values(), vars(other).values(), strict=True):
            mine[rows] = new


def solve_many_on(base: Base, targets: np.ndarray) -> Batch:
    """Solve m palettes on one table.

    Args:
        base: the base policy.
        targets: (m, k) levels asked for, raw units.

    Raises:
        InputError: if the targets have another shape, or a number is not finite.
    """
    targets = np.asarray(targets, dtype=np.float64)
    if targets.ndim != 2 or targets.shape[1] != base.k or not np.isfinite(targets).all():
        raise InputError(f"targets: shape {targets.shape}; expected (palettes, {base.k}), finite")
    goals = base.standardise(targets)
    newton = _newton if base.scope == "joint" else _one_by_one
    state, status, iterations = newton(base, goals)
    feasible = status == "solved"
    for row in np.flatnonzero(status == "stalled"):
        # At the very edge of what is feasible the dual has no maximum to find: ask the programme.
        from polyalign.map.feasibility import feasibility_on

        names = [str(i) for i in range(base.k)]
        feasible[row] = feasibility_on(base, targets[row], names).status == "feasible"
    lam = np.where(feasible[:, None], state.lam, np.nan)
    ess, max_weight = np.full((2, len(goals)), np.nan)
    tilts = base.tilts(state.lam[feasible])
    ess[feasible], max_weight[feasible] = tilts.ess, tilts.max_weight
    level = goals - state.gradient
    slack = np.einsum("mk,mk->m", state.lam, state.gradient)
    return Batch(
        targets=targets,
        lam=lam / base.scale,
        realised=np.where(feasible[:, None], base.raw(level), np.nan),
        feasible=feasible,
        kl=np.where(feasible, np.maximum(state.value - slack, 0.0), np.nan),
        ess=ess,
        max_weight=max_weight,
        kkt=np.where(feasible, state.kkt, np.nan),
        iterations=iterations,
        scope=base.scope,
    )


def _one_by_one(base: Base, goals: np.ndarray) -> tuple[_State, np.ndarray, np.ndarray]:
    optima = [optimum_on(base, goal) for goal in goals]
    state = _State(
        lam=np.array([o.lam for o in optima]),
        value=np.array([o.value for o in optima]),
        gradient=np.array([o.gradient for o in optima]),
        hessian=np.array([o.hessian for o in optima]),
        kkt=np.array([o.kkt for o in optima]),
    )
    return state, np.array([o.status for o in optima]), np.array([o.iterations for o in optima])


def _newton(base: Base, goals: np.ndarray) -> tuple[_State, np.ndarray, np.ndarray]:
    m = len(goals)
    table = _Table(base)
    state = table.evaluate(np.zeros_like(goals), goals)
    status = np.full(m, "stalled", dtype="U9")
    iterations, damping = np.zeros(m, dtype=int), np.zeros(m)
    open_ = np.ones(m, dtype=bool)
    for _ in range(MAX_ITERATIONS):
        solved = open_ & (state.kkt <= TOLERANCE)
        unbounded = open_ & ~solved & proved_infeasible(state.value, state.lam, base.max_kl)
        status[solved], status[unbounded] = "solved", "unbounded"
        open_ &= ~(solved | unbounded) & (damping <= 1e12)
        rows = np.flatnonzero(open_)
        if not rows.size:
            break
        iterations[rows] += 1
        old = state.take(rows)
        new = table.evaluate(_steps(old, damping[rows]), goals[rows])
        rise = np.einsum("mk,mk->m", old.gradient, new.lam - old.lam)
        size = np.einsum("mk,mk->m", old.lam, np.abs(goals[rows]))
        noise = 4e-15 * (1 + np.abs(old.value) + size)
        good = (rise > 0) & (new.value >= old.value + 1e-4 * rise - noise)
        good &= (new.kkt < old.kkt) | (new.value > old.value)
        state.put(rows[good], new.take(good))
        calmer = np.where(damping[rows] > 1e-3, damping[rows] / 10, 0.0)
        damping[rows] = np.where(good, calmer, np.maximum(10 * damping[rows], 1e-2))
    return state, status, iterations


class _Table:
    """One distribution's rewards and their products, so that moments are matrix products."""

    def __init__(self, base: Base) -> None:
        self.z = base.blocks[0].z[:, :, 0]
        self.log_p0 = base.blocks[0].log_p0[:, 0]
        self.pairs = np.triu_indices(base.k)
        self.products = self.z[self.pairs[0]] * self.z[self.pairs[1]]

    def evaluate(self, lam: np.ndarray, goals: np.ndarray) -> _State:
        m, k = lam.shape
        log_z, level, second = np.empty(m), np.empty((m, k)), np.empty((m, k, k))
        for rows in chunks(m, self.z.shape[1]):
            log_z[rows], p = softmax_rows(lam[rows] @ self.z + self.log_p0)
            level[rows] = p @ self.z.T
            product = p @ self.products.T
            second[rows, self.pairs[0], self.pairs[1]] = product
            second[rows, self.pairs[1], self.pairs[0]] = product
        gradient = goals - level
        return _State(
            lam=lam,
            value=np.einsum("mk,mk->m", lam, goals) - log_z,
            gradient=gradient,
            hessian=second - level[:, :, None] * level[:, None, :],
            kkt=np.maximum(gradient, np.abs(lam * gradient)).max(axis=1).clip(min=0.0),
        )


def _steps(state: _State, damping: np.ndarray) -> np.ndarray:
    """Damped Newton steps of all palettes on their free values, kept at or above zero.

    A value at zero that the others' step leaves short of its target joins at the next one.
    """
    k = state.lam.shape[1]
    free = (state.lam > 0) | (state.gradient > RELEASE)
    step = np.zeros_like(state.lam)
    trace = np.einsum("mkk->mk", state.hessian)
    for _ in range(k + 1):
        size = (trace * free).sum(axis=1) / np.maximum(free.sum(axis=1), 1)
        ridge = (1e-13 + damping) * size + 1e-300
        system = state.hessian * (free[:, :, None] & free[:, None, :])
        system += np.where(free, ridge[:, None], 1.0)[:, :, None] * np.eye(k)
        moved = np.where(free, 0.0, step)
        pull = np.einsum("mij,mj->mi", state.hessian, moved)
        right = np.where(free, state.gradient - pull, moved)
        step = np.linalg.solve(system, right[:, :, None])[:, :, 0]
        blocked = free & (state.lam + step <= 0)
        if not blocked.any():
            break
        step[blocked] = -state.lam[blocked]
        free &= ~blocked
    longest = np.abs(step).max(axis=1)
    reach = 5.0 + 2.0 * state.lam.max(axis=1)
    step *= np.minimum(1.0, reach / np.maximum(longest, 1e-300))[:, None]
    return np.where(step == -state.lam, 0.0, np.maximum(state.lam + step, 0.0))
