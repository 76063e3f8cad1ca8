"""Win rates by a judge of pairs, its bias for a position, and how far it agrees with rewards."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.evaluate.clusters import (
    INTERVAL,
    bootstrap_interval,
    check_columns,
    cluster_counts,
    judged_rows,
    ratio_mean,
)
from polyalign.evaluate.human import SCORES
from polyalign.evaluate.winrate import wilson

TEXTS = ["prompt", "response"]


def pairs(frame: pd.DataFrame, opponent: pd.DataFrame, prompts: int) -> pd.DataFrame:
    """The answers that are compared: one of a policy, one of its opponent, to each prompt.

    Args:
        frame: the policy's rewards table.
        opponent: that of its opponent.
        prompts: at most so many prompts of the test split: the first ones by id, which is a hash.

    Returns:
        One row per prompt, sorted by `prompt_id`: `prompt`, then all columns of the two tables as
        `…_policy` and `…_opponent`, each of the first candidate.

    Raises:
        InputError: if a table has no texts or no test row, or no prompt is in both.
    """
    ours, theirs = (_first(table) for table in (frame, opponent))
    both = ours.merge(
        theirs,
        on=["prompt_id", "prompt"],
        suffixes=("_policy", "_opponent"),
        validate="one_to_one",
    )
    if both.empty:
        raise InputError(
            "the policy and its opponent have no test prompt in common; expected the same ones; "
            "answer the same prompts with both"
        )
    return both.sort_values("prompt_id").head(prompts).reset_index(drop=True)


def _first(table: pd.DataFrame) -> pd.DataFrame:
    rows = judged_rows(table)
    absent = [name for name in TEXTS if name not in rows]
    if absent:
        raise InputError(
            f"the rewards table has no column {', '.join(absent)}; expected texts that a judge can "
            "read; add them to the table, or remove evaluation.judge"
        )
    return rows.sort_values("candidate").drop_duplicates("prompt_id")


def combined(votes: pd.DataFrame, policy: str) -> pd.DataFrame:
    """Both orders of each pair as one result.

    Args:
        votes: as `polyalign.data.votes.read_votes` returns them, of `policy` and one other.
        policy: the policy.

    Returns:
        One row per prompt, by `prompt`: `score`, 1 where the policy's answer is better in both
        orders, 0 where the other one is, and ½ for all else, a tie; `differ`, whether the orders
        disagree; `read`, whether there is a vote of both.
    """
    first = votes["first_policy"] == policy
    score = votes["vote"].map(SCORES)
    table = pd.DataFrame({"prompt": votes["prompt"], "score": score.where(first, 1 - score)})
    found = table.groupby("prompt")["score"].agg(["min", "max", "size"])
    same = found["min"] == found["max"]
    return pd.DataFrame(
        {
            "score": found["min"].where(same, 0.5),
            "differ": ~same,
            "read": found["size"] == 2,
        }
    )


def judged(
    votes: pd.DataFrame,
    compared: pd.DataFrame,
    policy: str,
    values: Sequence[str],
    *,
    bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """Win rates of one policy by the judge and by each value, on the same pairs of answers.

    Pairs without a readable vote in both orders are left out, and counted.

    Args:
        votes: as for `combined`.
        compared: the pairs, of `pairs`.
        policy: the policy.
        values: values whose rewards are compared with the judge, in order.
        bootstrap: resamples of prompts behind an interval.
        seed: seed of the resamples.

    Returns:
        One row per value. The judge's, alike in each: `winrate`, P(win) + ½ P(tie), with `se`, the
        95 % bootstrap interval `low`, `high` and Wilson's `wilson_low`, `wilson_high`; `ties`
        (share); `differ`, the share of pairs on which the two orders disagree; `first`, the share
        of votes for an answer that are for the one shown first, ½ without bias; `n_pairs`;
        `n_unread`, pairs that were left out. Of the value's rewards: `value`, `reward_winrate`,
        `reward_se`; `n_decided`, pairs that judge and reward both decide; on these `agreement`, the
        share on which they prefer the same answer, with Wilson's `agreement_low`,
        `agreement_high`, and Cohen's `kappa`, with its bootstrap interval `kappa_low`,
        `kappa_high`. NaN where nothing is decided, or one of the two always prefers the same side.

    Raises:
        InputError: if a table lacks a value, or no pair has a readable vote in both orders.
    """
    columns = [f"{value}_{side}" for value in values for side in ("policy", "opponent")]
    check_columns(compared, columns, "the table of pairs")
    found = combined(votes, policy).reindex(compared["prompt"])
    read = found["read"].eq(True).to_numpy()
    if not read.any():
        raise InputError(
            f"{policy}: no pair of answers has a readable vote of the judge in both orders; "
            "expected a reply that ends with A, B or tie; see the answers that were kept, and "
            "change evaluation.judge.rubric"
        )
    score = found["score"].to_numpy(np.float64)[read]
    ones = np.ones(len(score))
    of_judge = _winrate(score, ones, bootstrap, seed) | {
        "ties": float((score == 0.5).mean()),
        "differ": float(found["differ"].to_numpy(bool)[read].mean()),
        "first": _first_share(votes[votes["prompt"].isin(found.index[read])]),
        "n_pairs": len(score),
        "n_unread": int((~read).sum()),
    }
    rows = []
    for value in values:
        ours, theirs = (
            compared.loc[read, f"{value}_{side}"].to_numpy(np.float64)
            for side in ("policy", "opponent")
        )
        reward = (1 + np.sign(ours - theirs)) / 2
        mean, se = ratio_mean(reward[:, None], ones)
        rows.append(
            of_judge
            | {"value": value, "reward_winrate": float(mean[0]), "reward_se": float(se[0])}
            | agreement(score, reward, bootstrap=bootstrap, seed=seed)
        )
    return pd.DataFrame(rows)


def _winrate(
    score: np.ndarray, ones: np.ndarray, bootstrap: int, seed: int
) -> dict[str, float | int]:
    mean, se = ratio_mean(score[:, None], ones)
    low, high = bootstrap_interval(score[:, None], ones, bootstrap=bootstrap, seed=seed)
    wilson_low, wilson_high = wilson(mean, len(ones))
    names = ("winrate", "se", "low", "high", "wilson_low", "wilson_high")
    columns = (mean, se, low, high, wilson_low, wilson_high)
    return {name: float(column[0]) for name, column in zip(names, columns, strict=True)}


def _first_share(votes: pd.DataFrame) -> float:
    """Share of the votes for an answer that are for the one shown first."""
    counts = votes["vote"].value_counts()
    first, second = (int(counts.get(name, 0)) for name in ("first", "second"))
    return first / (first + second) if first + second else float("nan")


def agreement(
    judge: np.ndarray, reward: np.ndarray, *, bootstrap: int, seed: int
) -> dict[str, float | int]:
    """How often two comparisons of the same pairs prefer the same answer.

    Only pairs that both decide count. Kappa is the agreement beyond that of two independent raters
    with the same shares: (p - e) / (1 - e) (Cohen, Educ. Psychol. Meas. 20, 1960).

    Args:
        judge: (n,) scores of the policy's answer: 1, 0, or ½ for a tie.
        reward: (n,) the same by another comparison.
        bootstrap: resamples of the n pairs behind the interval of kappa.
        seed: seed of the resamples.

    Returns:
        As in `judged`.
    """
    decided = (judge != 0.5) & (reward != 0.5)
    # Which of the four cells each pair is in: won by both, by the judge, by the reward, by none.
    cells = np.stack(
        [decided & (judge == a) & (reward == b) for a in (1, 0) for b in (1, 0)], axis=1
    ).astype(np.float64)
    total = int(decided.sum())
    if not total:
        names = ("agreement", "agreement_low", "agreement_high", "kappa", "kappa_low", "kappa_high")
        return {"n_decided": 0, **dict.fromkeys(names, float("nan"))}
    both, _, _, none = cells.sum(axis=0)
    share = np.array([(both + none) / total])
    low, high = wilson(share, total)
    drawn = np.concatenate(
        [_kappa(counts @ cells) for counts in cluster_counts(len(judge), bootstrap, seed)]
    )
    kappa = float(_kappa(cells.sum(axis=0)[None])[0])
    known = drawn[~np.isnan(drawn)]
    ends = np.percentile(known, INTERVAL) if len(known) else (float("nan"),) * 2
    return {
        "n_decided": total,
        "agreement": float(share[0]),
        "agreement_low": float(low[0]),
        "agreement_high": float(high[0]),
        "kappa": kappa,
        "kappa_low": float(ends[0]),
        "kappa_high": float(ends[1]),
    }


def _kappa(cells: np.ndarray) -> np.ndarray:
    """Cohen's kappa (m,) of counts (m, 4); NaN where chance alone would agree always."""
    total = cells.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        both, judge, reward, none = (cells / total[:, None]).T
        by_judge, by_reward = both + judge, both + reward
        chance = by_judge * by_reward + (1 - by_judge) * (1 - by_reward)
        return np.where(chance < 1, (both + none - chance) / (1 - chance), np.nan)
