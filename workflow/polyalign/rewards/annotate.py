"""Rewards of samples: one value at a time; equal texts are scored once."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.keys import KEY, content_key
from polyalign.data.rewards_table import check_values
from polyalign.rewards import EndScore, Score, deferred, spec_of
from polyalign.rewards.score_cache import CUT, NOTHING, ScoreCache
from polyalign.rewards.spec import ValueSpec

KEEP_EVERY = 10.0
"""Seconds after which new scores are written to the cache; on an error they are written at once."""

LOST = "(cut)"
"""Column of whether a text was cut; no value can have this name."""


def annotate_value(
    samples: pd.DataFrame, value: str, spec: dict[str, Any], folder: Path | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Score every sample by the entry of a value in the config; the model is loaded if needed.

    Args:
        samples: as in `annotate`.
        value: name of the value.
        spec: its entry.
        folder: of all scores of a study; None keeps none.

    Returns:
        What `annotate` returns, and what the scores depend on (`ValueSpec.identity`).
    """
    entry = spec_of(spec)
    identity = entry.identity()
    cache = ScoreCache.of(folder, entry, identity) if folder else None
    if cache:
        print(f"scores are kept in {cache.folder}")
    scored = annotate(
        samples,
        value,
        deferred(spec),
        cache,
        reads_prompt=entry.reads_prompt(),
        at_once=entry.AT_ONCE,
    )
    return scored, identity


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
    known = cache.read() if cache else NOTHING
    missing = np.flatnonzero(~pd.Index(keys).isin(known.index))
    print(f"{len(samples)} samples, {len(texts)} texts, {len(texts) - len(missing)} in the cache")
    calls = np.array_split(missing, -(-len(missing) // at_once)) if len(missing) else []
    new: list[pd.DataFrame] = []
    kept = 0

    def keep() -> int:
        if cache and new[kept:]:
            cache.add(pd.concat(new[kept:]))
        return len(new)

    last = time.monotonic()
    try:
        for rows in calls:
            asked = texts.iloc[rows]
            numbers = score.numbers(
                asked["prompt"].tolist(),
                asked["response"].tolist(),
                asked["end_token"].tolist() if "end_token" in asked else [None] * len(asked),
            )
            # A model that read all of them says nothing.
            numbers[CUT] = score.was_cut or False
            new.append(numbers.set_axis([keys[row] for row in rows]))
            if time.monotonic() - last >= KEEP_EVERY:
                kept = keep()
                last = time.monotonic()
    finally:
        keep()
    parts = [part for part in (known[known.index.isin(keys)], *new) if len(part)]
    found = pd.concat(parts).loc[keys] if parts else NOTHING
    rewards = score.of_numbers(found.drop(columns=CUT)) if parts else np.empty(0)
    scored = samples[[*KEY, *read]].merge(
        texts[read].assign(**{value: rewards, LOST: found[CUT].to_numpy()}),
        on=read,
        how="left",
        validate="many_to_one",
    )
    lost = int(scored[LOST].sum())
    scored = scored[[*KEY, value]].reset_index(drop=True)
    check_values(scored, scored[[value]], f"reward '{value}'")
    scored.attrs["cut"] = lost
    return scored
