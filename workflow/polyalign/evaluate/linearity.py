"""Soups: are the levels of averaged parameters the averages of the parts' levels?"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from polyalign.evaluate.clusters import bootstrap_interval, ratio_mean
from polyalign.evaluate.navigation import prompt_levels
from polyalign.families import Policy


def defects(
    frames: Mapping[str, pd.DataFrame],
    parts: Mapping[str, Mapping[str, float]],
    values: Sequence[str],
    *,
    bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """How far the levels of mixed policies are from linear in the weights, on the test prompts.

    Levels are compared prompt by prompt, each prompt weighing the same, so what the prompts have in
    common cancels.

    Args:
        frames: policy → rewards table, of the mixed policies and all their parts.
        parts: mixed policy → its parts (`family/variant`) and their weights, which sum to 1.
        values: values to judge, in order.
        bootstrap: resamples of prompts behind an interval.
        seed: seed of the resamples.

    Returns:
        One row per mixed policy and value: `family`, `variant`, `parts` (as text), `value`,
        `level`, `linear` (the weighted mean of the parts' levels), `defect` = `level` - `linear`
        with `se` and 95 % bootstrap interval `low`, `high`, clustered by prompt.

    Raises:
        InputError: if a table has no test row or lacks a value.
    """
    names, rows = list(values), []
    for policy, weights in parts.items():
        prompts = sorted(set(frames[policy].query("split == 'test'")["prompt_id"]))
        level = _means(frames[policy], names, prompts)
        linear = sum(
            (weight * _means(frames[part], names, prompts) for part, weight in weights.items()),
            start=np.zeros_like(level),
        )
        ones = np.ones(len(prompts))
        defect, se = ratio_mean(level - linear, ones)
        low, high = bootstrap_interval(level - linear, ones, bootstrap=bootstrap, seed=seed)
        soup = Policy.parse(policy)
        for i, value in enumerate(names):
            rows.append(
                {
                    "family": soup.family,
                    "variant": soup.variant,
                    "parts": " + ".join(f"{weight:g} {part}" for part, weight in weights.items()),
                    "value": value,
                    "level": level[:, i].mean(),
                    "linear": linear[:, i].mean(),
                    "defect": defect[i],
                    "se": se[i],
                    "low": low[i],
                    "high": high[i],
                }
            )
    return pd.DataFrame(rows)


def _means(frame: pd.DataFrame, values: list[str], prompts: list[str]) -> np.ndarray:
    sums, sizes = prompt_levels(frame, values, prompts)
    return np.asarray(sums / sizes[:, None])
