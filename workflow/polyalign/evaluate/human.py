"""Human win rates: how often people prefer a policy's answers, from their votes."""

import numpy as np
import pandas as pd

from polyalign.evaluate.winrate import wilson

SCORES = {"first": 1.0, "second": 0.0, "tie": 0.5}
"""Vote → score of the answer that was shown first."""


def human_winrate(votes: pd.DataFrame, base: str = "base/base") -> pd.DataFrame:
    """P(win) + ½ P(tie) of each policy against each opponent, over all votes.

    Each vote is one trial. People who vote several times and prompts that come again make votes
    depend on each other, which Wilson's interval does not know: it is then too narrow. A tie counts
    as half a win, which makes the interval wider than need be.

    Args:
        votes: as `polyalign.data.votes.read_votes` returns them.
        base: the policy that is always the opponent; of two others the first by name is.

    Returns:
        One row per policy, opponent and conditions, sorted: `policy`, `opponent`, `conditions`,
        `winrate`, Wilson's 95 % interval `low`, `high`, `ties` (share), `n_votes`, `n_prompts`, and
        `shown_first` (share of the policy's answers that were shown first: order has an effect).
    """
    first, second = votes["first_policy"], votes["second_policy"]
    forward = (first != base) & ((second == base) | (first > second))
    score = votes["vote"].map(SCORES)
    table = pd.DataFrame(
        {
            "policy": first.where(forward, second),
            "opponent": second.where(forward, first),
            "conditions": votes["conditions"],
            "score": score.where(forward, 1 - score),
            "tie": votes["vote"] == "tie",
            "first": forward,
            "prompt": votes["prompt"],
        }
    )
    # A policy against itself says nothing.
    table = table[table["policy"] != table["opponent"]]
    rows = []
    for key, part in table.groupby(["policy", "opponent", "conditions"], sort=True):
        mean = float(part["score"].mean())
        low, high = wilson(np.array([mean]), len(part))
        rows.append(
            [
                *key, mean, low[0], high[0], part["tie"].mean(), len(part),
                part["prompt"].nunique(), part["first"].mean(),
            ]
        )  # fmt: skip
    names = ["policy", "opponent", "conditions", "winrate", "low", "high", "ties", "n_votes"]
    return pd.DataFrame(rows, columns=[*names, "n_prompts", "shown_first"])
