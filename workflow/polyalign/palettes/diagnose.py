"""Diagnostics of a palette's λ: verdict, uncertainty, support, and levels on unseen prompts."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.cut_off import Unread, cut_share, cut_warning, unread_warnings
from polyalign.map.base import Base
from polyalign.map.budget import Budget, budget, budget_message, normal_quantile
from polyalign.map.cautions import cautions
from polyalign.map.diagnostics import (
    CONFIDENCE,
    PARETO_SAMPLES,
    Interval,
    bootstrap_interval,
    delta_interval,
    log_z_bias,
    reweighting_share,
    sensitivity,
    tail_shape,
)
from polyalign.map.dual import Limits, Solution, plain, policy_weights, solve_on
from polyalign.map.jackknife import limit_moments
from polyalign.map.limit import Limit
from polyalign.map.problem import Problem, columns_of
from polyalign.map.search import edges
from polyalign.map.words import rows_of
from polyalign.palettes.solve import cells_of, fit_problem, fit_rows

OF_LAM = (
    "interval",
    "sensitivity",
    "pareto_k",
    "reweighting_share",
    "budget",
    "edges",
    "log_z_bias",
    "test",
    "trained",
)
"""Diagnostics that there are only of a palette with λ."""

ORDERS_DIFFER = 0.05
"""Share of λ for training that the second order of its bias may be."""

UNRELIABLE_TAIL = 0.7
"""Pareto shape above which expectations under the weights are not reliable."""


def diagnose_palette(
    pool: pd.DataFrame,
    record: Mapping[str, Any],
    *,
    limits: Limits,
    resamples: int,
    seed: int,
    unread: Unread = MappingProxyType({}),
) -> dict[str, Any]:
    """Add to a solved palette all that its λ does not depend on.

    Args:
        pool: rewards table of the base model's candidates.
        record: what `polyalign.palettes.solve.solve_palette` returned for it.
        limits: what the verdict `supported` requires.
        resamples: resamples of the prompts behind the intervals; 0 takes the delta method.
        seed: of the resamples.
        unread: texts of the pool that the models of the values could not read whole.

    Returns:
        `record` with
        `verdict` and `message`; `warnings` (sentences; none of them is an error);
        `interval` (fields of `polyalign.map.diagnostics.Interval`, clustered by prompt; a level
        that is a quantile moves with the resamples, that of an adjusted palette is held);
        `sensitivity` (of `polyalign.map.diagnostics.Sensitivity`);
        `pareto_k` (None with too few samples or a tail without spread);
        `reweighting_share` (of each value that is asked to rise: the share of a joint gain that is
        only a choice of prompts; None for the others, and as a whole where the joint dual has no
        solution or no prompt has two candidates);
        `budget` (of `polyalign.map.budget.Budget`: decoding chooses within prompts in scope `joint`
        too; None where no prompt has two candidates);
        `edges` (`supportable` and `feasible`: shares of the asked gain at which support and
        feasibility end; None where nothing is asked to rise);
        `log_z_bias` (None in scope `joint`);
        `test` (`expected` levels of p_λ on the test split, with `se`, and `prompts`);
        `trained` (what perfect training delivers, see `trained_levels`).
        A palette without a solution keeps its verdict and message; all else is None.
    """
    if record["status"] != "solved":
        return {**record, "warnings": [], **dict.fromkeys(OF_LAM)}
    names, lam = list(record["values"]), np.array(record["lam"])
    problem = fit_problem(pool, record["levels"], record["scope"])
    base = problem.base
    target = np.array(record["target"])
    solution = solve_on(base, target, names=names, limits=limits, start=lam)
    prompt = base.scope == "prompt"
    need = _budget(problem, target)
    cut = cut_warning({"the responses that λ was fitted on": cut_share(fit_rows(pool))})
    limit = _limit(base, record)
    shape = tail_shape(base, lam) if base.n_samples >= PARETO_SAMPLES else None
    share = _reweighting(problem, solution)
    extra = {
        "verdict": solution.verdict,
        "message": solution.message,
        "warnings": [
            *_warnings(record, solution, need, shape, share, limit),
            *([cut] if cut else []),
            *unread_warnings({"the base model": unread}, {name: name for name in names}),
            *cautions(base, problem.levels, np.array(record["asked"]), names),
        ],
        "interval": asdict(_interval(problem, record, limit, resamples=resamples, seed=seed)),
        "sensitivity": asdict(sensitivity(base, lam)),
        "pareto_k": shape,
        "reweighting_share": share,
        "budget": None if need is None else asdict(need),
        "edges": _edges(base, np.array(record["asked"]), limits),
        "log_z_bias": log_z_bias(base, lam) if prompt else None,
        "test": expected_levels(pool[pool["split"] == "test"], record["levels"], solution),
        "trained": trained_levels(pool, record["levels"], np.array(record["lam_train"])),
    }
    return {**record, **plain(extra)}


def _warnings(
    record: Mapping[str, Any],
    solution: Solution,
    need: Budget | None,
    shape: float | None,
    share: np.ndarray | None,
    limit: Limit | None,
) -> list[str]:
    """What a reader must know before using the λ of this palette."""
    warnings = []
    if record["adjusted"]:
        warnings.append(
            "adjusted: no policy reaches what it asks; the target is at "
            f"{record['reached']:.1%} of the way from the base levels"
        )
    if solution.verdict != "supported":
        warnings.append(solution.message)
    if need is not None and (need.suffices is None or need.suffices > need.candidates):
        warnings.append(f"at the edge of selection: {budget_message(need)}")
    if limit is None:
        warnings.append(
            "λ for training is that of selection among these candidates: they are too few to "
            "estimate its bias; draw more candidates"
        )
    elif (remainder := limit.remainder) > ORDERS_DIFFER:
        warnings.append(
            f"λ for training is uncertain: the second order of its bias is {remainder:.0%} of it, "
            f"above {ORDERS_DIFFER:.0%}; draw more candidates or lower the levels"
        )
    if shape is not None and shape > UNRELIABLE_TAIL:
        warnings.append(
            f"heavy tail: the weights' Pareto shape is {shape:.2f}, above {UNRELIABLE_TAIL}: "
            "levels and λ are not reliable; draw more candidates or lower the levels"
        )
    if solution.scope == "joint" and share is not None and np.nanmax(share, initial=0.0) > 0:
        warnings.append(
            f"joint: up to {np.nanmax(share):.0%} of a gain is only a choice of prompts, which no "
            "policy can make"
        )
    return warnings


def _limit(base: Base, record: Mapping[str, Any]) -> Limit | None:
    """The solution for infinitely many candidates; None where it could not be estimated."""
    if record["lam_bias"] is None:
        return None
    return Limit(base, np.array(record["lam_train"]) * base.scale)


def _budget(problem: Problem, target: np.ndarray) -> Budget | None:
    groups, within = problem.groups, problem.base
    if np.bincount(groups).max() < 2:
        return None
    if within.scope == "joint":
        within = Base(problem.rewards, groups, "prompt", signs=problem.signs)
    return budget(within, target)


def _edges(base: Base, asked: np.ndarray, limits: Limits) -> dict[str, float] | None:
    """Where support and feasibility end, as shares of the asked gain."""
    supportable, feasible = edges(base, asked, limits)
    if np.isinf(feasible):
        return None
    return {"supportable": supportable, "feasible": feasible}


def _interval(
    problem: Problem,
    record: Mapping[str, Any],
    limit: Limit | None,
    *,
    resamples: int,
    seed: int,
) -> Interval:
    base = problem.base
    if resamples == 0:
        return delta_interval(base, np.array(record["lam"]), np.array(record["target"]), limit)
    held = dict(zip(record["values"], record["target"], strict=True))
    return bootstrap_interval(
        problem.rewards,
        held if record["adjusted"] else problem.levels,
        names=record["values"],
        groups=problem.groups,
        scope=base.scope,
        resamples=resamples,
        seed=seed,
        limit=limit,
        signs=problem.signs,
    )


def _reweighting(problem: Problem, solution: Solution) -> np.ndarray | None:
    """Share (k,) of the joint gain that is only re-weighting of prompts; None where not defined."""
    rewards, groups, base = problem.rewards, problem.groups, problem.base
    if np.bincount(groups).max() < 2:
        return None
    lam = solution.lam
    if base.scope == "prompt":
        joint = solve_on(Base(rewards, groups, "joint", signs=problem.signs), solution.target)
        if joint.status != "solved":
            return None
        lam = joint.lam
    rises = base.standardise(solution.target) > 1e-6
    return np.where(rises, reweighting_share(rewards, lam, groups, problem.signs), np.nan)


def expected_levels(
    test: pd.DataFrame, levels: Mapping[str, str | float], solution: Solution
) -> dict[str, Any] | None:
    """Expected levels of p_λ on the test split, exact over its candidates, of a palette's rows.

    Returns:
        `expected` and `se` (k,) in the rewards' units, the latter clustered by prompt, and the
        number of `prompts`; None if there is no test split.
    """
    if test.empty:
        return None
    rewards, groups = _rows_on(test, levels)
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


def _rows_on(
    frame: pd.DataFrame, levels: Mapping[str, str | float]
) -> tuple[np.ndarray, np.ndarray]:
    """Columns (n, m) of a palette's rows on other samples, and the prompt index (n,)."""
    columns, groups = cells_of(frame, levels)
    return columns_of(rows_of(levels), columns, groups, "auto")[0], groups


def trained_levels(
    pool: pd.DataFrame, levels: Mapping[str, str | float], lam: np.ndarray
) -> dict[str, Any] | None:
    """What a policy has that is trained to the optimum with λ: p_λ for K → ∞, prompt by prompt.

    Args:
        pool: rewards table of the base model's candidates.
        levels: key → word of the palette.
        lam: (k,) λ for training, of its rows.

    Returns:
        `expected` levels (k,) in the rewards' units with `se` and a 95 % interval, `low` and
        `high`; `kl` (nats) and `kl_se`, all clustered by prompt; the number of `prompts` and their
        `split`: `test`, or `fit` if there are no others. None if no prompt has two candidates.
    """
    split = "test" if (pool["split"] == "test").any() else "fit"
    rewards, groups = _rows_on(pool[pool["split"] == split], levels)
    if np.bincount(groups).max() < 2:
        return None
    base = Base(rewards, groups, "prompt")
    scaled = lam * base.scale
    log_z, gains, share = limit_moments(base, scaled)
    found = np.column_stack([base.raw(gains), gains @ scaled - log_z])
    mean = share @ found
    correction = len(share) / max(len(share) - 1, 1)
    se = np.sqrt(correction * np.square(share[:, None] * (found - mean)).sum(axis=0))
    half = normal_quantile(0.5 + CONFIDENCE / 2) * se[:-1]
    return {
        "expected": mean[:-1].tolist(),
        "se": se[:-1].tolist(),
        "low": (mean[:-1] - half).tolist(),
        "high": (mean[:-1] + half).tolist(),
        "kl": float(mean[-1]),
        "kl_se": float(se[-1]),
        "prompts": len(share),
        "split": split,
    }
