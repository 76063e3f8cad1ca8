"""Labelled texts that a classifier is trained on: their columns, labels and splits."""

import pandas as pd

from polyalign.data.keys import split_of
from polyalign.errors import InputError

LABELS = (0, 1)

HELD_OUT = 0.1
"""Share of the texts that are held out, by hash of the text, where there is no column `split`."""


def labelled_texts(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Labelled texts as training reads them.

    Args:
        frame: columns `text`, `label` (0 or 1) and, if it is divided already, `split` (`train` or
            `test`); further columns are left out.
        source: the table, for messages.

    Returns:
        `text`, `label` (whole numbers), `split`.

    Raises:
        InputError: if a column or a text is missing, a label is neither 0 nor 1, or there are not
            both splits, with both labels in training.
    """
    absent = [name for name in ("text", "label") if name not in frame]
    if absent:
        raise InputError(
            f"{source}: no column {' and '.join(map(repr, absent))}; it has "
            f"{', '.join(map(str, frame.columns))}; expected `text`, `label` (0 or 1) and, if it "
            "is divided already, `split` (train or test): rename the columns"
        )
    texts = frame["text"]
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f"{source}: the text in row {row} is {text!r}; expected a text in every row: add "
                "it or remove the row"
            )
    labels = pd.to_numeric(frame["label"], errors="coerce")
    for row, label in enumerate(labels):
        if label not in LABELS:
            raise InputError(
                f"{source}: the label in row {row} is {frame['label'].tolist()[row]!r}; expected 0 "
                "or 1 in every row"
            )
    if "split" in frame:
        splits = [str(split) for split in frame["split"]]
    else:
        splits = ["test" if split_of(text, HELD_OUT) == "test" else "train" for text in texts]
    found = pd.DataFrame(
        {"text": list(texts), "label": labels.astype(int).tolist(), "split": splits}
    )
    if set(splits) != {"train", "test"}:
        made = "" if "split" in frame else f" ({HELD_OUT:g} of the texts are test, by hash)"
        raise InputError(
            f"{source}: labelled texts have the splits {', '.join(sorted(set(splits)))}{made}; "
            "expected train and test in the column `split`"
        )
    trained = sorted(set(found.loc[found["split"] == "train", "label"]))
    if trained != list(LABELS):
        raise InputError(
            f"{source}: labelled texts for training have the labels {trained}; expected both 0 and "
            "1"
        )
    return found
