"""Win rates: how often a policy's response gets a higher reward than the base model's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from polyalign.data.keys import CHANCE
from polyalign.errors import InputError
from polyalign.evaluate.clusters import (
    NORMAL_95,
    bootstrap_interval,
    check_columns,
    judged_rows,
    ratio_mean,
)
from polyalign.evaluate.length_control import at_equal_length


def winrate(
    frame: pd.DataFrame,
    base_frame: pd.DataFrame,
    values: Sequence[str],
    *,
    bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """P(win) + ½ P(tie) of a policy against the base model, on the test prompts.

    All pairs of a policy's and a base model's candidate of the same prompt are compared, and each
    prompt weighs the same. A table against itself gives exactly 0.5. A policy that chooses among
    candidates is better given by all of them with the probability of each, in the column `CHANCE`:
    then the result is its exact expectation, without the luck of its draws.

    Args:
        frame: the policy's rewards table, or the candidates that it chooses among.
        base_frame: the base model's rewards table, or any other policy's.
        values: values to judge, in order.
        bootstrap: resamples of prompts behind an interval.
        seed: seed of the resamples.

    Returns:
        One row per value: `value`, `winrate`, its standard error `se`, the 95 % bootstrap interval
        `low`, `high` (clustered by prompt), Wilson's interval `wilson_low`, `wilson_high` for as
        many trials as prompts (a check that knows nothing of ties or candidates), `ties` (share of
        tied pairs), `n_prompts`, `n_pairs`; `exact`, whether either side is an expectation over
        candidates; `even_winrate`, `even_se`, `even_low`, `even_high`, the
        win rate at equal length (`evaluate.length_control`), NaN where a table has no lengths.

    Raises:
        InputError: if a table has no test row or lacks a value, or the test prompts differ.
    """
    names = list(values)
    found = compare(frame, base_frame, names)
    ones = np.ones(len(found.pairs))
    mean, se = ratio_mean(found.scores, ones)
    low, high = bootstrap_interval(found.scores, ones, bootstrap=bootstrap, seed=seed)
    wilson_low, wilson_high = wilson(mean, len(ones))
    table = pd.DataFrame(
        {
            "value": names,
            "winrate": mean,
            "se": se,
            "low": low,
            "high": high,
            "wilson_low": wilson_low,
            "wilson_high": wilson_high,
            "ties": found.ties,
            "n_prompts": len(ones),
            "n_pairs": int(found.pairs.sum()),
            "exact": CHANCE in frame or CHANCE in base_frame,
        }
    )
    even = at_equal_length(judged_rows(frame), judged_rows(base_frame), names)
    return pd.concat([table, even], axis="columns")


@dataclass(frozen=True)
class Comparison:
    """Two tables compared prompt by prompt.

    Attributes:
        prompts: the N prompt ids, sorted.
        scores: (N, k) P(win) + ½ P(tie) of each prompt.
        pairs: (N,) pairs of each prompt.
        ties: (k,) share of tied pairs, each prompt weighing the same.
    """

    prompts: list[str]
    scores: np.ndarray
    pairs: np.ndarray
    ties: np.ndarray


def compare(frame: pd.DataFrame, base_frame: pd.DataFrame, values: Sequence[str]) -> Comparison:
    """Compare all pairs of two policies' answers to the same test prompts.

    Raises:
        InputError: as `winrate`.
    """
    names = list(values)
    rows, base = judged_rows(frame), judged_rows(base_frame)
    check_columns(rows, names, "the policy's rewards table")
    check_columns(base, names, "the base model's rewards table")
    prompts, groups, base_groups = _pair(rows["prompt_id"], base["prompt_id"])
    pairs = np.bincount(groups) * np.bincount(base_groups)
    weight, base_weight = chances(rows), chances(base)
    total = np.bincount(groups, weight) * np.bincount(base_groups, base_weight)
    scores = np.empty((len(pairs), len(names)))
    ties = np.empty(len(names))
    for index, name in enumerate(names):
        double, tied = _score(
            (rows[name].to_numpy(np.float64), groups, weight),
            (base[name].to_numpy(np.float64), base_groups, base_weight),
        )
        scores[:, index] = double / (2 * total)
        ties[index] = (tied / total).mean()
    return Comparison(prompts, scores, pairs, ties)


def chances(rows: pd.DataFrame) -> np.ndarray:
    """How much each row (n,) counts: its probability, or the whole number 1 for answers."""
    return rows[CHANCE].to_numpy(np.float64) if CHANCE in rows else np.ones(len(rows), np.int64)


def wilson(share: np.ndarray, trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of a binomial share (Wilson, JASA 22, 1927).

    Args:
        share: (k,) observed shares in [0, 1].
        trials: number of trials.
    """
    spread = NORMAL_95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = NORMAL_95 / (1 + spread) * np.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return centre - half, centre + half


def _pair(prompts: pd.Series, base_prompts: pd.Series) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The prompts, sorted, and the prompt index of each row of the two tables.

    Raises:
        InputError: if a prompt is in one of them only.
    """
    for ours, theirs, lacking in (
        (prompts, base_prompts, "base model's"),
        (base_prompts, prompts, "policy's"),
    ):
        alone = sorted(set(ours) - set(theirs))
        if alone:
            named = ", ".join(map(str, alone[:5])) + (", …" if len(alone) > 5 else "")
            raise InputError(
                f"{len(alone)} test prompts are not in the {lacking} rewards table: prompt_id "
                f"{named}; win rates are paired by prompt: answer the same prompts with both"
            )
    names = sorted(set(prompts))
    index = pd.Index(names)
    return names, index.get_indexer(pd.Index(prompts)), index.get_indexer(pd.Index(base_prompts))


Side = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rewards, prompt index and weight of each row, all (n,)."""


def _score(side: Side, base_side: Side) -> tuple[np.ndarray, np.ndarray]:
    """2 · wins + ties, and ties, over all weighted pairs of a prompt (N,).

    They are whole numbers where all weights are. A reward's rank among all rewards, shifted by its
    prompt, makes one sorted list in which every prompt is one separate stretch: two binary searches
    per row replace a loop over the pairs.
    """
    (ours, groups, weight), (theirs, base_groups, base_weight) = side, base_side
    ranks = np.unique(np.concatenate([ours, theirs]), return_inverse=True)[1]
    width = int(ranks.max()) + 1
    keys = groups * width + ranks[: len(ours)]
    base_keys = base_groups * width + ranks[len(ours) :]
    order = np.argsort(base_keys, kind="stable")
    base_keys = base_keys[order]
    total = np.append(np.zeros(1, base_weight.dtype), np.cumsum(base_weight[order]))
    below = total[np.searchsorted(base_keys, keys, side="left")]
    upto = total[np.searchsorted(base_keys, keys, side="right")]
    before = total[np.searchsorted(base_keys, groups * width, side="left")]
    double = np.zeros(int(groups.max()) + 1, dtype=np.result_type(weight, base_weight))
    tied = np.zeros_like(double)
    np.add.at(double, groups, weight * ((below - before) + (upto - before)))
    np.add.at(tied, groups, weight * (upto - below))
    return double, tied
