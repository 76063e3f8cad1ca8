"""Labelled texts: columns, labels and splits, or one sentence on what is wrong."""

from pathlib import Path

import pytest

from polyalign.data.labelled import read_labelled
from polyalign.errors import InputError


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def test_a_given_split_is_kept(tmp_path: Path) -> None:
    rows = "label,text,split,more\n1,a,train,x\n0.0,b,train,y\n1,c,test,z\n"
    frame = read_labelled(table(tmp_path, rows))
    assert frame.to_dict("list") == {
        "text": ["a", "b", "c"],
        "label": [1, 0, 1],
        "split": ["train", "train", "test"],
    }


def test_without_a_split_a_tenth_of_the_texts_is_held_out_by_hash(tmp_path: Path) -> None:
    rows = [f"text {number},{number % 2}" for number in range(1000)]
    frame = read_labelled(table(tmp_path, "text,label\n" + "\n".join(rows)))
    assert 60 < (frame["split"] == "test").sum() < 140
    again = read_labelled(table(tmp_path, "text,label\n" + "\n".join(reversed(rows))))
    assert dict(zip(frame["text"], frame["split"], strict=True)) == dict(
        zip(again["text"], again["split"], strict=True)
    )


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("sentence,label\na,1\n", "no column 'text'; it has sentence, label"),
        ("a,b\nx,y\n", "no column 'text' and no column 'label'"),
        ("text,label\na,1\nb,good\n", "`label` is 'good' in row 1 .1 such rows.; expected 0 or 1"),
        ("text,label\na,1\nb,2\n", "`label` is 2 in row 1"),
        ("text,label,split\na,1,train\nb,0,dev\n", "`split` is 'dev' in row 1"),
        ("text,label,split\n ,1,train\nb,0,train\n", "`text` is ' ' in row 0"),
        ("text,label,split\na,1,train\nb,0,train\n", "none of its 2 texts is in the split test"),
        ("text,label,split\na,1,train\nb,1,train\nc,0,test\n", "all .* have the label 1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, rows: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_labelled(table(tmp_path, rows))
