"""Levels of a policy: its mean reward for each value, how certain that is, and its side effects."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from polyalign.evaluate.clusters import (
    bootstrap_interval,
    check_columns,
    cluster_sums,
    judged_rows,
    ratio_mean,
)
from polyalign.evaluate.nats import nats

QUANTILES = (50, 60, 70, 80, 90, 99)


def levels(
    frame: pd.DataFrame,
    values: Sequence[str],
    base_frame: pd.DataFrame,
    *,
    expected: Mapping[str, Mapping[str, float | None]] | None = None,
    max_new_tokens: int | None = None,
    bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """Levels of a policy on the test prompts.

    Args:
        frame: the policy's rewards table.
        values: values to judge, in order.
        base_frame: the base model's rewards table, for quantiles of its distribution.
        expected: value → `level` and `se` that a selection gives in expectation, as
            `polyalign.sampling.select.Decoded` has them; nothing for policies that do not choose.
        max_new_tokens: the limit of the sampling, for the share of truncated responses.
        bootstrap: resamples of prompts behind an interval.
        seed: seed of the resamples.

    Returns:
        One row per value: `value`; `mean` over all rows, its standard error `se` and 95 % bootstrap
        interval `low`, `high` (clustered by prompt); quantiles `q50` … `q99` of the policy;
        `base_quantile`, the share of the base model's rewards below the mean (ties count half);
        `expected` and `expected_se`, the exact expectation over the candidates; `sd` of the
        rewards; `heaviest`, the share of their variance that is in one row (NaN if they do not
        vary), and `heaviest_reward`, the reward of that row.
        The same in every row: `kl` (nats to the base model) and `kl_se`, and `kl_kind`: `samples`
        where it is measured on the policy's samples, `choice` where it is the upper bound that a
        choice among candidates has, else empty; mean `n_tokens`, the shares of `empty` and
        `truncated` responses (ended by the token limit; without a column `truncated`, as long as
        the limit), the number `n_empty`, `n_prompts`, `n_samples`. NaN where the table has no such
        column.

    Raises:
        InputError: if a table has no test row, or lacks a value.
    """
    names = list(values)
    rows, base = judged_rows(frame), judged_rows(base_frame)
    check_columns(rows, names, "the policy's rewards table")
    check_columns(base, names, "the base model's rewards table")
    groups = pd.factorize(rows["prompt_id"])[0]
    rewards = rows[names].to_numpy(dtype=np.float64)
    sums, sizes = cluster_sums(rewards, groups)
    mean, se = ratio_mean(sums, sizes)
    low, high = bootstrap_interval(sums, sizes, bootstrap=bootstrap, seed=seed)
    table = pd.DataFrame({"value": names, "mean": mean, "se": se, "low": low, "high": high})
    for percent, quantile in zip(QUANTILES, np.percentile(rewards, QUANTILES, axis=0), strict=True):
        table[f"q{percent}"] = quantile
    reference = base[names].to_numpy(dtype=np.float64)
    below, upto = (reference < mean).mean(axis=0), (reference <= mean).mean(axis=0)
    table["base_quantile"] = (below + upto) / 2
    exact = [(expected or {}).get(name, {}) for name in names]
    for column, key in (("expected", "level"), ("expected_se", "se")):
        table[column] = np.array([one.get(key) for one in exact], dtype=np.float64)
    square = (rewards - rewards.mean(axis=0)) ** 2
    heaviest = square.argmax(axis=0), np.arange(len(names))
    table["sd"] = rewards.std(axis=0)
    with np.errstate(invalid="ignore"):
        table["heaviest"] = square[heaviest] / square.sum(axis=0)
    table["heaviest_reward"] = rewards[heaviest]
    for name, number in _policy_wide(rows, groups, max_new_tokens).items():
        table[name] = number
    return table


def _policy_wide(
    rows: pd.DataFrame, groups: np.ndarray, max_new_tokens: int | None
) -> dict[str, float | int | str]:
    """What the levels table says about the policy as a whole."""
    kl, kl_se, kind = _kl(rows, groups)
    tokens = (
        rows["n_tokens"].to_numpy(dtype=np.float64)
        if "n_tokens" in rows
        else np.full(len(rows), np.nan)
    )
    truncated = np.nan
    if "truncated" in rows:
        truncated = float(rows["truncated"].astype(bool).mean())
    elif max_new_tokens is not None and not np.isnan(tokens).any():
        truncated = float((tokens >= max_new_tokens).mean())
    empty = n_empty = np.nan
    if "response" in rows:
        without = rows["response"].fillna("").astype(str).str.strip() == ""
        empty, n_empty = float(without.mean()), int(without.sum())
    return {
        "kl": kl,
        "kl_se": kl_se,
        "kl_kind": kind,
        "n_tokens": float(tokens.mean()),
        "empty": empty,
        "n_empty": n_empty,
        "truncated": truncated,
        "n_prompts": int(groups.max()) + 1,
        "n_samples": len(rows),
    }


def _kl(rows: pd.DataFrame, groups: np.ndarray) -> tuple[float, float, str]:
    """KL to the base model (nats), its standard error, and its kind."""
    spent, kind = nats(rows)
    if spent is None:
        return float("nan"), float("nan"), kind
    mean, se = ratio_mean(*cluster_sums(spent.to_numpy(dtype=np.float64)[:, None], groups))
    return float(mean[0]), float(se[0]), kind
