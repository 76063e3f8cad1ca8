"""Labelled texts: what a table must hold, and how one without splits is divided."""

import numpy as np
import pandas as pd
import pytest

from polyalign.data.labels import labelled_texts as read
from polyalign.data.labels import resampled
from polyalign.errors import InputError
from polyalign.families.options import LabelTable


def labelled_texts(frame: pd.DataFrame, **changes) -> pd.DataFrame:
    return read(frame, LabelTable(path="t.csv", **changes))


def texts(**changes) -> pd.DataFrame:
    columns = {
        "text": [f"text {n}" for n in range(200)],
        "label": [0, 1] * 100,
        "split": ["train", "train", "test", "test"] * 50,
    }
    return pd.DataFrame({**columns, **changes})


def test_a_table_is_taken_as_it_is_divided():
    frame = texts(other="x")
    found = labelled_texts(frame)
    pd.testing.assert_frame_equal(
        found[["text", "label", "split"]], frame[["text", "label", "split"]]
    )


def test_without_splits_a_tenth_of_the_texts_is_held_out():
    """The same texts, in whatever order and company."""
    found = labelled_texts(texts().drop(columns="split"))
    test = set(found.loc[found["split"] == "test", "text"])
    assert 8 <= len(test) <= 35
    few = labelled_texts(texts().drop(columns="split")[::-1].head(150))
    assert set(few.loc[few["split"] == "test", "text"]) == test & set(few["text"])


def test_labels_may_be_written_as_text_or_with_a_point():
    for labels in (["0", "1"] * 100, [0.0, 1.0] * 100, [False, True] * 100):
        assert labelled_texts(texts(label=labels))["label"].tolist() == [0, 1] * 100


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
        (texts(label=1), r"no text for training has the label 'label_0'; expected some with each"),
        (texts(split=["train", "test"] * 100), r"training has the label 'label_1'"),
        (texts().drop(columns="split").head(1), "have the splits train .0.1 of the texts"),
    ],
    ids=range(11),
)
def test_unfit_texts_are_refused_in_a_sentence(frame: pd.DataFrame, message: str):
    with pytest.raises(InputError, match=message):
        labelled_texts(frame)


NAMES = ["sad", "plain", "glad"]


def test_classes_have_names_or_their_numbers():
    numbers = [0, 1, 2, 1] * 50
    for labels in ([NAMES[n] for n in numbers], numbers, [str(n) for n in numbers]):
        frame = texts(label=labels, split=["train"] * 100 + ["test"] * 100)
        assert labelled_texts(frame, names=NAMES)["label"].tolist() == numbers
    with pytest.raises(InputError, match="'cross'; expected one of sad, plain, glad, or its numb"):
        labelled_texts(texts(label=["cross", "sad"] * 100), names=NAMES)
    with pytest.raises(InputError, match="has the label 'plain'; expected some with each of sad,"):
        labelled_texts(texts(label=["glad", "sad"] * 100), names=NAMES)


def test_a_text_may_have_several_labels_or_none():
    cells = [["glad", "sad"], [], "plain", np.array([0])] * 50
    frame = texts(label=cells, split=["train"] * 100 + ["test"] * 100)
    found = labelled_texts(frame, kind="several", names=NAMES)
    assert found["label"].tolist()[:4] == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_ratings_are_one_number_or_those_of_all_raters():
    frame = texts(rating=[[1, 2, 6], 2.5, "4", np.array([-1.0, 0.0])] * 50)
    found = labelled_texts(frame, kind="ratings")
    assert found["label"].tolist()[:4] == [3, 2.5, 4, -0.5]
    assert found["ratings"].tolist()[:3] == [[1, 2, 6], [2.5], ["4"]]
    for cell in ([], [1, None], "much"):
        with pytest.raises(InputError, match="the rating in row 1 is"):
            labelled_texts(texts(rating=[1.0, cell] * 100), kind="ratings")
    with pytest.raises(InputError, match="all texts for training have the rating 3; expected diff"):
        labelled_texts(texts(rating=3), kind="ratings")
    with pytest.raises(InputError, match="no column 'rating'; it has text, label, split;"):
        labelled_texts(texts(), kind="ratings")


def test_a_group_is_held_out_whole():
    """By hash of its name, or by its name."""
    frame = texts(label=[0, 0, 1, 1] * 50, page=[f"p{n // 8}" for n in range(200)])
    frame = frame.drop(columns="split")
    found = labelled_texts(frame, group="page", held_out=0.3)
    assert (found.groupby("group")["split"].nunique() == 1).all()
    assert 0.1 < (found["split"] == "test").mean() < 0.6
    found = labelled_texts(frame, group="page", held_out=["p3", "p7"])
    assert set(found.loc[found["split"] == "test", "group"]) == {"p3", "p7"}
    with pytest.raises(InputError, match="no text has 'p30' in the column 'page'; expected groups"):
        labelled_texts(frame, group="page", held_out=["p30"])
    both = frame.assign(split=["train", "test"] * 100)
    with pytest.raises(InputError, match="texts with 'p0' in the column 'page' stand in both"):
        labelled_texts(both, group="page")


def test_a_resample_draws_raters_for_training_alone():
    frame = texts(rating=[[float(n), n + 1.0, n + 5.0] for n in range(200)])
    found = labelled_texts(frame, kind="ratings")
    drawn = resampled(found, 3)
    pd.testing.assert_frame_equal(drawn, resampled(found, 3))
    old, new = (f[f["split"] == "train"].reset_index(drop=True) for f in (found, drawn))
    assert old["text"].tolist() == new["text"].tolist()
    assert all(set(a) <= set(b) for a, b in zip(new["ratings"], old["ratings"], strict=True))
    assert new["label"].tolist() == [np.mean(row) for row in new["ratings"]]
    # The variance of a mean of three, drawn from three with this spread.
    gap = new["label"] - old["label"]
    assert gap.std() == pytest.approx(np.std([0, 1, 5]) / np.sqrt(3), rel=0.25)
    assert gap.mean() == pytest.approx(0, abs=0.4)
    test = drawn[drawn["split"] == "test"]
    assert test["label"].tolist() == found.loc[found["split"] == "test", "label"].tolist()
    assert resampled(found, 4)["label"].tolist() != drawn["label"].tolist()


def test_a_resample_draws_groups_where_a_text_has_one_label():
    found = labelled_texts(
        texts(page=[f"p{n // 4}" for n in range(200)]).drop(columns="split"),
        group="page",
        held_out=0.3,
    )
    drawn = resampled(found, 1)
    train = drawn[drawn["split"] == "train"]
    counts = train["group"].value_counts()
    assert (counts % 4 == 0).all()
    assert counts.max() >= 8
    assert train["group"].nunique() < found.loc[found["split"] == "train", "group"].nunique()
