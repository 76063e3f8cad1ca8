"""One palette of a study, solved on the base model's pool and checked on prompts it never saw."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.map import Solution, parse_target, policy_weights, solve
from polyalign.tables import rewards_array

STEPS = 24


def solve_palette(
    pool: pd.DataFrame,
    palette: str,
    levels: Mapping[str, str | float],
    *,
    scope: str = "auto",
    on_infeasible: str = "fail",
) -> dict[str, Any]:
    """λ of one palette, fitted on the `fit` split.

    Args:
        pool: rewards table of the base model's candidates.
        palette: name of the palette.
        levels: value → level asked for, in the palettes' grammar.
        scope: `auto`, `prompt` or `joint`.
        on_infeasible: `fail`, or `adjust`: go from the base levels towards the target only as far
            as the palette stays supported.

    Returns:
        The fields of `polyalign.map.Solution`, and
        `palette`, `levels` (as asked), `asked` (as numbers),
        `reached` (share of the way from base to asked that the target goes; 1 if not adjusted),
        `lam_train` (λ for training, see `training_lam`), `lam_bias` (None where not estimable),
        `test` (`expected` levels of p_λ on the test split, with `se`, and `prompts`).

    Raises:
        InputError: if the palette is infeasible and may not be adjusted, the dual did not converge,
            or the table lacks a value.
    """
    names = list(levels)
    fit = pool[pool["split"] == "fit"]
    if fit.empty:
        raise InputError("the pool has no rows of the fit split; raise or lower prompts.test_share")
    rewards, groups = rewards_array(fit, names)
    asked = parse_target(levels, rewards, names, groups, scope=scope)
    solution = solve(rewards, asked, groups=groups, scope=scope, names=names, slack=True)
    reached = 1.0
    if solution.verdict == "infeasible":
        if on_infeasible == "fail":
            raise InputError(
                f"palette '{palette}': {solution.message}; lower its levels, or set "
                "map.on_infeasible to adjust"
            )
        solution, reached = furthest_supported(rewards, groups, solution)
    if solution.status != "solved":
        raise InputError(f"palette '{palette}': the dual did not converge: {solution.message}")
    lam_train, bias = training_lam(rewards, groups, solution)
    return {
        "palette": palette,
        "levels": dict(levels),
        "asked": asked.tolist(),
        "reached": reached,
        **solution.to_dict(),
        "lam_train": lam_train.tolist(),
        "lam_bias": None if bias is None else bias.tolist(),
        "test": expected_levels(pool[pool["split"] == "test"], names, solution),
    }


def furthest_supported(
    rewards: np.ndarray, groups: np.ndarray, infeasible: Solution
) -> tuple[Solution, float]:
    """The supported palette furthest along the segment from the base levels to the target.

    Along the segment KL grows and support falls, so bisection finds the end.

    Args:
        rewards: (n, k) rewards of the fit split.
        groups: (n,) prompt index.
        infeasible: the solution of the whole way.

    Returns:
        Its solution, and the share of the way, in [0, 1).
    """
    start, target = infeasible.base, infeasible.target
    low, high = 0.0, 1.0
    best = None
    for _ in range(STEPS):
        middle = (low + high) / 2
        solution = solve(
            rewards,
            start + middle * (target - start),
            groups=groups,
            scope=infeasible.scope,
            names=infeasible.values,
        )
        if solution.verdict == "supported" and solution.status == "solved":
            low, best = middle, solution
        else:
            high = middle
    if best is None:
        best = solve(rewards, start, groups=groups, scope=infeasible.scope, names=infeasible.values)
    return best, low


def training_lam(
    rewards: np.ndarray, groups: np.ndarray, solution: Solution
) -> tuple[np.ndarray, np.ndarray | None]:
    """λ for training, where the policy is not limited to the K candidates it was fitted on.

    The mean over K samples inside the logarithm biases λ by order 1/K. Solving on both halves of
    the candidates shows the bias at K/2, and the jackknife takes its leading order off:
    λ_train = 2 λ_K − mean λ_{K/2} (Efron, "The Jackknife, the Bootstrap and Other Resampling
    Plans", 1982, ch. 2). Values with λ = 0 stay at 0. In scope `joint`, where a half is
    infeasible, and where the bias is no longer small (above half of a λ, as near the edge of what
    the halves can reach), nothing is corrected.

    Args:
        rewards: (n, k) rewards of the fit split.
        groups: (n,) prompt index.
        solution: solution on all candidates.

    Returns:
        λ_train (k,), and the estimated bias of λ_K (k,), or None where it cannot be had.
    """
    if solution.scope == "joint":
        return solution.lam, None
    rank = pd.Series(groups).groupby(groups).cumcount().to_numpy()
    halves = []
    for half in (0, 1):
        rows = rank % 2 == half
        part = solve(
            rewards[rows],
            solution.target,
            groups=pd.factorize(groups[rows])[0],
            scope="prompt",
            names=solution.values,
        )
        if part.status != "solved":
            return solution.lam, None
        halves.append(part.lam)
    bias = np.where(solution.lam > 0, np.mean(halves, axis=0) - solution.lam, 0.0)
    if (np.abs(bias) > solution.lam / 2).any():
        return solution.lam, None
    return solution.lam - bias, bias


def expected_levels(
    test: pd.DataFrame, names: list[str], solution: Solution
) -> dict[str, Any] | None:
    """Expected levels of p_λ on the test split, exact over its candidates.

    Returns:
        `expected` and `se` (k,) in the rewards' units, the latter clustered by prompt, and the
        number of `prompts`; None if there is no test split.
    """
    if test.empty:
        return None
    rewards, groups = rewards_array(test, names)
    weights = policy_weights(rewards, solution.lam, groups=groups, scope=solution.scope)
    share = np.bincount(groups, weights) / weights.sum()
    by_prompt = np.stack(
        [
            np.bincount(groups, weights * column) / np.bincount(groups, weights)
            for column in rewards.T
        ],
        axis=1,
    )
    expected = share @ by_prompt
    prompts = len(share)
    correction = prompts / max(prompts - 1, 1)
    variance = correction * np.square(share[:, None] * (by_prompt - expected)).sum(axis=0)
    return {"expected": expected.tolist(), "se": np.sqrt(variance).tolist(), "prompts": prompts}
