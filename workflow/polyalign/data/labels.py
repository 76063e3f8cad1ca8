"""Labelled and rated texts that a model is trained on: their columns, labels and splits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.keys import split_of
from polyalign.errors import InputError
from polyalign.families.options import LabelTable

SPLITS = {"train", "test"}


def labelled_texts(frame: pd.DataFrame, table: LabelTable) -> pd.DataFrame:
    """Texts with their labels or ratings as training reads them.

    Args:
        frame: columns `text`, `label` (or `rating`), the one of `table.group`, and, if it is
            divided already, `split` (`train` or `test`); further columns are left out.
        table: what the columns mean; its path stands in messages.

    Returns:
        `text`; `label`, by the table's kind: the number of the class, a list with 0 or 1 for each
        name, or the mean rating; `split`; `group` (text; the text itself without groups); for
        ratings `ratings`, the list of them.

    Raises:
        InputError: if a column, text or label is missing or cannot be read, a group stands in both
            splits, or there are not both splits, with all classes in training.
    """
    column = "rating" if table.kind == "ratings" else "label"
    _columns(frame, table, column)
    texts = list(frame["text"])
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f"{table.path}: the text in row {row} is {text!r}; expected a text in every row: "
                "add it or remove the row"
            )
    cells = frame[column].tolist()
    found = pd.DataFrame({"text": texts, "label": _labels(cells, table)})
    if table.kind == "ratings":
        found["ratings"] = [_as_list(cell) for cell in cells]
    found["group"] = texts if table.group is None else [str(cell) for cell in frame[table.group]]
    found["split"] = _splits(frame, found["group"], table)
    _both_splits(found, table, divided="split" in frame)
    return found


def resampled(found: pd.DataFrame, number: int) -> pd.DataFrame:
    """The texts with a bootstrap resample in place of those for training.

    Each text's raters are drawn with replacement; where no text has several, groups of texts are.

    Args:
        found: of `labelled_texts`.
        number: of the resample, which settles what is drawn.
    """
    rng = np.random.default_rng(number)
    train, test = (found[found["split"] == split] for split in ("train", "test"))
    if "ratings" in found and (found["ratings"].map(len) > 1).any():
        drawn = [list(rng.choice(np.asarray(row, float), len(row))) for row in train["ratings"]]
        means = [float(np.mean(row)) for row in drawn]
        train = train.assign(ratings=pd.Series(drawn, index=train.index), label=means)
    else:
        groups = [part for _, part in train.groupby("group", sort=True)]
        train = pd.concat([groups[n] for n in rng.integers(len(groups), size=len(groups))])
    return pd.concat([train, test], ignore_index=True)


def _columns(frame: pd.DataFrame, table: LabelTable, column: str) -> None:
    needed = ["text", column, *([table.group] if table.group else [])]
    absent = [name for name in needed if name not in frame]
    if absent:
        raise InputError(
            f"{table.path}: no column {' and '.join(map(repr, absent))}; it has "
            f"{', '.join(map(str, frame.columns))}; expected {' and '.join(needed)}, and, if it is "
            "divided already, `split` (train or test): rename the columns"
        )


def _as_list(cell: Any) -> list[Any]:
    """A cell with one entry or a list of them, as a list; NumPy's arrays come from Parquet."""
    return list(cell) if isinstance(cell, list | tuple | np.ndarray) else [cell]


def _labels(cells: Sequence[Any], table: LabelTable) -> list[Any]:
    read = {"classes": _class, "several": _several, "ratings": _rating}[table.kind]
    return [read(cell, row, table) for row, cell in enumerate(cells)]


def _class(cell: Any, row: int, table: LabelTable) -> int:
    """The number of a class, given by its name or its number."""
    names = table.listed
    if isinstance(cell, str) and cell in names:
        return names.index(cell)
    number = pd.to_numeric(pd.Series([cell], dtype=object), errors="coerce").iloc[0]
    if number in range(len(names)):
        return int(number)
    known = "0 or 1" if table.names is None else f"one of {', '.join(names)}, or its number"
    raise InputError(
        f"{table.path}: the label in row {row} is {cell!r}; expected {known} in every row"
    )


def _several(cell: Any, row: int, table: LabelTable) -> list[float]:
    """1 for each label of a text, 0 for the others, in the order of the names."""
    has = {_class(one, row, table) for one in _as_list(cell)}
    return [float(number in has) for number in range(len(table.listed))]


def _rating(cell: Any, row: int, table: LabelTable) -> float:
    """The mean of a text's ratings."""
    numbers = pd.to_numeric(pd.Series(_as_list(cell), dtype=object), errors="coerce")
    if not len(numbers) or not np.isfinite(numbers.astype(float)).all():
        raise InputError(
            f"{table.path}: the rating in row {row} is {cell!r}; expected a number, or a list of "
            "numbers, in every row"
        )
    return float(numbers.astype(float).mean())


def _splits(frame: pd.DataFrame, groups: pd.Series, table: LabelTable) -> list[str]:
    if "split" in frame:
        return [str(split) for split in frame["split"]]
    if isinstance(table.held_out, float):
        share = table.held_out
        return ["test" if split_of(group, share) == "test" else "train" for group in groups]
    unknown = sorted(set(table.held_out) - set(groups))
    if unknown:
        raise InputError(
            f"{table.path}: no text has {unknown[0]!r} in the column {table.group!r}; expected "
            f"groups to hold out among {', '.join(sorted(set(groups))[:10])}; correct `held_out`"
        )
    return ["test" if group in table.held_out else "train" for group in groups]


def _both_splits(found: pd.DataFrame, table: LabelTable, *, divided: bool) -> None:
    splits = set(found["split"])
    if splits != SPLITS:
        unit = "texts" if table.group is None else "groups"
        made = "" if divided else f" ({table.held_out} of the {unit} are test, by hash)"
        raise InputError(
            f"{table.path}: labelled texts have the splits {', '.join(sorted(splits))}{made}; "
            "expected train and test in the column `split`"
        )
    if table.group is not None:
        sides = found.groupby("group")["split"].nunique()
        if both := sorted(sides.index[sides > 1]):
            raise InputError(
                f"{table.path}: texts with {both[0]!r} in the column {table.group!r} stand in both "
                "splits; expected all of a group in one: change the column `split`"
            )
    _all_in_training(found.loc[found["split"] == "train", "label"], table)


def _all_in_training(trained: pd.Series, table: LabelTable) -> None:
    if table.kind == "ratings":
        if trained.nunique() < 2:
            raise InputError(
                f"{table.path}: all texts for training have the rating {trained.iloc[0]:g}; "
                "expected different ratings: add texts, or divide them otherwise"
            )
        return
    rows = [row if isinstance(row, list) else [row] for row in trained]
    several = table.kind == "several"
    there = {n for row in rows for n in (np.flatnonzero(row) if several else row)}
    if lacking := [name for n, name in enumerate(table.listed) if n not in there]:
        raise InputError(
            f"{table.path}: no text for training has the label {lacking[0]!r}; expected some with "
            f"each of {', '.join(table.listed)}: add texts, or divide them otherwise"
        )
