"""The prompts of a study: distinct, limited, with their split."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from polyalign.data.formats import PROMPT_TABLE_FILES
from polyalign.data.keys import prompt_id, split_of
from polyalign.data.preferences import first_prompts, read_rows
from polyalign.data.tables import read_table
from polyalign.errors import InputError


def prompt_table(
    sources: Sequence[Mapping[str, Any]],
    *,
    limit: int | None,
    test_share: float,
    seed: int,
    fits: Callable[[str], bool] | None = None,
) -> pd.DataFrame:
    """Distinct prompts of all sources.

    With a limit, each source gives the same number as far as it has enough, in the files' order.

    Args:
        sources: for each source the arguments of `source_prompts`, without the seed.
        limit: most prompts in all (None: no limit).
        test_share: share of the prompts on which policies are evaluated, in (0, 1).
        seed: of the cuts of openings.
        fits: whether a prompt is short enough; others are left out (None: all are).

    Returns:
        `prompt_id`, `prompt`, `split` (`fit` or `test`, by hash of the text), sorted by id.

    Raises:
        InputError: if a source cannot be read, or one of the splits would be empty.
    """
    by_source = [list(dict.fromkeys(source_prompts(**source, seed=seed))) for source in sources]
    if fits is not None:
        by_source = [[text for text in texts if fits(text)] for texts in by_source]
    chosen: dict[str, None] = {}
    for rank in range(max(map(len, by_source), default=0)):
        chosen.update(dict.fromkeys(texts[rank] for texts in by_source if rank < len(texts)))
        if limit is not None and len(chosen) >= limit:
            break
    texts = list(chosen)[:limit]
    frame = pd.DataFrame(
        {
            "prompt_id": [prompt_id(text) for text in texts],
            "prompt": texts,
            "split": [split_of(text, test_share) for text in texts],
        }
    )
    for split in ("fit", "test"):
        if not (frame["split"] == split).any():
            raise InputError(
                f"{', '.join(source['path'] for source in sources)}: no prompt falls into the "
                f"{split} split ({len(frame)} prompts, prompts.test_share {test_share}); give more "
                "prompts, or change prompts.test_share"
            )
    return frame.sort_values("prompt_id").reset_index(drop=True)


def source_prompts(
    path: str,
    split: str,
    column: str | None = None,
    opening: Mapping[str, int] | None = None,
    *,
    seed: int,
) -> list[str]:
    """Prompts of one source in its order, with repeats.

    Args:
        path: a source that `preferences.read_pairs` reads, or a .csv, .parquet or .json table.
        split: which file of a folder, or split of a hub data set.
        column: the column of the prompts; None: `prompt`, or HH's first human turn.
        opening: `shortest` and `longest` in characters: the prompts are the openings of the texts
            in `column` (None: `text`).
        seed: of the cuts.

    Raises:
        InputError: if the source cannot be read or holds no prompt.
    """
    table = path.endswith(PROMPT_TABLE_FILES)
    if not table and column is None and opening is None:
        return first_prompts(path, split)
    column = column or ("text" if opening else "prompt")
    if table:
        frame = read_table(path)
        rows = frame[column].tolist() if column in frame else []
        there = ", ".join(map(str, frame.columns))
    else:
        dicts = [row for row in read_rows(path, split) if isinstance(row, dict)]
        rows = [row.get(column) for row in dicts]
        there = ", ".join(dicts[0]) if dicts else "nothing"
    # As they are: a rendered chat ends with a line break that the model has to read.
    texts = [text for text in rows if isinstance(text, str) and text.strip()]
    if not texts:
        raise InputError(
            f"{path}: no text in a column {column!r}; it has {there}; set `column` to the one with "
            "the texts"
        )
    if opening is None:
        return texts
    cut = [opening_of(text, **opening, seed=seed) for text in texts]
    found = [text for text in cut if text is not None]
    if not found:
        raise InputError(
            f"{path}: no text has a word that ends {opening['shortest']} to {opening['longest']} "
            "characters in; expected longer texts; widen `opening`"
        )
    return found


def opening_of(text: str, *, shortest: int, longest: int, seed: int) -> str | None:
    """The opening of a text, cut at a word boundary.

    Spaces and HTML line breaks count as one space. Of the boundaries `shortest` to `longest`
    characters in, one is drawn by the seed and the text alone.

    Returns:
        The opening; None if no word ends there or the text is over by then.
    """
    words = re.sub(r"<br\s*/?>", " ", text).split()
    ends, length = [], -1
    for word in words[:-1]:
        length += 1 + len(word)
        if shortest <= length <= longest:
            ends.append(length)
    if not ends:
        return None
    return " ".join(words)[: random.Random(f"{seed}:{text}").choice(ends)]
