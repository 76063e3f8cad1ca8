"""Diagnostics of a palette's lam: sensitivity, uncertainty, support, and levels elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from polyalign.errors import InputError
from polyalign.map.base import (
    Base,
    check_groups,
    check_rewards,
    check_target,
    tilt,
)
from polyalign.map.budget import normal_quantile
from polyalign.map.dual import maximise, solve_on
from polyalign.map.limit import Limit
from polyalign.map.palette import parse_target

PARETO_SAMPLES = 25
CONFIDENCE = 0.95  # of every interval


@dataclass(frozen=True)
class Sensitivity:
    """Derivatives at a solution, in raw units.

    Attributes:
        lam_by_target: (k, k) d lam_i / d c_j; zero for values whose lam is zero.
        level_by_lam: (k, k) d E r_i / d lam_j: the (mean within-prompt) covariance under p_lam.
        nats: (k,) d KL / d c_i = lam_i: nats per unit of value i.
        level_by_target: (k, k) d E r_i / d c_j, also of the values whose lam is zero.
        exchange: (k, k) units of value j that one more unit of value i costs at the same KL,
            lam_i / lam_j; NaN where lam_j is zero.
    """

    lam_by_target: np.ndarray
    level_by_lam: np.ndarray
    nats: np.ndarray
    level_by_target: np.ndarray
    exchange: np.ndarray


@dataclass(frozen=True)
class Interval:
    """lam and levels with intervals; arrays (k,), raw units; NaN where nothing could be solved.

    Attributes:
        method: `bootstrap` or `delta`.
        lam_se: standard errors of lam.
        lam_low: lower ends of the lam intervals (never below 0; of a ceiling never above).
        lam_high: upper ends.
        level_se: standard errors of the levels that this lam gives on fresh prompts.
        level_low: lower ends of the level intervals.
        level_high: upper ends.
        solved: share of the resamples in which the palette was feasible (1 for delta).
        train_se: standard errors of the lam for infinitely many candidates; NaN where it was not
            given.
        train_low: lower ends of its intervals.
        train_high: upper ends.
    """

    method: str
    lam_se: np.ndarray
    lam_low: np.ndarray
    lam_high: np.ndarray
    level_se: np.ndarray
    level_low: np.ndarray
    level_high: np.ndarray
    solved: float
    train_se: np.ndarray
    train_low: np.ndarray
    train_high: np.ndarray


def sensitivity(base: Base, lam: np.ndarray) -> Sensitivity:
    """Derivatives of lam, levels and KL at a solution lam (k,), raw units."""
    lam = check_target(lam, base.k, "lam")
    covariance = base.moments(lam * base.scale)[2] * np.outer(base.scale, base.scale)
    free = np.flatnonzero(lam)
    by_target = np.zeros((base.k, base.k))
    by_target[np.ix_(free, free)] = np.linalg.pinv(covariance[np.ix_(free, free)], hermitian=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        exchange = np.where(lam != 0, lam[:, None] / lam, np.nan)
    return Sensitivity(by_target, covariance, lam.copy(), covariance @ by_target, exchange)


def delta_interval(
    base: Base, lam: np.ndarray, target: np.ndarray, limit: Limit | None = None
) -> Interval:
    """95 % intervals of lam and levels by the delta method; the target is taken as given.

    lam is an M-estimator: its error is H^-1 times the mean over prompts of psi_x = c - E_x r (scope
    `prompt`) or psi_x = N sum_j p_lam (c - r) (joint), so its covariance is
    H^-1 cov(psi) H^-1 / N (Huber's sandwich). Values at zero stay there.

    Args:
        base: the base policy on which lam was fitted.
        lam: (k,) the solution, raw units.
        target: (k,) raw levels.
        limit: the solution for infinitely many candidates, which then has an interval, too.
    """
    scaled = check_target(lam, base.k, "lam") * base.scale
    goal = base.standardise(check_target(target, base.k))
    _, level, hessian = base.moments(scaled)
    if base.scope == "prompt":
        levels, share = base.prompt_levels(scaled)
        score, spread = (goal - levels) * share[:, None], (levels - level) * share[:, None]
    else:
        block = base.blocks[0]
        p = base.weights(scaled)[block.rows[:, 0]][:, None]
        table = block.z[:, :, 0].T
        cluster = base.prompt[block.rows[:, 0]]
        score, spread = _sums(p * (goal - table), cluster), _sums(p * (table - level), cluster)
    free = np.flatnonzero(scaled > 0)
    inverse = np.linalg.pinv(hessian[np.ix_(free, free)], hermitian=True)
    lam_se = np.zeros(base.k)
    errors = score[:, free] @ inverse
    unit = np.abs(base.scale)
    lam_se[free] = np.sqrt((errors**2).sum(axis=0)) / unit[free]
    level_se = np.sqrt((spread**2).sum(axis=0)) * unit
    raw, lam = base.raw(level), scaled / base.scale + 0.0
    z = normal_quantile(0.5 + CONFIDENCE / 2)
    nothing = np.full(base.k, np.nan)
    train, train_se = (nothing, nothing) if limit is None else (limit.raw, limit.se())
    return Interval(
        method="delta",
        lam_se=lam_se,
        lam_low=_on_its_side(base, lam - z * lam_se),
        lam_high=_on_its_side(base, lam + z * lam_se),
        level_se=level_se,
        level_low=raw - z * level_se,
        level_high=raw + z * level_se,
        solved=1.0,
        train_se=train_se,
        train_low=_on_its_side(base, train - z * train_se),
        train_high=_on_its_side(base, train + z * train_se),
    )


def _on_its_side(base: Base, lam: np.ndarray) -> np.ndarray:
    """lam (k,) kept at or above 0, that of a ceiling at or below."""
    return np.where(base.signs > 0, np.maximum(lam, 0.0), np.minimum(lam, 0.0))


def bootstrap_interval(
    rewards: np.ndarray,
    levels: Mapping[str, str | float],
    *,
    names: Sequence[str],
    groups: np.ndarray | None,
    scope: str,
    resamples: int,
    seed: int,
    limit: Limit | None = None,
    signs: np.ndarray | None = None,
) -> Interval:
    """95 % percentile intervals from resampled prompts; each resample has its own base levels.

    A level such as `q80` is itself an estimate, so it moves with the resample. The intervals of lam
    are those of the lam fitted on each resample; the intervals of the levels are those that the
    original table's lam gives on each resample.

    Args:
        rewards: (n, k) rewards of the values in `names`.
        levels: value → level, in the palette grammar.
        names: the values of the columns.
        groups: (n,) prompt index; None makes each row its own prompt.
        scope: `prompt`, `joint` or `auto`.
        resamples: number of resamples of the prompts, at least 2.
        seed: of the resamples.
        limit: the solution for infinitely many candidates, which then has an interval, too: it
            moves to first order, so that all resamples count.
        signs: (k,) as in `Base`.

    Raises:
        InputError: on bad arrays or levels, fewer than 2 resamples, or if the palette is infeasible
            on the table itself.
    """
    if resamples < 2:
        raise InputError(f"bootstrap: {resamples} resamples; expected at least 2 to see a spread")
    rewards = check_rewards(rewards)
    group = check_groups(groups, len(rewards))
    base = Base(rewards, group, scope, signs=signs)
    target = parse_target(levels, rewards, names, group, scope=base.scope)
    solution = solve_on(base, target, names=names)
    if solution.status != "solved":
        raise InputError(f"no interval: {solution.message}")
    draws = np.random.default_rng(seed)
    prompts = np.unique(group)
    lams, realised, trained = [], [], []
    for _ in range(resamples):
        times = np.zeros(int(group.max()) + 1)
        np.add.at(times, draws.choice(prompts, prompts.size), 1.0)
        again = Base(rewards, group, base.scope, prompt_weights=times, signs=signs)
        moved = _resampled_target(levels, rewards, names, group, times, base.scope)
        optimum = maximise(
            again.moments,
            again.standardise(moved),
            again.max_kl,
            tolerance=1e-7,
            start=solution.lam * again.scale,
        )
        realised.append(again.raw(again.moments(solution.lam * again.scale)[1]))
        if optimum.status == "solved":
            lams.append(optimum.lam / again.scale + 0.0)
        if limit is not None:
            trained.append(limit.resampled(times, moved))
    return _percentiles(np.array(lams), np.array(realised), np.array(trained), base.k)


def pareto_k(weights: np.ndarray) -> float:
    """Shape of a generalised Pareto distribution fitted to the largest weights.

    Above 0.7 expectations under the weights are unreliable (Vehtari et al., Pareto smoothed
    importance sampling, JMLR 2024). The fit is that of Zhang and Stephens (Technometrics 51, 2009)
    on the min(n/5, 3 sqrt n) largest.

    Args:
        weights: (n,) weights >= 0, any scale, n >= `PARETO_SAMPLES`.

    Returns:
        The shape; -inf for a tail without spread.
    """
    weights = np.sort(np.asarray(weights, dtype=np.float64))
    n = weights.size
    if n < PARETO_SAMPLES:
        raise InputError(f"pareto_k: {n} weights; expected at least {PARETO_SAMPLES} to see a tail")
    count = int(min(0.2 * n, 3 * sqrt(n)))
    tail = weights[-count:] - weights[-count - 1]
    tail = tail[tail > 0]
    if tail.size < 5:
        return -np.inf
    m = tail.size
    grid = 30 + int(sqrt(m))
    quartile = tail[max(0, int(m / 4 + 0.5) - 1)]
    steps = np.arange(1, grid + 1)
    theta = 1 / tail[-1] + (1 - np.sqrt(grid / (steps - 0.5))) / (3 * quartile)
    shape = np.log1p(-theta[:, None] * tail).mean(axis=1)
    profile = m * (np.log(-theta / shape) - shape - 1)
    posterior = np.exp(profile - profile.max())
    mean = float(theta @ (posterior / posterior.sum()))
    fitted = float(np.log1p(-mean * tail).mean())
    # A weak prior at 0.5 worth ten observations keeps short tails from wild answers.
    return (m * fitted + 10 * 0.5) / (m + 10)


def tail_shape(base: Base, lam: np.ndarray) -> float:
    """Pareto shape of the weight ratios p_lam / p0 of all samples at lam (k,), raw units."""
    ratios = []
    for block in base.blocks:
        p = base.weights(np.asarray(lam) * base.scale)[block.rows]
        ratios.append((p / np.exp(block.log_p0)).ravel())
    return pareto_k(np.concatenate(ratios))


def reweighting_share(
    rewards: np.ndarray,
    lam: np.ndarray,
    groups: np.ndarray,
    signs: np.ndarray | None = None,
) -> np.ndarray:
    """Share (k,) of the joint gain of each value that is only a change of the prompts.

    A joint lam is fitted as if the policy could choose its prompts. Used by a policy that cannot,
    it delivers the levels of the per-prompt tilt; the share is 1 - delivered / asked. NaN for
    values that gain less than a millionth of a standard deviation, where no share is defined.

    Args:
        rewards: (n, k) rewards.
        lam: (k,) the joint solution, raw units.
        groups: (n,) prompt index, with more than one candidate for some prompt.
        signs: (k,) as in `Base`; the gain of a ceiling is a fall.

    Raises:
        InputError: if no prompt has two candidates, which leaves nothing to compare.
    """
    group = check_groups(groups, len(rewards))
    if np.bincount(group).max() < 2:
        raise InputError("reweighting share: every prompt has one candidate; expected several")
    gains = []
    for scope in ("prompt", "joint"):
        base = Base(rewards, group, scope, signs=signs)
        scaled = check_target(lam, base.k, "lam") * base.scale
        gains.append(base.moments(scaled)[1])
    delivered, asked = gains
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(asked > 1e-6, 1 - delivered / asked, np.nan)


def log_z_bias(base: Base, lam: np.ndarray) -> float:
    """Plug-in bias, in nats, of the mean over prompts of log mean_j exp(lam . r_xj) (scope prompt).

    The logarithm of a mean of K terms is below that of the mean of all by their variance over
    2 K mean^2, to first order (delta method), so the dual of few candidates is too high. With the
    unbiased variance that is (1 - K sum_j p_xj^2) / (2 (K - 1)), averaged over the prompts that
    have K > 1 candidates, and 0 for the others.

    Args:
        base: the base policy, in scope `prompt`, with candidates of equal weight.
        lam: (k,) raw units.

    Raises:
        InputError: in scope `joint`.
    """
    if base.scope != "prompt":
        raise InputError(
            "log_z_bias: the scope is joint; the candidates per prompt matter in scope prompt alone"
        )
    scaled, bias = check_target(lam, base.k, "lam") * base.scale, 0.0
    for block in base.blocks:
        count = block.z.shape[1]
        p = tilt(block, scaled)[1]
        if count > 1:
            bias += float((1 - count * (p * p).sum(axis=0)) @ block.share) / (2 * (count - 1))
    return bias


@dataclass(frozen=True)
class Assessments:
    """Many lam on a table; m of them, k values, raw units.

    Attributes:
        levels: (m, k) levels of p_lam.
        quantiles: (m, k) shares of the base policy's samples at or below each level.
        base: (k,) levels of the base policy.
        kl: (m,) nats.
        ess: (m,) effective sample sizes, as in `Solution`.
        max_weight: (m,) largest weights, as in `Solution`.
        scope: `prompt` or `joint`.
    """

    levels: np.ndarray
    quantiles: np.ndarray
    base: np.ndarray
    kl: np.ndarray
    ess: np.ndarray
    max_weight: np.ndarray
    scope: str


def assess_many(base: Base, lams: np.ndarray) -> Assessments:
    """What given lam (m, k), raw units, realise on a table, such as the test split.

    Raises:
        InputError: on another shape, or numbers that are not finite.
    """
    lams = np.asarray(lams, dtype=np.float64)
    if lams.ndim != 2 or lams.shape[1] != base.k or not np.isfinite(lams).all():
        raise InputError(f"lam: shape {lams.shape}; expected (number of lam, {base.k}), finite")
    scaled = lams * base.scale
    tilts = base.tilts(scaled)
    kl = np.einsum("mk,mk->m", scaled, tilts.levels) - tilts.log_z
    return Assessments(
        levels=base.raw(tilts.levels),
        quantiles=base.shares_below(tilts.levels),
        base=base.center,
        kl=np.maximum(kl, 0.0),
        ess=tilts.ess,
        max_weight=tilts.max_weight,
        scope=base.scope,
    )


def _sums(rows: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Sums (clusters, k) of rows (n, k) by cluster index (n,)."""
    return np.stack([np.bincount(cluster, weights=column) for column in rows.T], axis=1)


def _resampled_target(
    levels: Mapping[str, str | float],
    rewards: np.ndarray,
    names: Sequence[str],
    group: np.ndarray,
    times: np.ndarray,
    scope: str,
) -> np.ndarray:
    """Target on a resample in which prompt x occurs times[x] times."""
    if scope == "joint":
        return parse_target(levels, rewards, names, None, times[group], scope=scope)
    # In scope prompt all prompts count alike, so a prompt that was drawn twice needs two copies.
    copies = times[group].astype(int)
    rows = np.repeat(np.arange(len(group)), copies)
    copy = np.arange(rows.size) - np.repeat(np.cumsum(copies) - copies, copies)
    again = np.unique(np.stack([group[rows], copy]), axis=1, return_inverse=True)[1].ravel()
    return parse_target(levels, rewards[rows], names, again, scope=scope)


def _percentiles(lams: np.ndarray, realised: np.ndarray, trained: np.ndarray, k: int) -> Interval:
    level_se, level_low, level_high = _spread(realised, k)
    lam_se, lam_low, lam_high = _spread(lams, k)
    train_se, train_low, train_high = _spread(trained, k)
    return Interval(
        method="bootstrap",
        lam_se=lam_se,
        lam_low=lam_low,
        lam_high=lam_high,
        level_se=level_se,
        level_low=level_low,
        level_high=level_high,
        solved=len(lams) / len(realised),
        train_se=train_se,
        train_low=train_low,
        train_high=train_high,
    )


def _spread(found: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard errors (k,) and both ends (k,) of what resamples gave; NaN with fewer than two."""
    if len(found) < 2:
        nothing = np.full(k, np.nan)
        return nothing, nothing, nothing
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return found.std(axis=0, ddof=1), low, high
