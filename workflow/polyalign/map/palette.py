"""Palettes: the grammar of levels, and what a level is on a table of rewards."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from polyalign.errors import InputError
from polyalign.map.base import (
    base_probabilities,
    check_groups,
    check_names,
    check_rewards,
    resolve_scope,
)
from polyalign.map.words import parse_level

SPREAD = (0.05, 0.95)


def check_level(level: str | float) -> None:
    """Raise InputError unless `level` follows the grammar of levels (no table is needed)."""
    parse_level(level)


def parse_target(
    levels: Mapping[str, str | float],
    rewards: np.ndarray,
    names: Sequence[str],
    groups: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    *,
    scope: str = "auto",
) -> np.ndarray:
    """Target (k,) of a palette on a table of the base policy's samples.

    Args:
        levels: value → level; exactly the values in `names`.
        rewards: (n, k) rewards, one column per value.
        names: the values of the columns.
        groups: (n,) prompt index; None makes each row its own prompt.
        weights: (n,) weights of the samples; default equal.
        scope: the scope in which the palette is to be solved: in scope `prompt` all prompts count
            alike, and `max` is the mean over prompts of the best candidate; in scope `joint` all
            samples count alike and `max` is the largest of the table.

    Returns:
        Levels in the rewards' units, in the order of `names`.

    Raises:
        InputError: on a level outside the grammar, a value that the table lacks, or one without a
            level.
    """
    rewards = check_rewards(rewards)
    names = check_names(names, rewards.shape[1])
    _check_values(levels, names)
    probability = base_probabilities(len(rewards), groups, scope, weights)
    scope = resolve_scope(scope, len(rewards), groups)
    group = check_groups(groups, len(rewards)) if scope == "prompt" else None
    return np.array(
        [
            _level(name, levels[name], column, probability, group)
            for name, column in zip(names, rewards.T, strict=True)
        ]
    )


def weighted_quantile(sample: np.ndarray, probability: np.ndarray, share: float) -> float:
    """Quantile of a weighted sample, by linear interpolation.

    With equal weights it is NumPy's default (Hyndman and Fan's type 7); with others the positions
    (i - 1) w_i + (n - 1) sum_{j<i} w_j generalise it.

    Args:
        sample: (n,) numbers.
        probability: (n,) weights >= 0; those of weight 0 do not count.
        share: in [0, 1].
    """
    keep = probability > 0
    sample, weight = sample[keep], probability[keep]
    if weight.max() == weight.min():
        return float(np.quantile(sample, share))
    order = np.argsort(sample, kind="stable")
    sample, weight = sample[order], weight[order]
    before = np.cumsum(weight) - weight
    position = np.arange(sample.size) * weight + (sample.size - 1) * before
    return float(np.interp(share * position[-1], position, sample))


def _level(
    name: str,
    level: str | float,
    column: np.ndarray,
    probability: np.ndarray,
    group: np.ndarray | None,
) -> float:
    try:
        kind, number = parse_level(level)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if kind == "number":
        return number
    if kind == "quantile":
        return weighted_quantile(column, probability, number / 100)
    if kind == "max":
        kept = np.where(probability > 0, column, -np.inf)
        if group is None:
            return float(kept.max())
        best = np.full(group.max() + 1, -np.inf)
        np.maximum.at(best, group, kept)
        share = np.bincount(group, weights=probability)
        return float(share[share > 0] @ best[share > 0])
    mean = float(probability @ column)
    if kind == "quantile or mean":
        return max(weighted_quantile(column, probability, number / 100), mean)
    if kind == "mean":
        return mean + number * float(np.sqrt(probability @ (column - mean) ** 2))
    low, high = (weighted_quantile(column, probability, share) for share in SPREAD)
    return mean + number / 100 * (high - low)


def _check_values(levels: Mapping[str, str | float], names: Sequence[str]) -> None:
    for name in levels:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"no value {name!r} in the table; it has {', '.join(names)}{hint}")
    absent = [name for name in names if name not in levels]
    if absent:
        raise InputError(
            f"no level for {', '.join(absent)}; give one, or leave the column out of the rewards"
        )
