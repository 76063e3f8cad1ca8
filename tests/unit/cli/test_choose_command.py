"""`polyalign choose`: answers that λ chooses among the candidates of a table."""

import json

import numpy as np
import pandas as pd
import pytest

from polyalign import cli
from polyalign.cli.table import reading
from polyalign.palettes import streamed as streamed_pool
from polyalign.palettes.choose import uniform

CHANCE = "probability of the choice"


@pytest.fixture
def frame():
    """Prompts of 1 to 6 candidates, whose rows are adjacent."""
    draws = np.random.default_rng(5)
    prompts = np.repeat([f"question {i}" for i in range(40)], [1 + i % 6 for i in range(40)])
    return pd.DataFrame(
        {
            "prompt": prompts,
            "response": [f"answer {i}" for i in range(len(prompts))],
            "humor": draws.normal(size=len(prompts)),
            "helpful": draws.normal(size=len(prompts)),
            "note": "any text, with a comma",
        }
    )


@pytest.fixture
def table(frame, tmp_path):
    path = tmp_path / "rewards.parquet"
    frame.to_parquet(path)
    return path


def run(capsys, *arguments):
    status = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def chosen(capsys, table, *arguments, ending="parquet"):
    path = table.with_name(f"chosen.{ending}")
    status, out, err = run(capsys, "choose", table, *arguments, "--answers", path, "--json")
    assert (status, err) == (0, "")
    read = {"parquet": pd.read_parquet, "csv": pd.read_csv, "jsonl": pd.read_json}[ending]
    return json.loads(out), read(path, **({"lines": True} if ending == "jsonl" else {}))


LAM = ("--lam", "humor=1.5", "--lam", "helpful=0.5")


def by_hand(frame):
    """Probability of each candidate, prompt by prompt."""
    weight = np.exp(1.5 * frame["humor"] + 0.5 * frame["helpful"])
    return weight / weight.groupby(frame["prompt"]).transform("sum")


def test_expectations_are_those_of_an_enumeration(capsys, frame, table):
    record, rows = chosen(capsys, table, *LAM)
    p = by_hand(frame)
    for i, name in enumerate(("humor", "helpful")):
        levels = (p * frame[name]).groupby(frame["prompt"]).sum()
        assert record["expected"][i] == pytest.approx(levels.mean())
        assert record["se"][i] == pytest.approx(levels.std(ddof=1) / np.sqrt(40))
        assert record["base"][i] == pytest.approx(frame.groupby("prompt")[name].mean().mean())
        assert record["written"][i] == pytest.approx(rows[name].mean())
    sizes = frame.groupby("prompt")["humor"].transform("size")
    kl = (p * np.log(p * sizes)).groupby(frame["prompt"]).sum().mean()
    assert record["kl"] == pytest.approx(kl)
    assert (record["prompts"], record["single"]) == (40, 7)
    assert list(rows["prompt"]) == list(dict.fromkeys(frame["prompt"]))
    assert list(rows.columns) == [*frame.columns, CHANCE]
    expected = p.set_axis(frame["response"])[rows["response"]]
    np.testing.assert_allclose(rows[CHANCE], expected)


def test_draws_have_the_probabilities_of_the_policy(capsys, frame, table):
    """4000 draws of each prompt: the shares lie within five standard errors."""
    _, rows = chosen(capsys, table, *LAM, "--draws", "4000")
    assert list(rows["draw"][:4000]) == list(range(4000))
    shares = rows["response"].value_counts().reindex(frame["response"]).fillna(0) / 4000
    p = by_hand(frame).to_numpy()
    assert (np.abs(shares - p) <= 5 * np.sqrt(p * (1 - p) / 4000) + 1e-12).all()


def test_the_best_is_the_largest_sum_and_ties_are_drawn(capsys, frame, table):
    record, rows = chosen(capsys, table, *LAM, "--best")
    score = 1.5 * frame["humor"] + 0.5 * frame["helpful"]
    best = frame["response"][score.groupby(frame["prompt"], sort=False).idxmax()]
    assert list(rows["response"]) == list(best)
    assert (rows[CHANCE] == 1).all()
    sizes = frame.groupby("prompt").size()
    assert record["kl"] == pytest.approx((np.log(sizes) - 1 + 1 / sizes).mean())
    frame.assign(humor=0.0).to_parquet(table)
    seen = {
        tuple(chosen(capsys, table, "--lam", "humor=1", "--best", "--seed", seed)[1]["response"])
        for seed in (1, 2)
    }
    assert len(seen) == 2


def test_a_draw_depends_on_the_prompt_and_the_seed_alone(capsys, frame, table):
    _, whole = chosen(capsys, table, *LAM)
    other = frame[frame["prompt"].str.endswith("3")]
    other.to_parquet(table)
    _, some = chosen(capsys, table, *LAM)
    kept = whole[whole["prompt"].str.endswith("3")]
    assert list(some["response"]) == list(kept["response"])
    frame.to_parquet(table)
    _, another = chosen(capsys, table, *LAM, "--seed", "2")
    assert list(another["response"]) != list(whole["response"])
    assert uniform(1, "x", 0) == uniform(1, "x", 0) != uniform(1, "x", 1)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("split", ["all", "fit"])
def test_a_large_table_is_streamed_to_the_same_answers(
    capsys, frame, table, monkeypatch, ending, split
):
    arguments = (*LAM, "--draws", "2", "--split", split)
    if split == "fit":
        frame["split"] = np.where(frame["prompt"].str.len() % 2, "fit", "test")
        frame.to_parquet(table)
    record, rows = chosen(capsys, table, *arguments, ending=ending)
    monkeypatch.setattr(reading, "STREAM_CELLS", 10)
    monkeypatch.setattr(streamed_pool, "BATCH_ROWS", 7)
    again, same = chosen(capsys, table, *arguments, ending=ending)
    pd.testing.assert_frame_equal(same, rows)
    for name in ("expected", "se", "base", "written", "kl", "prompts", "single"):
        assert again[name] == pytest.approx(record[name])
    assert 0 < len(rows) == 2 * record["prompts"]


def test_prompts_whose_rows_are_apart_are_chosen_once(capsys, frame, table):
    frame.sample(frac=1, random_state=2).to_parquet(table)
    record, rows = chosen(capsys, table, *LAM)
    assert rows["prompt"].is_unique
    assert len(rows) == record["prompts"] == 40
    p = by_hand(frame).set_axis(frame["response"])
    np.testing.assert_allclose(rows[CHANCE], p[rows["response"]])


def test_a_palette_gives_the_lam_of_its_solution(capsys, frame, table, tmp_path):
    targets = ("--target", "humor=q60", "--target", "helpful=mean", "--scope", "prompt")
    record, rows = chosen(capsys, table, *targets)
    solved = json.loads(run(capsys, "solve", table, *targets, "--json")[1])
    assert record["lam"] == solved["lam"]
    assert record["expected"] == pytest.approx(solved["realised"], abs=1e-6)
    path = tmp_path / "solved.json"
    run(capsys, "solve", table, *targets, "-o", path)
    _, same = chosen(capsys, table, "--palette", path)
    pd.testing.assert_frame_equal(same, rows)


def test_an_infeasible_palette_writes_nothing(capsys, table, tmp_path):
    path = tmp_path / "none.parquet"
    arguments = ("choose", table, "--target", "humor=99", "--answers", path)
    status, out, _ = run(capsys, *arguments)
    assert status == 3
    assert "nothing is written" in out
    assert not path.exists()
    solved = tmp_path / "solved.json"
    run(capsys, "solve", table, "--target", "humor=99", "-o", solved)
    status, _, err = run(capsys, "choose", table, "--palette", solved, "--answers", path)
    assert status == 2
    assert "it has no λ" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no λ given; expected one of"),
        (("--lam", "humor=1", "--target", "humor=q60"), "--lam and --target given"),
        (("--lam", "humour=1"), "write 'humor'"),
        (("--lam", "n_tokens=1"), "no value"),
        (("--lam", "humor=1", "--draws", "0"), "--draws: 0; expected 1 or more"),
        (("--lam", "humor=1", "--draws", "2", "--best"), "expected 1 with --best"),
        (("--palette", "absent.json"), "--palette absent.json: cannot be read"),
    ],
)
def test_bad_input_of_choose_is_one_line(capsys, table, tmp_path, arguments, message):
    path = tmp_path / "none.csv"
    status, out, err = run(capsys, "choose", table, *arguments, "--answers", path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not path.exists()


def test_one_candidate_per_prompt_is_refused(capsys, frame, table, tmp_path):
    frame.drop_duplicates("prompt").to_parquet(table)
    path = tmp_path / "none.csv"
    status, _, err = run(capsys, "choose", table, *LAM, "--answers", path)
    assert status == 2
    assert "every prompt has one candidate" in err
    assert not path.exists()
    status, _, err = run(capsys, "choose", table, *LAM, "--answers", tmp_path / "a.txt")
    assert "expected a .parquet, .csv, .jsonl file" in err
