"""Win rates at equal length: the win rate that is left when length has no effect.

The score of a pair (1 for a win, ½ for a tie) is modelled by a logistic regression on the pair's
difference in length, logit P = a + b tanh((n - n_base) / s), as in length-controlled AlpacaEval
(Dubois, Galambosi, Liang and Hashimoto, arXiv 2404.04475, 2024) without its terms for the prompts'
difficulty; s is the root mean square of the differences. The win rate at equal length is the
model's at n = n_base: 1 / (1 + exp(-a)). Swapping the two sides turns a into -a, so a policy
against itself has exactly ½.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from polyalign.data.keys import CHANCE
from polyalign.evaluate.clusters import NORMAL_95

STEPS = 50
TOLERANCE = 1e-10  # of the gradient, whose entries are weighted shares
STEEPEST = 30.0  # |a| + |b| beyond which lengths separate wins from losses perfectly
COLUMNS = ("even_winrate", "even_se", "even_low", "even_high")


def at_equal_length(
    rows: pd.DataFrame, base_rows: pd.DataFrame, values: Sequence[str]
) -> pd.DataFrame:
    """Win rates at equal length over all pairs of answers to the same prompt.

    Each prompt weighs the same, and rows with a probability (`CHANCE`) weigh as it says within
    their prompt. The standard error is the sandwich clustered by prompt (Liang and
    Zeger, Biometrika 73, 1986), and the interval is symmetric in logits.

    Args:
        rows: the policy's rows, with `n_tokens`.
        base_rows: the other side's rows for the same prompts.
        values: values to judge, in order.

    Returns:
        One row per value: `even_winrate`, `even_se`, `even_low`, `even_high`; all NaN where a
        table has no lengths, and where lengths separate wins from losses perfectly (no finite fit).
    """
    fits = _fits(rows, base_rows, values)
    if fits is None:
        return pd.DataFrame(np.nan, index=range(len(values)), columns=list(COLUMNS))
    centre = np.array([logit for logit, _ in fits])
    # The influences of the prompts have the mean 0.
    se = np.array(
        [
            math.sqrt(moves.var() / (len(moves) - 1)) if len(moves) > 1 else math.nan
            for _, moves in fits
        ]
    )
    rate = 1 / (1 + np.exp(-centre))
    table = {
        "even_winrate": rate,
        "even_se": rate * (1 - rate) * se,
        "even_low": 1 / (1 + np.exp(-(centre - NORMAL_95 * se))),
        "even_high": 1 / (1 + np.exp(-(centre + NORMAL_95 * se))),
    }
    return pd.DataFrame(table, columns=list(COLUMNS))


def by_prompt(
    rows: pd.DataFrame, base_rows: pd.DataFrame, values: Sequence[str]
) -> np.ndarray | None:
    """The win rates at equal length as means over the prompts: to first order, what each adds.

    Args:
        rows, base_rows, values: as for `at_equal_length`.

    Returns:
        (P, k), by the sorted ids of the prompts. The mean is the win rate at equal length, and the
        standard error of the mean is its. None where a win rate is not known.
    """
    fits = _fits(rows, base_rows, values)
    if fits is None or not all(math.isfinite(logit) for logit, _ in fits):
        return None
    rates = [1 / (1 + math.exp(-logit)) for logit, _ in fits]
    parts = zip(rates, fits, strict=True)
    return np.stack([rate + rate * (1 - rate) * moves for rate, (_, moves) in parts], axis=1)


def _fits(
    rows: pd.DataFrame, base_rows: pd.DataFrame, values: Sequence[str]
) -> list[tuple[float, np.ndarray]] | None:
    """The fit of each value, see `_intercept`; None where a table has no lengths."""
    if not all("n_tokens" in side and side["n_tokens"].notna().all() for side in (rows, base_rows)):
        return None
    columns = ["prompt_id", "n_tokens", *values]
    ours, theirs = (
        side[columns].assign(**{CHANCE: side.get(CHANCE, 1.0)}) for side in (rows, base_rows)
    )
    pairs = ours.merge(theirs, on="prompt_id", suffixes=("", "_base"))
    cluster = pd.factorize(pairs["prompt_id"], sort=True)[0]
    chance = (pairs[CHANCE] * pairs[f"{CHANCE}_base"]).to_numpy(np.float64)
    weight = chance / np.bincount(cluster, chance)[cluster]
    difference = (pairs["n_tokens"] - pairs["n_tokens_base"]).to_numpy(np.float64)
    scale = float(np.sqrt(np.mean(difference**2)))
    x = np.tanh(difference / scale) if scale > 0 else np.zeros(len(difference))
    found = []
    for value in values:
        one, other = pairs[value].to_numpy(), pairs[f"{value}_base"].to_numpy()
        score = (one > other) + 0.5 * (one == other)
        found.append(_intercept(x, score, weight, cluster))
    return found


def _intercept(
    x: np.ndarray, score: np.ndarray, weight: np.ndarray, cluster: np.ndarray
) -> tuple[float, np.ndarray]:
    """Intercept of the weighted logistic regression of `score` on `x`, and what moves it.

    Args:
        x: (n,) regressor.
        score: (n,) in [0, 1].
        weight: (n,) weights.
        cluster: (n,) cluster index from 0.

    Returns:
        The intercept, and (P,) the influence of each prompt on it, whose mean is 0; both in
        logits, NaN where the fit is not finite.
    """
    design = np.stack([np.ones_like(x), x], axis=1)
    total, number = weight.sum(), int(cluster.max()) + 1
    theta = np.zeros(2)
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-(design @ theta)))
        residual = weight * (score - chance)
        gradient = design.T @ residual / total
        hessian = (design * (weight * chance * (1 - chance))[:, None]).T @ design / total
        # Equal lengths throughout leave b free; the least-norm step leaves it at zero.
        inverse = np.linalg.pinv(hessian, hermitian=True)
        if np.abs(gradient).max() < TOLERANCE:
            break
        theta = theta + inverse @ gradient
        if np.abs(theta).sum() > STEEPEST:
            return math.nan, np.full(number, np.nan)
    else:
        return math.nan, np.full(number, np.nan)
    sums = np.stack([np.bincount(cluster, column) for column in (design * residual[:, None]).T], 1)
    return float(theta[0]), number * (sums @ inverse)[:, 0] / total
