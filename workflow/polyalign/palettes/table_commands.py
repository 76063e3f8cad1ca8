"""What `polyalign feasible`, `levels` and `quantile` compute from a table of rewards."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from polyalign.map.base import Base, base_probabilities
from polyalign.map.diagnostics import assess_many
from polyalign.map.dual import Limits
from polyalign.map.feasibility import Feasibility, feasibility_on, furthest_on_segment
from polyalign.map.palette import SPREAD, weighted_quantile
from polyalign.map.search import highest_levels, supportable_share

SHARES = (50, 60, 70, 80, 90, 99)
"""Quantiles of the base policy that a table of levels has, in per cent."""


@dataclass(frozen=True)
class Reach:
    """How far a palette can be reached from the base policy; levels (k,) in the rewards' units.

    Attributes:
        feasibility: whether the target itself is feasible.
        share: share of the way from base to target that is feasible; above 1 beyond the target.
        nearest: the feasible levels on that way that are nearest to the target.
        supportable_share: as `share`, for supported palettes; NaN if not even the base is one.
        supportable: the levels there.
        highest: highest feasible level of each value, the others held at their targets; NaN
            where the others' targets alone are infeasible.
        highest_supportable: the same for supported palettes.
    """

    feasibility: Feasibility
    share: float
    nearest: np.ndarray
    supportable_share: float
    supportable: np.ndarray
    highest: np.ndarray
    highest_supportable: np.ndarray


def find_reach(base: Base, target: np.ndarray, names: list[str], limits: Limits) -> Reach:
    """How far the target (k,) can be reached.

    Args:
        base: the base policy.
        target: (k,) levels in the rewards' units.
        names: names of the k values.
        limits: what counts as supported.

    Raises:
        InputError: if the target has another shape or is not finite.
    """
    answer = feasibility_on(base, target, names)
    share = furthest_on_segment(base, target)
    supported = supportable_share(base, target, limits)
    highest, highest_supportable = highest_levels(base, target, limits)
    way = target - base.center
    return Reach(
        feasibility=answer,
        share=share,
        nearest=base.center + min(1.0, share) * way,
        supportable_share=supported,
        supportable=base.center + supported * way,
        highest=highest,
        highest_supportable=highest_supportable,
    )


@dataclass(frozen=True)
class LevelTable:
    """Levels of the base policy and of the policy that λ tilts; arrays (k,), rewards' units.

    Attributes:
        base: base levels.
        sd: standard deviations of the rewards under the base policy.
        quantiles: (k, 6) the quantiles `SHARES` of the rewards under the base policy.
        levels: levels of the tilted policy.
        level_quantiles: share of the base policy's rewards below each of them.
        kl: nats between the tilted policy and the base policy.
        ess: effective sample size.
        max_weight: largest weight of a sample.
    """

    base: np.ndarray
    sd: np.ndarray
    quantiles: np.ndarray
    levels: np.ndarray
    level_quantiles: np.ndarray
    kl: float
    ess: float
    max_weight: float


def level_table(base: Base, rewards: np.ndarray, groups: np.ndarray, lam: np.ndarray) -> LevelTable:
    """Levels at λ, and quantiles of the base policy.

    Args:
        base: the base policy of these rewards.
        rewards: (n, k) rewards.
        groups: (n,) prompt index of each sample.
        lam: (k,) λ in 1 / the rewards' units.
    """
    found = assess_many(base, lam[None, :])
    probability = base_probabilities(len(rewards), groups, base.scope)
    quantiles = [
        [weighted_quantile(column, probability, share / 100) for share in SHARES]
        for column in rewards.T
    ]
    return LevelTable(
        base=base.center,
        sd=base.scale,
        quantiles=np.array(quantiles),
        levels=found.levels[0],
        level_quantiles=found.quantiles[0],
        kl=float(found.kl[0]),
        ess=float(found.ess[0]),
        max_weight=float(found.max_weight[0]),
    )


class Places(NamedTuple):
    """Where levels are among the base policy's rewards; arrays (k,).

    Attributes:
        below: share of the rewards that are lower.
        at_or_below: share of those that are not higher.
        quantile: the share whose quantile is the level (of several, the lowest); NaN outside the
            range of the rewards.
        in_sd: standard deviations from the mean; NaN where all rewards are the same.
        in_per_cent: per cent of the spread from q5 to q95, from the mean; NaN without a spread.
    """

    below: np.ndarray
    at_or_below: np.ndarray
    quantile: np.ndarray
    in_sd: np.ndarray
    in_per_cent: np.ndarray


def places(rewards: np.ndarray, groups: np.ndarray, levels: np.ndarray, *, scope: str) -> Places:
    """Where levels are among the base policy's rewards, in every way that a palette writes levels.

    Args:
        rewards: (n, k) rewards.
        groups: (n,) prompt index of each sample.
        levels: (k,) levels in the rewards' units.
        scope: in scope `prompt` all prompts count alike, in scope `joint` all samples.
    """
    probability = base_probabilities(len(rewards), groups, scope)
    rows = []
    for column, level in zip(rewards.T, levels, strict=True):
        mean = probability @ column
        sd = np.sqrt(probability @ (column - mean) ** 2)
        low, high = (weighted_quantile(column, probability, share) for share in SPREAD)
        rows.append(
            (
                probability[column < level].sum(),
                probability[column <= level].sum(),
                quantile_of(column, probability, level),
                (level - mean) / sd if sd > 0 else np.nan,
                100 * (level - mean) / (high - low) if high > low else np.nan,
            )
        )
    return Places(*np.array(rows, dtype=np.float64).T)


def quantile_of(sample: np.ndarray, probability: np.ndarray, level: float) -> float:
    """The share in [0, 1] whose `weighted_quantile` is `level`: its inverse.

    Args:
        sample: (n,) numbers.
        probability: (n,) weights >= 0; those of weight 0 do not count.
        level: any number.

    Returns:
        Of several such shares (where numbers are equal) the lowest; NaN if `level` is outside the
        numbers, or if there is one number alone.
    """
    keep = probability > 0
    order = np.argsort(sample[keep], kind="stable")
    ordered, weight = sample[keep][order], probability[keep][order]
    last = ordered.size - 1
    position = np.arange(ordered.size) * weight + last * (np.cumsum(weight) - weight)
    right = int(np.searchsorted(ordered, level, side="left"))
    if right > last or level < ordered[0] or last == 0:
        return float("nan")
    found = position[right]
    if ordered[right] > level:
        gap = (level - ordered[right - 1]) / (ordered[right] - ordered[right - 1])
        found = position[right - 1] + gap * (position[right] - position[right - 1])
    return float(found / position[last])
