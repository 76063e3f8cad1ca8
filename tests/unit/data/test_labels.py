"""Labelled texts: what a table must hold, and how one without splits is divided."""

import pandas as pd
import pytest

from polyalign.data.labels import labelled_texts
from polyalign.errors import InputError


def texts(**changes) -> pd.DataFrame:
    columns = {
        "text": [f"text {n}" for n in range(200)],
        "label": [0, 1] * 100,
        "split": ["train", "train", "test", "test"] * 50,
    }
    return pd.DataFrame({**columns, **changes})


def test_a_table_is_taken_as_it_is_divided():
    frame = texts(other="x")
    found = labelled_texts(frame, "t.csv")
    pd.testing.assert_frame_equal(found, frame[["text", "label", "split"]])


def test_without_splits_a_tenth_of_the_texts_is_held_out():
    """The same texts, in whatever order and company."""
    found = labelled_texts(texts().drop(columns="split"), "t.csv")
    test = set(found.loc[found["split"] == "test", "text"])
    assert 8 <= len(test) <= 35
    few = labelled_texts(texts().drop(columns="split")[::-1].head(150), "t.csv")
    assert set(few.loc[few["split"] == "test", "text"]) == test & set(few["text"])


def test_labels_may_be_written_as_text_or_with_a_point():
    for labels in (["0", "1"] * 100, [0.0, 1.0] * 100, [False, True] * 100):
        assert labelled_texts(texts(label=labels), "t.csv")["label"].tolist() == [0, 1] * 100


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            texts().rename(columns={"text": "comment"}),
            r"^t\.csv: no column 'text'; it has comment,",
        ),
        (texts().drop(columns=["text", "label"]), "no column 'text' and 'label'; it has split"),
        (texts(text=["", *"x" * 199]), "the text in row 0 is ''"),
        (texts(text=["x", None, *"x" * 198]), "the text in row 1 is"),
        (texts(label=[0, 1, 2, 1] * 50), "the label in row 2 is 2; expected 0 or 1"),
        (texts(label=["no", "yes"] * 100), "the label in row 0 is 'no'"),
        (texts(split="train"), "have the splits train; expected train and test in"),
        (texts(split=["fit", "test"] * 100), "have the splits fit, test; expected train"),
        (texts(label=1), r"for training have the labels \[1\]; expected both"),
        (texts(split=["train", "test"] * 100), r"for training have the labels \[0\]"),
        (texts().drop(columns="split").head(1), "have the splits train .0.1 of the texts"),
    ],
    ids=range(11),
)
def test_unfit_texts_are_refused_in_a_sentence(frame: pd.DataFrame, message: str):
    with pytest.raises(InputError, match=message):
        labelled_texts(frame, "t.csv")
