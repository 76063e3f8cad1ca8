"""Decoding with λ by selection among the candidates of the base model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.keys import CHANCE, KEY
from polyalign.data.rewards_table import rewards_array, value_columns
from polyalign.errors import InputError
from polyalign.map.dual import policy_weights
from polyalign.map.random_lam import random_lam
from polyalign.palettes.record import lam_of


@dataclass(frozen=True)
class Decoded:
    """A policy that selects among candidates: its draws, and its exact expectations.

    Attributes:
        frame: a rewards table, one row per draw; `candidate` numbers the draws of a prompt; `kl` is
            an upper bound (nats) of the policy's KL divergence from the base model: that of the
            selection from a uniform one for this prompt, at most log K, and for the best of K
            log K - (K - 1) / K; there is no `logprob`, since a selection has no exact sequence
            probability.
        lam: value → weight λ.
        expected: value → `level`, the exact expectation over the candidates, averaged over the
            prompts, and its standard error `se` over prompts (None with one prompt).
        greedy: whether it takes the candidate of largest λ·r, or draws by exp(λ·r); None if it
            chooses in another way, so that it is judged by its draws alone.
    """

    frame: pd.DataFrame
    lam: dict[str, float]
    expected: dict[str, dict[str, float | None]]
    greedy: bool | None = None


def map_d(
    pool: pd.DataFrame,
    palette: dict[str, Any],
    *,
    lam: dict[str, float] | None = None,
    draws: int,
    seed: int,
) -> Decoded:
    """The policy of the family map-d: draws among the pool's candidates.

    Args:
        pool: rewards table of the base model's candidates.
        palette: the solved palette; empty if `lam` is given.
        lam: value → weight λ ≥ 0 (None: that of the palette).
        draws: independent draws per prompt, with replacement.
        seed: seed of the draws.

    Raises:
        InputError: as `resample`.
    """
    return resample(pool, lam or lam_of(palette, "lam"), draws=draws, seed=seed)


def morl_d(
    pool: pd.DataFrame,
    palette: dict[str, Any],
    *,
    cap: float,
    values: list[str] | None,
    draws: int,
    seed: int,
) -> Decoded:
    """The policy of the family morl-d: draws among the pool's candidates with a random λ.

    Args:
        pool: rewards table of the base model's candidates.
        palette: empty; the family has no palettes.
        cap: largest sum of λ, in 1 / the rewards' units.
        values: the values in λ (None: all of the table).
        draws: independent draws per prompt, with replacement.
        seed: seed of λ and of the draws.

    Raises:
        InputError: as `resample`.
    """
    lam = random_lam(values or value_columns(pool), cap, seed)
    return resample(pool, lam, draws=draws, seed=seed)


def best_of_palette(pool: pd.DataFrame, palette: dict[str, Any], *, seed: int) -> Decoded:
    """The policy of the family best-of: the best candidate of each prompt by the palette's λ.

    Args:
        pool: rewards table of the base model's candidates.
        palette: the solved palette.
        seed: seed of the choice among equals.

    Raises:
        InputError: as `best_of`.
    """
    return best_of(pool, lam_of(palette, "lam"), seed=seed)


def resample(pool: pd.DataFrame, lam: Mapping[str, float], *, draws: int, seed: int) -> Decoded:
    """Draw responses to each test prompt with probability ∝ exp(λ·r) among its candidates.

    Args:
        pool: rewards table of the base model's candidates.
        lam: value → weight λ ≥ 0.
        draws: independent draws per prompt, with replacement.
        seed: seed of the draws.

    Raises:
        InputError: if a prompt has only one candidate, or a value has no column.
    """
    frame, groups, weights = _weighted(pool, lam, greedy=False)
    sizes = np.bincount(groups)
    log_ratio = np.log(np.maximum(weights * sizes[groups], np.finfo(float).tiny))
    kl = np.bincount(groups, weights * log_ratio)
    drawn, expected = _choose(frame, groups, weights, kl, draws, seed)
    return Decoded(drawn, dict(lam), expected, greedy=False)


def best_of(pool: pd.DataFrame, lam: Mapping[str, float], *, seed: int) -> Decoded:
    """Take the candidate of largest λ·r for each test prompt: the limit of `resample` for large λ.

    If several candidates are best, each is as likely. Its KL from the base model is at most
    log K - (K - 1) / K (Beirami et al., arXiv 2401.01879, 2024), which is below the log K of the
    selection itself.

    Args:
        pool: rewards table of the base model's candidates.
        lam: value → weight λ ≥ 0.
        seed: seed of the choice among equals.

    Raises:
        InputError: if a prompt has only one candidate, or a value has no column.
    """
    frame, groups, weights = _weighted(pool, lam, greedy=True)
    sizes = np.bincount(groups)
    drawn, expected = _choose(frame, groups, weights, np.log(sizes) - 1 + 1 / sizes, 1, seed)
    return Decoded(drawn, dict(lam), expected, greedy=True)


def weighted_candidates(
    pool: pd.DataFrame, lam: Mapping[str, float], *, greedy: bool
) -> pd.DataFrame:
    """The candidates that such a policy chooses among, with the probability of each.

    Args:
        pool: rewards table of the base model's candidates.
        lam: value → weight λ ≥ 0.
        greedy: whether the policy takes the best candidate (`best_of`) or draws (`resample`).

    Returns:
        The test rows of the pool that have a probability, which is in the column `CHANCE`.

    Raises:
        InputError: if a prompt has only one candidate, or a value has no column.
    """
    frame, _, weights = _weighted(pool, lam, greedy=greedy)
    return frame.assign(**{CHANCE: weights})[weights > 0].reset_index(drop=True)


def _weighted(
    pool: pd.DataFrame, lam: Mapping[str, float], *, greedy: bool
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Sorted candidates of the test prompts, prompt index (n,), probability of each (n,)."""
    frame, rewards, groups = _candidates(pool, lam)
    weight = np.array(list(lam.values()))
    if not greedy:
        return frame, groups, policy_weights(rewards, weight, groups=groups, scope="prompt")
    score = rewards @ weight
    top = pd.Series(score).groupby(groups).transform("max").to_numpy()
    best = (score == top).astype(np.float64)
    return frame, groups, best / np.bincount(groups, best)[groups]


def _candidates(
    pool: pd.DataFrame, lam: Mapping[str, float]
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Sorted candidates of the test prompts, their rewards (n, k) and prompt index (n,)."""
    frame = pool[pool["split"] == "test"].sort_values(KEY)
    rewards, groups = rewards_array(frame, list(lam))
    sizes = np.bincount(groups)
    if sizes.size == 0 or sizes.min() < 2:
        raise InputError(
            "selection needs at least 2 candidates per prompt in the test split; "
            f"{int((sizes < 2).sum())} of {sizes.size} prompts have fewer: leave the families that "
            "select out of `policies`, or generate more candidates"
        )
    return frame, rewards, groups


def _choose(
    frame: pd.DataFrame,
    groups: np.ndarray,
    weights: np.ndarray,
    kl: np.ndarray,
    draws: int,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, dict[str, float | None]]]:
    """Draw from weights (n,) that sum to 1 within each prompt, whose rows are consecutive.

    Args:
        frame: the n candidates.
        groups: (n,) prompt index.
        weights: (n,) probabilities.
        kl: (N,) what `Decoded` says of the KL of each prompt.
        draws: draws per prompt.
        seed: seed of the draws.

    Returns:
        `frame` and `expected` of `Decoded`.
    """
    sizes = np.bincount(groups)
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
    expected = {}
    for name in value_columns(frame):
        levels = np.bincount(groups, weights * frame[name].to_numpy(dtype=np.float64))
        se = float(levels.std(ddof=1) / np.sqrt(levels.size)) if levels.size > 1 else None
        expected[name] = {"level": float(levels.mean()), "se": se}
    return chosen.reset_index(drop=True), expected
