"""Rewards of samples: one value at a time."""

import pandas as pd

from polyalign.tables import KEY, check_values
from polyalign.values import Score


def annotate(samples: pd.DataFrame, value: str, score: Score) -> pd.DataFrame:
    """Score every sample; equal (prompt, response) pairs are scored once.

    Args:
        samples: `prompt_id`, `candidate`, `prompt`, `response`; one row a sample.
        value: name of the value.
        score: its reward function.

    Returns:
        `prompt_id`, `candidate`, and a float64 column named after the value.

    Raises:
        InputError: if a reward is not a finite number; the message names the row.
    """
    texts = samples[["prompt", "response"]].drop_duplicates()
    texts[value] = score(texts["prompt"].tolist(), texts["response"].tolist())
    scored = samples[[*KEY, "prompt", "response"]].merge(
        texts, on=["prompt", "response"], how="left", validate="many_to_one"
    )
    scored = scored[[*KEY, value]].reset_index(drop=True)
    check_values(scored, scored[[value]], f"reward '{value}'")
    return scored
