"""Decoding with λ by resampling: choosing among the candidates of the base model."""

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.map import policy_weights
from polyalign.tables import rewards_array


def resample(
    pool: pd.DataFrame, lam: dict[str, float], *, draws: int, seed: int, split: str = "test"
) -> pd.DataFrame:
    """Draw responses to each prompt with probability ∝ exp(λ·r) among its candidates.

    Args:
        pool: rewards table of the base model's candidates.
        lam: value → weight λ ≥ 0.
        draws: independent draws a prompt, with replacement.
        seed: seed of the draws.
        split: the split whose prompts are answered.

    Returns:
        A rewards table: one row a draw, `candidate` counting the draws of a prompt; `kl` holds the
        KL divergence (nats) of the prompt's choice from the uniform one, at most log K; `logprob`
        is left out, since a selection has no exact sequence probability.

    Raises:
        InputError: if a prompt has one candidate only, or a value has no column.
    """
    frame = pool[pool["split"] == split].sort_values(["prompt_id", "candidate"])
    rewards, groups = rewards_array(frame, list(lam))
    sizes = np.bincount(groups)
    if sizes.size == 0 or sizes.min() < 2:
        raise InputError(
            f"resampling needs at least 2 candidates a prompt in the {split} split; "
            f"{int((sizes < 2).sum())} of {sizes.size} prompts have fewer: leave map-d out of "
            "`policies`, or generate more candidates"
        )
    weights = policy_weights(rewards, np.array(list(lam.values())), groups=groups, scope="prompt")
    log_ratio = np.log(np.maximum(weights * sizes[groups], np.finfo(float).tiny))
    kl = np.bincount(groups, weights * log_ratio)
    generator = np.random.default_rng(seed)
    cumulative = np.cumsum(weights)
    ends = np.cumsum(sizes)
    before = np.concatenate([[0.0], cumulative[ends[:-1] - 1]])
    mass = cumulative[ends - 1] - before
    points = before[:, None] + generator.random((sizes.size, draws)) * mass[:, None]
    rows = np.searchsorted(cumulative, points.ravel(), side="right")
    rows = np.clip(rows, np.repeat(ends - sizes, draws), np.repeat(ends - 1, draws))
    chosen = frame.iloc[rows].drop(columns=["logprob", "logprob_base"], errors="ignore")
    chosen["candidate"] = np.tile(np.arange(draws), sizes.size)
    chosen["kl"] = np.repeat(kl, draws)
    return chosen.reset_index(drop=True)
