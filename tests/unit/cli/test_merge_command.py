"""`polyalign merge`: stacked and joined as the workflow does, and refused as it does."""

import numpy as np
import pandas as pd
import pytest

from polyalign import cli
from polyalign.data.tables import read_settings, write_table


@pytest.fixture
def whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "prompt_id": np.repeat(["p0", "p1", "p2"], 4),
            "candidate": np.tile(np.arange(4), 3),
            "prompt": np.repeat(["zero", "one", "two"], 4),
            "topic": np.repeat(["x", "y", "x"], 4),
            "humor": draws.normal(size=12),
            "helpful": draws.normal(size=12),
        }
    )


def run(capsys, *arguments):
    status = cli.main(["merge", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


SHARED = ["prompt_id", "candidate", "prompt"]


def test_shards_are_stacked_and_values_are_joined(capsys, whole):
    shuffled = whole.sample(frac=1.0, random_state=1)
    shuffled[[*SHARED, "topic", "humor"]].iloc[:5].to_csv("humor_0.csv", index=False)
    shuffled[[*SHARED, "topic", "humor"]].iloc[5:].to_csv("humor_1.csv", index=False)
    whole[[*SHARED, "helpful"]].to_parquet("helpful.parquet")
    status, out, err = run(capsys, "humor_*.csv", "helpful.parquet", "-o", "all.parquet")
    assert (status, err) == (0, "")
    assert out.startswith("3 tables, 12 rows in all.parquet: prompt_id, candidate, prompt, topic")
    assert "note: not all tables say how they were sampled" in out
    pd.testing.assert_frame_equal(pd.read_parquet("all.parquet"), whole)


def test_candidates_are_numbered_where_they_are_not(capsys, whole):
    one = whole[["prompt", "humor"]]
    one.to_csv("one.csv", index=False)
    whole[["prompt", "helpful"]].to_csv("two.csv", index=False)
    assert run(capsys, "one.csv", "two.csv", "-o", "all.csv")[0] == 0
    found = pd.read_csv("all.csv").set_index(["prompt", "candidate"])
    expected = whole.set_index(["prompt", "candidate"])
    for name in ("humor", "helpful"):
        pd.testing.assert_series_equal(found[name].sort_index(), expected[name].sort_index())


def spoilt(whole, case):
    """Two tables that do not fit together."""
    one, two = whole[[*SHARED, "humor"]], whole[[*SHARED, "helpful"]].copy()
    if case == "gap":
        two = two.drop(index=6)
    if case == "gap in the first":
        one = one.drop(index=3)
    if case == "repeated":
        one, two = whole.iloc[:7], whole.iloc[6:]
    if case == "other cells":
        two.loc[5, "prompt"] = "another"
    return one, two


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("gap", "b.csv: lacks 1 candidates of a.csv, first (prompt_id p1, candidate 2)"),
        (
            "gap in the first",
            "a.csv: lacks 1 candidates of b.csv, first (prompt_id p0, candidate 3)",
        ),
        ("repeated", "b.csv: (prompt_id p1, candidate 2) occurs twice"),
        ("other cells", "b.csv: the column 'prompt' says 'another' of (prompt_id p1, candidate 1)"),
    ],
)
def test_what_does_not_fit_is_refused(capsys, whole, case, message):
    for name, table in zip(("a.csv", "b.csv"), spoilt(whole, case), strict=True):
        table.to_csv(name, index=False)
    status, _, err = run(capsys, "a.csv", "b.csv", "-o", "all.csv")
    assert (status, err.count("\n")) == (2, 1)
    assert message in err


def test_how_the_tables_were_made_is_kept_and_compared(capsys, whole):
    def write(name, value, sampling, model):
        spec = {"sampling": {"seed": sampling}, "values": {value: {"model": model}}}
        write_table(whole[[*SHARED, value]], name, {"spec": spec})

    write("a.parquet", "humor", 1, "m")
    write("b.parquet", "helpful", 1, "n")
    assert run(capsys, "a.parquet", "b.parquet", "-o", "all.parquet")[0] == 0
    assert read_settings("all.parquet")["spec"] == {
        "sampling": {"seed": 1}, "values": {"humor": {"model": "m"}, "helpful": {"model": "n"}}
    }  # fmt: skip
    write("b.parquet", "helpful", 2, "n")
    status, _, err = run(capsys, "a.parquet", "b.parquet", "-o", "other.parquet")
    assert status == 2
    assert "was made with another sampling" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.csv", "-o", "all.csv"), "one table; expected two or more"),
        (("a.csv", "none_*.csv", "-o", "all.csv"), "none_*.csv: no such table"),
        (("a.csv", "b.csv", "-o", "b.csv"), "-o b.csv: is one of the tables"),
        (("a.csv", "b.csv", "-o", "all.json"), "expected a .parquet or .csv file"),
    ],
)
def test_bad_arguments_are_one_line(capsys, whole, arguments, message):
    for name in ("a.csv", "b.csv"):
        whole.to_csv(name, index=False)
    status, _, err = run(capsys, *arguments)
    assert (status, err.count("\n")) == (2, 1)
    assert message in err
