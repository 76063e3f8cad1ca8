"""The prompts of a study: distinct, limited, with their split."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from polyalign.data.cells import prompt_of_cell
from polyalign.data.chats import dialogue, with_input, with_system
from polyalign.data.formats import PROMPT_TABLE_FILES
from polyalign.data.keys import prompt_id, split_of
from polyalign.data.pair_forms import prompt_of_row
from polyalign.data.preferences import read_rows
from polyalign.data.tables import read_table
from polyalign.errors import InputError


@dataclass(frozen=True)
class SourcePrompts:
    """Prompts of one source, and counts of the rows that they were read from.

    Attributes:
        texts: the prompts in the source's order, with repeats (see `chats`).
        rows: rows of the source.
        broken: rows of them that are not JSON.
        tools: prompts that lost messages of tools.
    """

    texts: list[str]
    rows: int
    broken: int
    tools: int = 0

    def said(self, path: str) -> list[str]:
        """What a reader must know, one sentence each; empty if nothing is lost."""
        said, lost = [], self.rows - len(self.texts)
        if lost:
            broken = f" ({self.broken} are not JSON)" if self.broken else ""
            said.append(
                f"{path}: {lost} of {self.rows} rows have no prompt{broken}, and are left out"
            )
        if self.tools:
            said.append(f"{path}: {self.tools} prompts had messages of tools, which are left out")
        return said


def prompt_table(
    sources: Sequence[Mapping[str, Any]],
    *,
    limit: int | None,
    test_share: float,
    seed: int,
    system: str | None = None,
    fits: Callable[[str], bool] | None = None,
) -> pd.DataFrame:
    """Distinct prompts of all sources.

    With a limit, each source gives the same number as far as it has enough, in the files' order.
    What is lost is counted on standard output, a job's log, and for the report.

    Args:
        sources: for each source the arguments of `source_prompts`, without the seed.
        limit: most prompts in all (None: no limit).
        test_share: share of the prompts on which policies are evaluated, in (0, 1).
        seed: of the cuts of openings.
        system: message before every prompt that has none.
        fits: whether a prompt is short enough; others are left out (None: all are).

    Returns:
        `prompt_id`, `prompt`, `split` (`fit` or `test`, by hash of the text), sorted by id. Its
        `attrs["said"]` are the sentences on what is lost.

    Raises:
        InputError: if a source cannot be read, or one of the splits would be empty.
    """
    by_source, said = [], []
    for source in sources:
        found = source_prompts(**source, seed=seed)
        said += found.said(source["path"])
        distinct = dict.fromkeys(with_system(text, system) for text in found.texts)
        by_source.append([text for text in distinct if fits is None or fits(text)])
    for sentence in said:
        print(sentence, flush=True)
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
    frame = frame.sort_values("prompt_id").reset_index(drop=True)
    frame.attrs["said"] = said
    return frame


def source_prompts(
    path: str,
    split: str,
    column: str | None = None,
    opening: Mapping[str, int] | None = None,
    turns: str = "all",
    input_column: str | None = None,
    *,
    seed: int,
) -> SourcePrompts:
    """Prompts of one source.

    Args:
        path: a source that `preferences.read_pairs` reads, or a .csv or .json table.
        split: which file of a folder, or split of a hub data set.
        column: the column of the prompts, texts or lists of chat messages; None: see
            `pair_forms.prompt_of_row`.
        opening: `shortest` and `longest` in characters: the prompts are the openings of the texts
            in `column` (None: `text`).
        turns: `first` takes the first question of a conversation as its prompt, `all` all that
            comes before its last answer.
        input_column: the column of what an instruction is applied to, where it is not empty.
        seed: of the cuts.

    Raises:
        InputError: if the source cannot be read, or holds no prompt or no such column.
    """
    rows = _rows(path, split)
    if opening and column is None:
        column = "text"
    if column is None:
        found = [prompt_of_row(row, first_turn=turns == "first") if row else None for row in rows]
    else:
        found = [
            prompt_of_cell(row.get(column), first_turn=turns == "first") if row else None
            for row in rows
        ]
    broken = 0 if path.endswith(PROMPT_TABLE_FILES) else sum(row is None for row in rows)
    if rows and broken == len(rows):
        raise InputError(
            f"{path}: none of its {broken} lines is JSON; expected a JSON object in each line: "
            "write it so, or name a file that is one JSON list .json"
        )
    names = list(next((row for row in rows if row), {}))
    there = ", ".join(map(str, names)) or "nothing"
    if not any(found):
        raise InputError(
            f"{path}: no prompt found in {len(rows)} rows; expected texts or chat messages in a "
            f"column {column or 'prompt'!r}; it has {there}; set `column` to the one with them"
        )
    if input_column is not None and input_column not in names:
        raise InputError(
            f"{path}: no column {input_column!r}; it has {there}; expected the one with the inputs "
            "of the instructions: correct `input_column`"
        )
    texts = []
    for row, one in zip(rows, found, strict=True):
        if row and one:
            given = row.get(input_column) if input_column else None
            texts.append(with_input(one.prompt, given if isinstance(given, str) else ""))
    if opening is not None:
        cut = [opening_of(dialogue(text), **opening, seed=seed) for text in texts]
        texts = [text for text in cut if text is not None]
        if not texts:
            raise InputError(
                f"{path}: no text has a word that ends {opening['shortest']} to "
                f"{opening['longest']} characters in; expected longer texts; widen `opening`"
            )
    return SourcePrompts(texts, len(rows), broken, sum(one.tools > 0 for one in found if one))


def _rows(path: str, split: str) -> list[dict[str, Any] | None]:
    """Rows of a source; None for a line that is not JSON, empty for one that is no record."""
    if path.endswith(PROMPT_TABLE_FILES):
        frame = read_table(path)
        return [
            dict(zip(map(str, frame.columns), cells, strict=True))
            for cells in frame.itertuples(index=False, name=None)
        ]
    return [
        None if row is None else row if isinstance(row, dict) else {}
        for row in read_rows(path, split)
    ]


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
