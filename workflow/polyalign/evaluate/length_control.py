"""Win rates at equal length: the win rate that is left when length has no effect.

The score of a pair (1 for a win, ½ for a tie) is modelled by a logistic regression on the pair's
difference in length, logit P = a + b tanh((n - n_base) / s), as in length-controlled AlpacaEval
(Dubois, Galambosi, Liang and Hashimoto, arXiv 2404.04475, 2024) without its terms for the prompts'
difficulty; s is the root mean square of the differences. The win rate at equal length is the
model's at n = n_base: 1 / (1 + exp(-a)). Swapping the two sides turns a into -a, so a policy
against itself has exactly ½.
"""

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
    if not all("n_tokens" in side and side["n_tokens"].notna().all() for side in (rows, base_rows)):
        return pd.DataFrame(np.nan, index=range(len(values)), columns=list(COLUMNS))
    columns = ["prompt_id", "n_tokens", *values]
    ours, theirs = (
        side[columns].assign(**{CHANCE: side.get(CHANCE, 1.0)}) for side in (rows, base_rows)
    )
    pairs = ours.merge(theirs, on="prompt_id", suffixes=("", "_base"))
    cluster = pd.factorize(pairs["prompt_id"])[0]
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
    centre, se = np.array(found).T
    rate = 1 / (1 + np.exp(-centre))
    table = {
        "even_winrate": rate,
        "even_se": rate * (1 - rate) * se,
        "even_low": 1 / (1 + np.exp(-(centre - NORMAL_95 * se))),
        "even_high": 1 / (1 + np.exp(-(centre + NORMAL_95 * se))),
    }
    return pd.DataFrame(table, columns=list(COLUMNS))


def _intercept(
    x: np.ndarray, score: np.ndarray, weight: np.ndarray, cluster: np.ndarray
) -> tuple[float, float]:
    """Intercept of the weighted logistic regression of `score` on `x`, and its standard error.

    Args:
        x: (n,) regressor.
        score: (n,) in [0, 1].
        weight: (n,) weights.
        cluster: (n,) cluster index from 0.

    Returns:
        Both in logits; NaN where the fit is not finite.
    """
    design = np.stack([np.ones_like(x), x], axis=1)
    total = weight.sum()
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
            return np.nan, np.nan
    else:
        return np.nan, np.nan
    sums = np.stack([np.bincount(cluster, column) for column in (design * residual[:, None]).T], 1)
    number = len(sums)
    if number < 2:
        return float(theta[0]), np.nan
    spread = number / (number - 1) * sums.T @ sums / total**2
    return float(theta[0]), float(np.sqrt((inverse @ spread @ inverse)[0, 0]))
