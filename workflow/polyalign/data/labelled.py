"""Labelled texts, which a classifier is trained on."""

from pathlib import Path

import pandas as pd

from polyalign.data.formats import HELD_OUT
from polyalign.data.keys import split_of
from polyalign.data.tables import read_table
from polyalign.errors import InputError

LABELS = (0, 1)


def read_labelled(path: str | Path) -> pd.DataFrame:
    """Read a table of labelled texts.

    Args:
        path: a table with the columns `text`, `label` (0 or 1) and, if the texts are divided
            already, `split` (`train` or `test`). Without `split` a tenth of the texts, by hash, is
            `test`.

    Returns:
        `text`, `label` (whole numbers), `split`, in the order of the file.

    Raises:
        InputError: on a missing column or text, another label or split, or a split or a label of
            the training that is empty.
    """
    frame = read_table(path)
    absent = [name for name in ("text", "label") if name not in frame]
    if absent:
        raise InputError(
            f"{path}: no column {' and no column '.join(map(repr, absent))}; it has "
            f"{', '.join(map(str, frame.columns))}; expected `text`, `label` (0 or 1) and, if the "
            "texts are divided already, `split` (train or test); rename the columns"
        )
    if "split" not in frame:
        frame["split"] = [
            "train" if split_of(str(text), HELD_OUT) == "fit" else "test" for text in frame["text"]
        ]
    labels = pd.to_numeric(frame["label"], errors="coerce")
    faults = {
        "text": ~frame["text"].map(lambda text: isinstance(text, str) and bool(text.strip())),
        "label": ~labels.isin(LABELS),
        "split": ~frame["split"].isin(("train", "test")),
    }
    expected = {"text": "a text", "label": "0 or 1", "split": "train or test"}
    for column, faulty in faults.items():
        if faulty.any():
            row = int(faulty.to_numpy().argmax())
            raise InputError(
                f"{path}: `{column}` is {frame[column].tolist()[row]!r} in row {row} "
                f"({int(faulty.sum())} such rows); expected {expected[column]}; correct or remove "
                "the rows"
            )
    frame["label"] = labels.astype(int)
    lacking = [split for split in ("train", "test") if not (frame["split"] == split).any()]
    if lacking:
        raise InputError(
            f"{path}: none of its {len(frame)} texts is in the split {lacking[0]}; expected both "
            "train and test; add texts, or a column `split`"
        )
    trained = set(frame.loc[frame["split"] == "train", "label"])
    if trained != set(LABELS):
        raise InputError(
            f"{path}: all texts of the split train have the label {trained.pop()}; expected both "
            "0 and 1; add texts of the other"
        )
    return frame[["text", "label", "split"]]
