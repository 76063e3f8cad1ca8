"""The prompts of a study: distinct, limited, with their split."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from polyalign.data.formats import PROMPT_TABLE_FILES
from polyalign.data.json_lines import is_chat
from polyalign.data.keys import prompt_id, split_of
from polyalign.data.preferences import prompts_of_rows, read_rows
from polyalign.data.tables import read_table
from polyalign.errors import InputError


@dataclass(frozen=True)
class SourcePrompts:
    """Prompts of one source, and counts of the rows that they were read from.

    Attributes:
        texts: the prompts in the source's order, with repeats.
        rows: rows of the source.
        broken: rows of them that are not JSON.
    """

    texts: list[str]
    rows: int
    broken: int

    def said(self, path: str) -> list[str]:
        """What a reader must know, one sentence each; empty if every row has a prompt."""
        lost = self.rows - len(self.texts)
        if not lost:
            return []
        broken = f" ({self.broken} are not JSON)" if self.broken else ""
        return [f"{path}: {lost} of {self.rows} rows have no prompt{broken}, and are left out"]


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
    Rows without a prompt are counted on standard output, a job's log.

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
    by_source = []
    for source in sources:
        found = source_prompts(**source, seed=seed)
        for sentence in found.said(source["path"]):
            print(sentence, flush=True)
        distinct = dict.fromkeys(found.texts)
        by_source.append([text for text in distinct if fits is None or fits(text)])
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
) -> SourcePrompts:
    """Prompts of one source.

    Args:
        path: a source that `preferences.read_pairs` reads, or a .csv, .parquet or .json table.
        split: which file of a folder, or split of a hub data set.
        column: the column of the prompts; None: `prompt`, or HH's first human turn.
        opening: `shortest` and `longest` in characters: the prompts are the openings of the texts
            in `column` (None: `text`).
        seed: of the cuts.

    Raises:
        InputError: if the source cannot be read, or holds no prompt or lists of chat messages.
    """
    table = path.endswith(PROMPT_TABLE_FILES)
    cells: list[Any]
    if not table and column is None and opening is None:
        cells = prompts_of_rows(path, split)
        wanted = "HH transcripts under 'chosen', or texts under 'prompt'"
    else:
        column = column or ("text" if opening else "prompt")
        cells, there = _column(path, split, column, table=table)
        wanted = f"texts in a column {column!r}; it has {there}; set `column` to the one with them"
    # As they are: a rendered chat ends with a line break that the model has to read.
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    broken = 0 if table else sum(cell is None for cell in cells)
    if cells and broken == len(cells):
        raise InputError(
            f"{path}: none of its {broken} lines is JSON; expected a JSON object in each line: "
            "write it so, or name a file that is one JSON list .json"
        )
    if not texts:
        raise InputError(f"{path}: no prompt found in {len(cells)} rows; expected {wanted}")
    if opening is not None:
        cut = [opening_of(text, **opening, seed=seed) for text in texts]
        texts = [text for text in cut if text is not None]
        if not texts:
            raise InputError(
                f"{path}: no text has a word that ends {opening['shortest']} to "
                f"{opening['longest']} characters in; expected longer texts; widen `opening`"
            )
    return SourcePrompts(texts, len(cells), broken)


def _column(path: str, split: str, column: str, *, table: bool) -> tuple[list[Any], str]:
    """Cells of a column (empty where a row lacks it, None for a line that is not JSON).

    And the names of the columns that there are, for messages.
    """
    if table:
        frame = read_table(path)
        cells, names = list(frame.get(column, [""] * len(frame))), list(map(str, frame.columns))
    else:
        rows = list(read_rows(path, split))
        dicts = [row for row in rows if isinstance(row, dict)]
        names = list(dicts[0]) if dicts else []
        cells = [
            None if row is None else (row.get(column) or "") if isinstance(row, dict) else ""
            for row in rows
        ]
    for number, cell in enumerate(cells, 1):
        if is_chat(cell):
            raise InputError(
                f"{path}: {column!r} of row {number} is a list of chat messages; expected a text: "
                "write the user's turn as text in a column of its own, and name it in `column`"
            )
    return cells, ", ".join(names) or "nothing"


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
