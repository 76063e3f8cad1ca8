"""λ of one palette of a study, solved on the base model's pool."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.rewards_table import rewards_array
from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.budget import budget, shortfall_message
from polyalign.map.diagnostics import delta_interval, sensitivity
from polyalign.map.dual import DEFAULT_LIMITS, Limits, Solution, plain, solve_on
from polyalign.map.feasibility import feasibility_on
from polyalign.map.limit import solve_limit
from polyalign.map.problem import Problem, pose
from polyalign.map.search import interpolate
from polyalign.map.words import labels_of, values_of
from polyalign.palettes.lam import WHAT_TO_DO


def solve_palette(
    pool: pd.DataFrame,
    palette: str,
    levels: Mapping[str, str | float],
    *,
    scope: str = "auto",
    on_infeasible: str = "report",
    limits: Limits = DEFAULT_LIMITS,
) -> dict[str, Any]:
    """λ of one palette, fitted on the `fit` split.

    Args:
        pool: rewards table of the base model's candidates.
        palette: name of the palette.
        levels: key → word (`polyalign.map.words`).
        scope: `auto`, `prompt` or `joint`.
        on_infeasible: `report`: say why there is no λ. `adjust`: go from the base levels towards
            the target only as far as the palette stays supported. `fail`: raise an error.
        limits: what counts as supported; only an adjusted palette depends on it.

    Returns:
        The fields of `polyalign.map.Solution` without verdict and message (`diagnose_palette` adds
        them, and all else that λ does not depend on), in the order of the palette's rows, whose
        names are `values` (λ of a ceiling is <= 0); and
        `palette`, `levels` (as asked), `asked` (as numbers),
        `adjusted` (whether the target is another than asked),
        `reached` (share of the way from base to asked that the target goes; 1 if not adjusted),
        `lam_decode` (λ for selection among as many candidates as it was fitted on: `lam`),
        `lam_train` (λ for K → ∞, for training), `lam_bias` (what `lam` is above it; None where not
        estimable),
        `curvature_train` (k, k) and `level_se_train` (k,): covariance of the rewards under p_λ at
        λ for training, and standard errors of its levels on fresh prompts, which trainings steer
        by (see `train.closed_loop`).
        A palette without a solution (`status` is not `solved`: it is infeasible, or so near the
        edge that no λ can be certified) has no λ; it has its `verdict`, `message` and `proof`.

    Raises:
        InputError: if the palette has no solution and `on_infeasible` is `fail`; or if the table
            lacks a value.
    """
    problem = fit_problem(pool, levels, scope)
    base, asked = problem.base, problem.target
    solution = problem.solve()
    head = {"palette": palette, "levels": dict(levels), "asked": plain(solution.target)}
    reached = 1.0
    if solution.status != "solved":
        selects = base.scope == "prompt" and not problem.beyond
        room = f"; {shortfall_message(budget(base, asked))}" if selects else ""
        if on_infeasible == "fail":
            raise InputError(
                f"palette '{palette}': {solution.message}{room}; {WHAT_TO_DO}, or to report to go "
                "on without its policies"
            )
        # A budget cannot be adjusted: the levels that are held need it all.
        if on_infeasible == "report" or problem.beyond:
            return head | _without_lam(base, solution, room)
        moved = interpolate(base, asked, limits, problem.names)
        reached = moved.share
        solution = solve_on(base, moved.target, names=problem.names, slack=True)
    lam_train, bias = training_lam(base, solution)
    errors = delta_interval(base, lam_train, solution.target)
    record = solution.to_dict()
    for judged in ("verdict", "message"):
        del record[judged]
    return {
        **head,
        "adjusted": reached < 1.0,
        "reached": reached,
        **record,
        "lam_decode": record["lam"],
        "lam_train": lam_train.tolist(),
        "lam_bias": None if bias is None else bias.tolist(),
        "curvature_train": sensitivity(base, lam_train).level_by_lam.tolist(),
        "level_se_train": errors.level_se.tolist(),
    }


def fit_problem(pool: pd.DataFrame, levels: Mapping[str, str | float], scope: str) -> Problem:
    """A palette on the `fit` split of the pool.

    Raises:
        InputError: if the split has no rows, or the table lacks a column.
    """
    columns, groups = cells_of(fit_rows(pool), levels)
    return pose(levels, columns, groups, scope)


def cells_of(
    frame: pd.DataFrame, levels: Mapping[str, str | float]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Column name → cells (n,) that a palette reads, and the prompt index (n,).

    Raises:
        InputError: if the table lacks a value.
    """
    _, groups = rewards_array(frame, values_of(levels))
    names = [name for name in [*values_of(levels), *labels_of(levels)] if name in frame]
    return {name: frame[name].to_numpy() for name in names}, groups


def fit_rows(pool: pd.DataFrame) -> pd.DataFrame:
    """The rows of the `fit` split, which λ is fitted on.

    Raises:
        InputError: if there are none.
    """
    fit = pool[pool["split"] == "fit"]
    if fit.empty:
        raise InputError("the pool has no rows of the fit split; raise or lower prompts.test_share")
    return fit


def _without_lam(base: Base, solution: Solution, room: str) -> dict[str, Any]:
    """The record of a palette without a solution: its verdict, and the proof if it is infeasible.

    Args:
        base: the base policy.
        solution: what was found.
        room: what selection among other numbers of candidates could do, as a clause.
    """
    nothing = [None] * base.k
    numbers = ("lam", "realised", "lam_decode", "lam_train", "lam_bias", "level_se_train")
    return {
        **solution.to_dict(),
        **dict.fromkeys(numbers, nothing),
        **dict.fromkeys(("kl", "ess", "mean_ess", "max_weight", "curvature_train"), None),
        "adjusted": False,
        "reached": None,
        "message": solution.message + room,
        "proof": _proof(base, solution) if solution.conflict else None,
    }


def _proof(base: Base, solution: Solution) -> dict[str, Any]:
    """A weighted sum of levels that the palette asks for and that no policy has.

    Levels are in standard deviations of the base model's rewards, from its level.

    Returns:
        `prices` (k,), the weights; they sum to 1. `asks`, the sum for the levels asked.
        `most`, the largest sum of any policy on the samples: that of the policy that takes the
        candidate with the largest sum.
    """
    prices = feasibility_on(base, solution.target, solution.values).prices
    asks = float(prices @ base.standardise(solution.target))
    return {"prices": prices.tolist(), "asks": asks, "most": float(prices @ base.best(prices))}


def training_lam(base: Base, solution: Solution) -> tuple[np.ndarray, np.ndarray | None]:
    """λ for training, where the policy is not limited to the K candidates it was fitted on.

    Args:
        base: the base policy on the fit split.
        solution: solution on all candidates.

    Returns:
        λ_train (k,), and the estimated bias λ − λ_train (k,); λ itself and None where
        `polyalign.map.limit.solve_limit` can estimate none.
    """
    found = solve_limit(base, solution.target, solution.lam)
    if found is None:
        return solution.lam, None
    return found.raw, solution.lam - found.raw
