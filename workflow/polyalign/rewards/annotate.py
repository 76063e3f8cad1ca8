"""Rewards of samples: one value at a time; equal texts are scored once."""

import time

import numpy as np
import pandas as pd

from polyalign.data.keys import KEY, content_key
from polyalign.data.rewards_table import check_values
from polyalign.rewards import EndScore, Score, score_of
from polyalign.rewards.score_cache import NOTHING, ScoreCache
from polyalign.rewards.spec import ValueSpec

KEEP_EVERY = 10.0
"""Seconds after which new scores are written to the cache; on an error they are written at once."""

CUT = "(cut)"
"""Column of whether a text was cut; no value can have this name."""


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
        `prompt_id`, `candidate`, and a float64 column named after the value. Its `attrs["cut"]` is
        the number of samples that the model of the value could not read whole.

    Raises:
        InputError: if a reward is not a finite number; the message names the row.
    """
    read = ["prompt", "response"] if reads_prompt else ["response"]
    if isinstance(score, EndScore) and "end_token" in samples:
        read = [*read, "end_token"]
    texts = samples[list(dict.fromkeys(["prompt", *read]))].drop_duplicates(read)
    keys = [content_key(*texts_read) for texts_read in texts[read].itertuples(index=False)]
    known = (cache.read() if cache else NOTHING).reindex(keys)
    found = known["score"].to_numpy(dtype=np.float64, copy=True)
    cut = known["cut"].eq(True).to_numpy(copy=True)
    missing = np.flatnonzero(np.isnan(found))
    print(f"{len(samples)} samples, {len(texts)} texts, {len(texts) - len(missing)} in the cache")
    calls = np.array_split(missing, -(-len(missing) // at_once)) if len(missing) else []
    new: list[int] = []

    def keep() -> None:
        if cache and new:
            cache.add([keys[row] for row in new], found[new], cut[new])
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
            # A plain function, or a model that read all of them, says nothing.
            cut[rows] = getattr(score, "was_cut", ()) or False
            new += rows.tolist()
            if time.monotonic() - last >= KEEP_EVERY:
                keep()
                last = time.monotonic()
    finally:
        keep()
    scored = samples[[*KEY, *read]].merge(
        texts[read].assign(**{value: found, CUT: cut}),
        on=read,
        how="left",
        validate="many_to_one",
    )
    lost = int(scored[CUT].sum())
    scored = scored[[*KEY, value]].reset_index(drop=True)
    check_values(scored, scored[[value]], f"reward '{value}'")
    scored.attrs["cut"] = lost
    return scored
