"""`polyalign score`: somebody's own table with the values of a config."""

import sys

import numpy as np
import pandas as pd
import pytest

from polyalign import cli, rewards
from polyalign.data.tables import read_settings

CONFIG = """
study: own
model: {source: org/model}
prompts: {sources: [{path: answers.csv}]}
values:
  diversity: {kind: ngram_diversity}
  many: {kind: python, function: 'counted:words', above: 2}
  few: {kind: python, function: 'counted:words', sign: -1}
palettes: {p: {diversity: mean}}
"""
CODE = """
def words(prompts, responses):
    with open("calls.txt", "a") as file:
        file.write(f"{len(responses)}\\n")
    return [float(len(text.split())) for text in responses]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "counted", raising=False)
    (tmp_path / "own.yaml").write_text(CONFIG)
    (tmp_path / "counted.py").write_text(CODE)
    frame = pd.DataFrame(
        {
            "source": ["a", "b", "c", "d"],
            "prompt": ["one?", "one?", "two?", "two?"],
            "response": ["a b c", "a a", "a b c d", "a b c"],
            "rating": [1.0, 2.0, 3.0, 4.0],
        }
    )
    frame.to_csv(tmp_path / "answers.csv", index=False)
    return tmp_path


def run(capsys, *arguments):
    status = cli.main([str(one) for one in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def score(capsys, *arguments, table="answers.csv", out="scored.parquet"):
    return run(capsys, "score", table, "--config", "own.yaml", "-o", out, *arguments)


def test_values_are_added_and_nothing_else_changes(capsys, folder):
    status, out, err = score(capsys)
    assert (status, err) == (0, "")
    assert out.endswith("4 rows in scored.parquet\n")
    before, after = pd.read_csv("answers.csv"), pd.read_parquet("scored.parquet")
    pd.testing.assert_frame_equal(after[list(before)], before)
    assert list(after) == [*before, "diversity", "many", "few"]
    assert after["few"].tolist() == [-3.0, -2.0, -4.0, -3.0]
    assert after["many"].tolist() == [1.0, 0.0, 1.0, 1.0]
    direct = rewards.load({"kind": "ngram_diversity"})(
        before["prompt"].tolist(), before["response"].tolist()
    )
    np.testing.assert_allclose(after["diversity"], direct)
    spec = read_settings("scored.parquet")["spec"]
    assert set(spec["values"]) == {"diversity", "many", "few"}
    assert spec["values"]["many"]["above"] == 2


def test_scores_are_kept_and_not_asked_for_again(capsys, folder):
    assert score(capsys, "--value", "few")[::2] == (0, "")
    calls = (folder / "calls.txt").read_text()
    assert score(capsys, "--value", "few", out="again.csv")[0] == 0
    assert (folder / "calls.txt").read_text() == calls
    first, again = pd.read_parquet("scored.parquet"), pd.read_csv("again.csv")
    assert again["few"].tolist() == first["few"].tolist()
    status, out, _ = score(capsys, table="scored.parquet", out="all.parquet")
    assert status == 0
    assert "note: the table has few already" in out
    assert list(pd.read_parquet("all.parquet"))[4:] == ["few", "diversity", "many"]
    assert set(read_settings("all.parquet")["spec"]["values"]) == {"few", "diversity", "many"}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            ("--value", "fewer"),
            {},
            "--value fewer: the config has diversity, many, few; write 'few'",
        ),
        (
            ("--value", "few"),
            {"table": "few.csv"},
            "the table has this column, and none is overwrit",
        ),
        ((), {"table": "texts.csv"}, "expected the columns prompt and response"),
        ((), {"table": "absent.csv"}, "no such table"),
        ((), {"out": "scored.txt"}, "expected a .parquet or .csv file"),
    ],
)
def test_what_cannot_be_scored_is_one_line(capsys, folder, arguments, options, message):
    frame = pd.read_csv("answers.csv")
    frame.assign(few=1.0).to_csv("few.csv", index=False)
    frame.rename(columns={"response": "answer"}).to_csv("texts.csv", index=False)
    status, _, err = score(capsys, *arguments, **options)
    assert (status, err.count("\n")) == (2, 1)
    assert message in err
    assert not (folder / "scored.parquet").exists()
