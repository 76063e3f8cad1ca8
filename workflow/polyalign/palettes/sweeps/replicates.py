"""How far λ and levels depend on the reward model: the same value by several models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.rewards_table import rewards_array
from polyalign.map.base import Base
from polyalign.map.dual import policy_weights, solve_on
from polyalign.map.palette import parse_target
from polyalign.palettes.solve import fit_rows

POOLED = "all models"
"""Name of the row in which resamples of prompts and reward models come together."""


@dataclass(frozen=True)
class Judge:
    """One model of a value on the prompts of the fit split.

    Attributes:
        name: of the value that the model scores.
        rewards: (n, k) rewards of the palette's values, this one by the model.
        at: column of the value.
    """

    name: str
    rewards: np.ndarray
    at: int

    @property
    def judged(self) -> np.ndarray:
        """The model's rewards (n,), in standard deviations from their mean."""
        own = self.rewards[:, self.at]
        return np.asarray((own - own.mean()) / own.std())


def compute(
    pool: pd.DataFrame,
    palettes: Mapping[str, Mapping[str, Any]],
    *,
    replicates: Mapping[str, Sequence[str]],
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """λ of each palette with each of several models of a value, and what they say of its policy.

    The policy is the study's own, p_λ on the prompts that λ was fitted on. Its gain is how far its
    level is above the base level, by a model, in standard deviations of that model's rewards. A
    resample draws prompts with replacement; with `POOLED` it also draws one of the models, so that
    the interval has both uncertainties inside. A palette that was adjusted or has no solution is
    left out, and so is a resample that has none.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: palette → its solved record.
        replicates: value → the values that score the same by another model.
        resamples: of the prompts, for each model.
        seed: of the resamples.

    Returns:
        One row per palette, value that it weighs and model, and one for all models: `palette`,
        `value`, `model`, `lam` of that value with its `lam_low` and `lam_high` (1 / its unit),
        `gain`, `gain_low`, `gain_high`, `asked` (the gain that the palette asks for), and
        `unsolved` (share of the resamples without a λ).
    """
    fit = fit_rows(pool)
    rows = []
    for name, record in palettes.items():
        if record["status"] != "solved" or record["adjusted"]:
            continue
        for value in [value for value in record["values"] if value in replicates]:
            judges = []
            for model in (value, *replicates[value]):
                columns = [model if one == value else one for one in record["values"]]
                rewards, groups = rewards_array(fit, columns)
                judges.append(Judge(model, rewards, list(record["values"]).index(value)))
            found = _compared(judges, groups, record, resamples, seed)
            rows += [{"palette": name, "value": value, **row} for row in found]
    return pd.DataFrame(rows)


def _compared(
    judges: Sequence[Judge],
    groups: np.ndarray,
    record: Mapping[str, Any],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """A row for each model and one for all."""
    own = judges[0].rewards
    prompts = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    rows, pooled = [], []
    for judge in judges:
        rng = np.random.default_rng(seed)  # the same prompts for every model
        drawn = np.empty((resamples, 2))
        for b in range(resamples):
            parts = [prompts[n] for n in rng.integers(len(prompts), size=len(prompts))]
            some = np.concatenate(parts)
            again = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
            drawn[b] = _read(judge, own, some, again, record)[:2]
        lam, gain, asked = _read(judge, own, np.arange(len(groups)), groups, record)
        rows.append(_row(judge.name, lam, gain, asked, drawn))
        pooled.append(drawn)
    means = [float(np.nanmean([row[key] for row in rows])) for key in ("lam", "gain", "asked")]
    lam, gain, asked = means
    return [*rows, _row(POOLED, lam, gain, asked, np.concatenate(pooled))]


def _read(
    judge: Judge, own: np.ndarray, some: np.ndarray, groups: np.ndarray, record: Mapping[str, Any]
) -> tuple[float, float, float]:
    """λ with a model's rewards, the gain of the study's policy by it, and the gain asked.

    Args:
        judge: the model.
        own: (n, k) the rewards that the study's λ was fitted on.
        some: (m,) rows that are looked at.
        groups: (m,) their prompts.
        record: the solved palette.
    """
    rewards, levels, scope = judge.rewards[some], record["levels"], record["scope"]
    names = list(record["values"])
    base = Base(rewards, groups, scope)
    target = parse_target(levels, rewards, names, groups, scope=scope)
    solution = solve_on(base, target, names=names)
    lam = float(solution.lam[judge.at]) if solution.status == "solved" else np.nan
    weights = policy_weights(own[some], np.array(record["lam"]), groups, scope)
    judged = judge.judged[some]
    gain = float((weights * judged).sum() / weights.sum() - judged.mean())
    asked = (target[judge.at] - rewards[:, judge.at].mean()) / judge.rewards[:, judge.at].std()
    return lam, gain, float(asked)


def _row(name: str, lam: float, gain: float, asked: float, drawn: np.ndarray) -> dict[str, Any]:
    (lam_low, gain_low), (lam_high, gain_high) = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    return {
        "model": name,
        "lam": lam,
        "lam_low": lam_low,
        "lam_high": lam_high,
        "gain": gain,
        "gain_low": gain_low,
        "gain_high": gain_high,
        "asked": asked,
        "unsolved": float(np.isnan(drawn[:, 0]).mean()),
    }
