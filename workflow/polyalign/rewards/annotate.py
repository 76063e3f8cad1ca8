"""Rewards of samples: one value at a time; equal texts are scored once."""

import time

import numpy as np
import pandas as pd

from polyalign.data.keys import KEY, content_key
from polyalign.data.rewards_table import check_values
from polyalign.rewards import EndScore, Score, score_of
from polyalign.rewards.score_cache import ScoreCache
from polyalign.rewards.spec import ValueSpec

KEEP_EVERY = 10.0
"""Seconds after which new scores are written to the cache; on an error they are written at once."""


def annotate(
    samples: pd.DataFrame,
    value: str,
    score: Score,
    cache: ScoreCache | None = None,
    *,
    reads_prompt: bool = True,
    at_once: int = ValueSpec.AT_ONCE,
) -> pd.DataFrame:
    """Score every sample; equal ones are scored once.

    Args:
        samples: `prompt_id`, `candidate`, `prompt`, `response`; one row per sample. A reward that
            reads end tokens also takes `end_token`, if there is one, and its scores are of the
            response with it.
        value: name of the value.
        score: its reward function.
        cache: earlier scores of this reward function; new ones are added.
        reads_prompt: whether equal samples must have equal prompts, not only equal responses.
        at_once: texts in one call of the reward function; if a call fails, the scores of all calls
            before are in the cache.

    Returns:
        `prompt_id`, `candidate`, and a float64 column named after the value.

    Raises:
        InputError: if a reward is not a finite number; the message names the row.
    """
    read = ["prompt", "response"] if reads_prompt else ["response"]
    if isinstance(score, EndScore) and "end_token" in samples:
        read = [*read, "end_token"]
    texts = samples[list(dict.fromkeys(["prompt", *read]))].drop_duplicates(read)
    keys = [content_key(*texts_read) for texts_read in texts[read].itertuples(index=False)]
    known = cache.read() if cache else pd.Series(dtype=np.float64)
    found = known.reindex(keys).to_numpy(dtype=np.float64, copy=True)
    missing = np.flatnonzero(np.isnan(found))
    print(f"{len(samples)} samples, {len(texts)} texts, {len(texts) - len(missing)} in the cache")
    calls = np.array_split(missing, -(-len(missing) // at_once)) if len(missing) else []
    new: list[int] = []

    def keep() -> None:
        if cache and new:
            cache.add([keys[row] for row in new], found[new])
        new.clear()

    last = time.monotonic()
    try:
        for rows in calls:
            asked = texts.iloc[rows]
            found[rows] = score_of(
                score,
                asked["prompt"].tolist(),
                asked["response"].tolist(),
                asked["end_token"].tolist() if "end_token" in asked else [None] * len(asked),
            )
            new += rows.tolist()
            if time.monotonic() - last >= KEEP_EVERY:
                keep()
                last = time.monotonic()
    finally:
        keep()
    scored = samples[[*KEY, *read]].merge(
        texts[read].assign(**{value: found}), on=read, how="left", validate="many_to_one"
    )
    scored = scored[[*KEY, value]].reset_index(drop=True)
    check_values(scored, scored[[value]], f"reward '{value}'")
    return scored
