"""The dual of MAP: the weights lam >= 0 that realise a palette, with a certificate.

For the target c, the policy nearest to p0 in KL among those with E r >= c is
p_lam(y|x) = p0(y|x) exp(lam . r(x, y)) / Z_x(lam), where lam >= 0 maximises the concave dual
g(lam) = lam . c - mean_x log mean_j exp(lam . r_xj) (scope `prompt`), or the same with one
normaliser for the whole table (scope `joint`, MAP, arXiv 2410.19198). It is solved by Newton steps
with the exact Hessian on the values that are not at zero (Bertsekas, SIAM J. Control Optim. 20,
1982, "Projected Newton methods"), damped until the dual rises enough.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from polyalign.map.base import EDGE, Base, Tilted, check_names, check_target

TOLERANCE = 1e-9
MAX_ITERATIONS = 200
# Below this gradient (in standard deviations) a value at zero stays there: it is rounding.
RELEASE = 1e-12
# Rounding of the dual in double and in single precision, relative to its terms.
ROUNDING, ROUGH_ROUNDING = 4e-15, 2e-6
# Sum of standardised lam beyond which a KL in double precision would be rounding.
FAR = 1e8
# A first solution in single precision: residual, and the most steps it may take. One Newton step
# from there leaves about the square of the residual, or the rounding of single precision.
ROUGH_TOLERANCE, ROUGH_ITERATIONS = 1e-3, 15
MIN_ESS = {"joint": 100.0, "prompt": 2.0}
MAX_WEIGHT = {"joint": 0.1, "prompt": 0.75}
MAX_KL_SHARE = 0.9

Moments = Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Limits:
    """What a feasible palette must keep to count as supported.

    Attributes:
        min_ess: least effective sample size (scope `prompt`: mean per prompt); None: 100 in scope
            `joint`, 2 in scope `prompt`.
        max_weight: largest weight (scope `prompt`: mean over prompts of each one's largest); None:
            0.1 in scope `joint`, 0.75 in scope `prompt`.
        max_kl_share: in scope `prompt`, largest share of the KL that selection among the candidates
            can spend.
        max_norm: largest sum of |lam|, in 1 / the rewards' units; None: any.
    """

    min_ess: float | None = None
    max_weight: float | None = None
    max_kl_share: float = MAX_KL_SHARE
    max_norm: float | None = None


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Solution:
    """A palette's lam with its certificate. Arrays are (k,), in the order of `values`, raw units.

    Attributes:
        status: `solved`, `infeasible`, or `stalled` (the certificate missed the tolerance).
        message: the facts behind the verdict, as a sentence.
        values: names of the values.
        target: asked levels.
        base: levels of the base policy, in this scope.
        lam: weights >= 0, those of ceilings <= 0; NaN where infeasible.
        realised: levels of p_lam on the samples it was fitted on; NaN where infeasible.
        verdict: `supported`, `unsupported` (feasible, but few samples carry the weight) or
            `infeasible`.
        scope: `prompt` or `joint`.
        kl: KL(p_lam || p0) in nats (the mean per prompt); NaN where infeasible.
        ess: effective sample size 1 / sum p^2; in scope `prompt` its sum over the prompts.
        mean_ess: in scope `prompt` its mean over the prompts, on which the verdict depends.
        max_weight: largest weight; in scope `prompt` the mean over prompts of the largest.
        dual: value of the dual at lam (a lower bound of the KL of any policy that reaches target).
        gap: kl - dual: no policy that reaches the target is nearer to the base by more than this.
        kkt: largest violation of the optimality conditions: shortfall of a level in standard
            deviations of the base, or |lam_i (E r_i - c_i)| in nats.
        iterations: Newton steps.
        n_samples: samples with positive weight.
        n_prompts: prompts with positive weight.
        slack: largest t for which E r >= c + t sd is possible; None if it was not asked for.
        conflict: the values in conflict, where infeasible.
    """

    status: str
    message: str
    values: list[str]
    target: np.ndarray
    base: np.ndarray
    lam: np.ndarray
    realised: np.ndarray
    verdict: str
    scope: str
    kl: float
    ess: float
    mean_ess: float
    max_weight: float
    dual: float
    gap: float
    kkt: float
    iterations: int
    n_samples: int
    n_prompts: int
    slack: float | None
    conflict: list[str]

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON-ready types; what is not defined (NaN) is None."""
        return {name: plain(value) for name, value in vars(self).items()}


class Optimum(NamedTuple):
    """Where Newton's method ended, in standardised units.

    `status` is `solved`, `unbounded` (the dual exceeds the largest KL that any policy on these
    samples can have by so much that the target is proved to be infeasible by more than `EDGE`) or
    `stalled`.
    """

    lam: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    kkt: float
    iterations: int
    status: str


def solve(
    rewards: np.ndarray,
    target: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    scope: str = "auto",
    names: Sequence[str] | None = None,
    tolerance: float = TOLERANCE,
    limits: Limits = DEFAULT_LIMITS,
    slack: bool = False,
) -> Solution:
    """Solve one palette.

    Args:
        rewards: (n, k) rewards of the base policy's samples.
        target: (k,) levels asked for, in the rewards' units.
        groups: (n,) prompt index of each sample; None makes each sample its own prompt.
        scope: `prompt`, `joint`, or `auto` (prompt from 8 candidates per prompt upwards).
        names: names of the values, for messages.
        tolerance: KKT residual to reach.
        limits: what the verdict `supported` requires.
        slack: also solve the linear programme for the slack of a feasible palette. For an
            infeasible one it is always solved, since it names the conflict.

    Raises:
        InputError: on arrays whose shapes or numbers are wrong. An infeasible palette is an answer,
            not an error.
    """
    base = Base(rewards, groups, scope)
    return solve_on(base, target, names=names, tolerance=tolerance, limits=limits, slack=slack)


def solve_on(
    base: Tilted,
    target: np.ndarray,
    *,
    names: Sequence[str] | None = None,
    tolerance: float = TOLERANCE,
    limits: Limits = DEFAULT_LIMITS,
    slack: bool = False,
    start: np.ndarray | None = None,
    optimum: Optimum | None = None,
) -> Solution:
    """`solve` on a base policy that is already prepared.

    `start` (k,) is a guess of lam. `optimum` is what `optimum_on` found for this target and
    tolerance, where the caller has asked it already.
    """
    target = check_target(target, base.k)
    values = check_names(names, base.k)
    if optimum is None:
        guess = None if start is None else np.asarray(start) * base.scale
        optimum = optimum_on(base, base.standardise(target), tolerance=tolerance, start=guess)
    room = None
    if slack or optimum.status != "solved":
        from polyalign.map.feasibility import feasibility_on

        programme = feasibility_on(base, target, values)
        if programme.status == "infeasible" and optimum.status != "solved":
            return _infeasible(base, target, values, optimum, programme.slack, programme.conflict)
        room = programme.slack
    return _feasible(base, target, values, optimum, room, limits)


def policy_weights(
    rewards: np.ndarray,
    lam: np.ndarray,
    groups: np.ndarray | None = None,
    scope: str = "auto",
) -> np.ndarray:
    """Probabilities (n,) of the samples under p_lam.

    Args:
        rewards: (n, k) rewards.
        lam: (k,) weights of the values, in 1 / the rewards' units.
        groups: (n,) prompt index; None makes each sample its own prompt.
        scope: `prompt` (they sum to 1 within each prompt), `joint` (they sum to 1) or `auto`.

    Raises:
        InputError: on arrays whose shapes or numbers are wrong.
    """
    base = Base(rewards, groups, scope)
    return base.weights(check_target(lam, base.k, "lam") * base.scale)


def optimum_on(
    base: Tilted,
    goal: np.ndarray,
    *,
    tolerance: float = TOLERANCE,
    start: np.ndarray | None = None,
) -> Optimum:
    """`maximise` on a base policy, by way of a solution in single precision where that is cheaper.

    Args:
        base: the base policy.
        goal: (k,) standardised target.
        tolerance: KKT residual at which to stop; it is computed in double precision.
        start: (k,) first lam, standardised; default zero.
    """
    iterations, rough = 0, base.rough()
    if rough is not None:
        first = maximise(
            rough.moments,
            goal,
            base.max_kl,
            tolerance=ROUGH_TOLERANCE,
            start=start,
            rounding=ROUGH_ROUNDING,
            most=ROUGH_ITERATIONS,
        )
        iterations = first.iterations
        if first.status == "solved":
            found = _corrected(rough.slopes, goal, first, tolerance)
            if found.status == "solved":
                return found
            start, iterations = found.lam, found.iterations
    found = maximise(base.moments, goal, base.max_kl, tolerance=tolerance, start=start)
    return found._replace(iterations=iterations + found.iterations)


def _corrected(
    slopes: Callable[[np.ndarray], tuple[float, np.ndarray]],
    goal: np.ndarray,
    point: Optimum,
    tolerance: float,
) -> Optimum:
    """Newton steps with exact gradients and the Hessian of `point`, while they converge fast."""
    point = point._replace(status="stalled")
    while True:
        lam = _step(point, 0.0, [])
        log_z, level = slopes(lam)
        found = _optimum(goal, lam, log_z, level, point.hessian, [])
        found = found._replace(iterations=point.iterations + 1)
        if found.kkt <= tolerance:
            return found._replace(status="solved")
        if not found.kkt < 0.1 * point.kkt:
            return point
        point = found._replace(status="stalled")


def maximise(
    moments: Moments,
    goal: np.ndarray,
    max_kl: float,
    *,
    tolerance: float = TOLERANCE,
    start: np.ndarray | None = None,
    fixed: np.ndarray | None = None,
    rounding: float = ROUNDING,
    most: int = MAX_ITERATIONS,
) -> Optimum:
    """Maximise g(lam) = lam . goal - (mean log Z)(lam) over lam >= 0, in standardised units.

    Args:
        moments: value, gradient and Hessian of mean log Z at lam.
        goal: (k,) standardised target.
        max_kl: largest KL that any policy on these samples can have, in nats.
        tolerance: KKT residual at which to stop.
        start: (k,) first lam; default zero.
        fixed: (k,) mask of the values whose lam stays as in `start` (coordinate ascent).
        rounding: error of the dual value, relative to its terms.
        most: Newton steps after which to give up.
    """
    lam = np.zeros(goal.size) if start is None else np.maximum(start, 0.0)
    held = np.flatnonzero(fixed).tolist() if fixed is not None else []
    asked = np.abs(goal)
    point = _evaluate(moments, goal, lam, held)
    damping, iterations, status = 0.0, 0, "stalled"
    for _ in range(most):
        if point.kkt <= tolerance:
            status = "solved"
            break
        beyond = point.value > max_kl and proved_infeasible(point.value, point.lam, max_kl)
        if beyond and not held:
            status = "unbounded"
            break
        iterations += 1
        trial = _evaluate(moments, goal, _step(point, damping, held), held)
        rise = float(point.gradient.dot(trial.lam - point.lam))
        noise = rounding * (1.0 + abs(point.value) + float(point.lam.dot(asked)))
        gained = trial.value >= point.value + 1e-4 * rise - noise
        if rise > 0 and gained and (trial.kkt < point.kkt or trial.value > point.value):
            point, damping = trial, (damping / 10 if damping > 1e-3 else 0.0)
        else:
            damping = max(10 * damping, 1e-2)
            if damping > 1e12:
                break
    return point._replace(iterations=iterations, status=status)


def proved_infeasible(value: Any, lam: np.ndarray, max_kl: float) -> Any:
    """Whether dual values at standardised lam (..., k) prove a slack below -`EDGE`.

    Weak duality: the dual of a target that some policy reaches is at most that policy's KL, hence
    at most max_kl; lowering a target by t in all values lowers its dual by t times the sum of lam.
    """
    return value - EDGE * lam.sum(axis=-1) > max_kl + 1e-9 * (1.0 + max_kl)


def _evaluate(moments: Moments, goal: np.ndarray, lam: np.ndarray, held: list[int]) -> Optimum:
    return _optimum(goal, lam, *moments(lam), held)


def _optimum(
    goal: np.ndarray,
    lam: np.ndarray,
    log_z: float,
    level: np.ndarray,
    hessian: np.ndarray,
    held: list[int],
) -> Optimum:
    gradient = goal - level
    # At zero only a shortfall counts; elsewhere the level must be met and not be exceeded.
    residual = np.maximum(gradient, np.abs(lam * gradient))
    if held:
        residual[held] = 0.0
    # In this order a residual that is not a number stays one, and is not taken for solved.
    kkt = max(float(residual.max()), 0.0)
    return Optimum(lam, float(lam.dot(goal)) - log_z, gradient, hessian, kkt, 0, "")


def _step(point: Optimum, damping: float, held: list[int]) -> np.ndarray:
    """Next lam: the damped Newton step on the free values, kept at or above zero.

    The step maximises the quadratic model of the dual over lam >= 0 by an active-set method: a
    value that would fall below zero is sent to zero and stays there, and one at zero that the
    others' step would leave short of its target joins them. Each value does either at most once,
    so the loop ends.
    """
    lam, hessian = point.lam, point.hessian
    # The values are few: Python's own numbers cost less than NumPy's bookkeeping for each array.
    start, gradient = lam.tolist(), point.gradient.tolist()
    curvature = hessian.diagonal().tolist()
    closed = [i for i in range(lam.size) if i not in held]
    free = [i for i in closed if start[i] > 0 or gradient[i] > RELEASE]
    gone: list[int] = []
    step = np.zeros_like(lam)
    while free:
        system = hessian.take(free, 0).take(free, 1)
        size = sum(curvature[i] for i in free) / len(free)
        system.ravel()[:: len(free) + 1] += (1e-13 + damping) * size + 1e-300
        right = point.gradient
        step[:] = 0.0
        if gone:
            # Values sent to zero move by -lam; the others take that into account.
            step[gone] = -lam[gone]
            right = right - hessian.dot(step)
        step[free] = np.linalg.solve(system, right.take(free))
        moved = (lam + step).tolist()
        blocked = [i for i in free if moved[i] <= 0]
        if blocked:
            gone += blocked
            free = [i for i in free if i not in blocked]
            continue
        short = (point.gradient - hessian.dot(step)).tolist()
        joining = [i for i in closed if short[i] > RELEASE and i not in free and i not in gone]
        if not joining:
            break
        free += joining
    longest = max((abs(moved[i] - start[i]) for i in free), default=0.0)
    reach = 5.0 + 2.0 * max(start)
    if longest > reach:
        step *= reach / longest
    step += lam
    step[gone] = 0.0
    return step


def _verdict(
    base: Tilted,
    optimum: Optimum,
    limits: Limits,
    *,
    kl: float,
    carried: float,
    largest: float,
    norm: float,
) -> tuple[str, str]:
    """Verdict and message of a feasible palette: do enough samples carry the weight?"""
    scope = base.scope
    floor = MIN_ESS[scope] if limits.min_ess is None else limits.min_ess
    cap = MAX_WEIGHT[scope] if limits.max_weight is None else limits.max_weight
    unit = "of a prompt's candidates" if scope == "prompt" else "samples"
    facts = (
        f"effective sample size {carried:.3g} {unit}, largest weight {largest:.2g}, "
        f"KL {kl:.3g} nats"
    )
    if scope == "prompt":
        facts += f" of at most {base.max_kl:.3g}"
    reasons = []
    if optimum.status != "solved":
        reasons.append(f"the KKT residual stayed at {optimum.kkt:.1e}: the target is at the edge")
    if carried < floor:
        reasons.append(f"fewer than {floor:g} effective {unit}")
    if largest > cap:
        reasons.append(f"a largest weight above {cap:g}")
    share = limits.max_kl_share
    if scope == "prompt" and base.max_kl > 0 and kl > share * base.max_kl:
        reasons.append(f"more than {share:.0%} of the KL that this selection can spend")
    if limits.max_norm is not None and norm > limits.max_norm:
        reasons.append(f"a sum of lam of {norm:.3g}, above {limits.max_norm:g}")
    if reasons:
        return "unsupported", f"unsupported ({'; '.join(reasons)}): {facts}"
    return "supported", f"supported: {facts}"


def infeasible_message(scope: str, slack: float, conflict: Sequence[str]) -> str:
    """Why no policy on the samples reaches the target."""
    whom = ", ".join(conflict)
    what = f"{whom} cannot be reached together" if len(conflict) > 1 else f"{whom} is out of reach"
    where = (
        "by choosing among the candidates of each prompt" if scope == "prompt" else "by any tilt"
    )
    return (
        f"infeasible: {what} {where}; the best policy misses the target by {-slack:.3g} standard "
        "deviations: lower a level, or draw more candidates per prompt"
    )


def _feasible(
    base: Tilted,
    target: np.ndarray,
    values: list[str],
    optimum: Optimum,
    slack: float | None,
    limits: Limits,
) -> Solution:
    goal = base.standardise(target)
    ess, mean_ess, largest = base.support(optimum.lam)
    # A ceiling's zero must not be -0.
    lam, level = optimum.lam / base.scale + 0.0, goal - optimum.gradient
    kl = _kl(base, optimum)
    verdict, message = _verdict(
        base,
        optimum,
        limits,
        kl=kl,
        carried=mean_ess,
        largest=largest,
        norm=float(np.abs(lam).sum()),
    )
    return Solution(
        status="solved" if optimum.status == "solved" else "stalled",
        message=message,
        values=values,
        target=target,
        base=base.center,
        lam=lam,
        realised=base.raw(level),
        verdict=verdict,
        scope=base.scope,
        kl=kl,
        ess=ess,
        mean_ess=mean_ess,
        max_weight=largest,
        dual=optimum.value,
        gap=kl - optimum.value,
        kkt=optimum.kkt,
        iterations=optimum.iterations,
        n_samples=base.n_samples,
        n_prompts=base.n_prompts,
        slack=slack,
        conflict=[],
    )


def _kl(base: Tilted, optimum: Optimum) -> float:
    """KL of the tilt at an optimum (nats): lam . level - log Z, which lies in [0, max_kl].

    Just beyond the edge lam grows without end, and the difference of its two large terms is only
    rounding. The same direction at a sum of `FAR` tilts alike: all that it leaves out are rewards
    within 1e-6 standard deviations of the best.
    """
    kl = optimum.value - float(optimum.lam.dot(optimum.gradient))
    norm = float(optimum.lam.sum())
    if norm > FAR:
        lam = optimum.lam * (FAR / norm)
        log_z, level, _ = base.moments(lam)
        kl = float(lam.dot(level)) - log_z
    return min(max(0.0, kl), base.max_kl)


def _infeasible(
    base: Tilted,
    target: np.ndarray,
    values: list[str],
    optimum: Optimum,
    slack: float,
    conflict: list[str],
) -> Solution:
    nothing = np.full(len(values), np.nan)
    return Solution(
        status="infeasible",
        message=infeasible_message(base.scope, slack, conflict),
        values=values,
        target=target,
        base=base.center,
        lam=nothing,
        realised=nothing,
        verdict="infeasible",
        scope=base.scope,
        kl=np.nan,
        ess=np.nan,
        mean_ess=np.nan,
        max_weight=np.nan,
        dual=optimum.value,
        gap=np.nan,
        kkt=np.nan,
        iterations=optimum.iterations,
        n_samples=base.n_samples,
        n_prompts=base.n_prompts,
        slack=slack,
        conflict=conflict,
    )


def plain(value: Any) -> Any:
    """Arrays as lists, and numbers that are not finite as None: what JSON can hold."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
