"""Bad input to a stage: one clear error, a non-zero exit, nothing half written, nothing lost."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polyalign.data.keys import prompt_id
from polyalign.data.specs import read_spec
from polyalign.data.tables import write_table

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


def call(script: str, settings: dict, inputs: dict[str, list[Path]], output: tuple[str, Path]):  # type: ignore[no-untyped-def]
    tokens = [f"{name}={path}" for name, paths in inputs.items() for path in paths]
    log = output[1].parent / "job.log"
    return subprocess.run(
        [
            *(sys.executable, SCRIPTS / f"{script}.py", "--settings", json.dumps(settings)),
            *("--input", *tokens, "--output", f"{output[0]}={output[1]}", "--log", log),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def refused(run: subprocess.CompletedProcess, output: Path, *words: str) -> None:  # type: ignore[type-arg]
    """One line on standard error that has all words; exit status 2; no output, no scratch file."""
    assert run.returncode == 2, run.stderr
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("\n") == 1
    for word in words:
        assert word in run.stderr
    left = {path.name for path in output.parent.iterdir()} if output.parent.is_dir() else set()
    assert output.name not in left
    assert not {name for name in left if name.startswith(f".{output.name}")}


@pytest.fixture
def samples() -> pd.DataFrame:
    texts = ["one", "one", "two", "two"]
    return pd.DataFrame(
        {
            "prompt_id": [prompt_id(text) for text in texts],
            "candidate": [0, 1, 0, 1],
            "prompt": texts,
            "response": list("abcd"),
            "split": ["fit", "fit", "test", "test"],
            "n_tokens": 1,
            "logprob": -1.0,
            "logprob_base": -1.0,
        }
    )


def scores(samples: pd.DataFrame, value: str = "humor") -> pd.DataFrame:
    return samples[["prompt_id", "candidate"]].assign(**{value: np.arange(len(samples)) * 1.0})


def merge(folder: Path, samples: pd.DataFrame, *tables: pd.DataFrame, models: str = "mm"):  # type: ignore[no-untyped-def]
    """Merge shards of scores; `models` has a letter a shard, for the model that scored it."""
    write_table(samples, folder / "samples.parquet", {"spec": {"temperature": 1.0}})
    paths = []
    for number, table in enumerate(tables):
        paths.append(folder / f"scores_{number}.parquet")
        write_table(table, paths[-1], {"value": "humor", "spec": {"content": models[number]}})
    out = folder / "out" / "rewards.parquet"
    inputs = {"samples": [folder / "samples.parquet"], "scores": paths}
    return call("merge", {"values": ["humor"]}, inputs, ("rewards", out)), out


def test_merge_joins_what_fits(tmp_path: Path, samples: pd.DataFrame) -> None:
    run, out = merge(tmp_path, samples, scores(samples)[2:], scores(samples)[:2])
    assert run.returncode == 0, run.stderr
    frame = pd.read_parquet(out).merge(scores(samples), on=["prompt_id", "candidate"])
    assert (frame["humor_x"] == frame["humor_y"]).all()
    values = {"humor": {"content": "m"}}
    assert read_spec(out) == {"sampling": {"temperature": 1.0}, "values": values}


def test_shards_that_two_models_scored(tmp_path: Path, samples: pd.DataFrame) -> None:
    run, out = merge(tmp_path, samples, scores(samples)[2:], scores(samples)[:2], models="mn")
    refused(run, out, "scores_1.parquet", "humor", "another content", "scores_0.parquet")


def test_scores_without_a_specification(tmp_path: Path, samples: pd.DataFrame) -> None:
    for name, table in (("samples", samples), ("scores", scores(samples))):
        write_table(table, tmp_path / f"{name}.parquet", {})
    out = tmp_path / "out" / "rewards.parquet"
    inputs = {name: [tmp_path / f"{name}.parquet"] for name in ("samples", "scores")}
    run = call("merge", {"values": ["humor"]}, inputs, ("rewards", out))
    refused(run, out, "samples.parquet", "carries no specification")


def test_missing_table(tmp_path: Path) -> None:
    out = tmp_path / "out" / "palette.json"
    settings = {"palette": "p", "levels": {"humor": 1}, "scope": "joint"}
    settings["if_infeasible"] = {"on_infeasible": "fail"}
    run = call("solve", settings, {"pool": [tmp_path / "no.parquet"]}, ("palette", out))
    refused(run, out, "no.parquet", "no such table")


def test_truncated_table(tmp_path: Path, samples: pd.DataFrame) -> None:
    whole = tmp_path / "pool.parquet"
    write_table(samples, whole, {})
    whole.write_bytes(whole.read_bytes()[:-200])
    out = tmp_path / "out" / "palette.json"
    settings = {"palette": "p", "levels": {"humor": 1}, "scope": "joint"}
    settings["if_infeasible"] = {"on_infeasible": "fail"}
    run = call("solve", settings, {"pool": [whole]}, ("palette", out))
    refused(run, out, "pool.parquet", "truncated")


def test_a_reward_that_is_not_a_number(tmp_path: Path, samples: pd.DataFrame) -> None:
    table = scores(samples)
    table.loc[2, "humor"] = np.nan
    run, out = merge(tmp_path, samples, table)
    refused(run, out, "scores_0.parquet", "humor", "row 2", str(table["prompt_id"][2]))


def test_rows_that_do_not_join(tmp_path: Path, samples: pd.DataFrame) -> None:
    run, out = merge(tmp_path, samples, scores(samples)[:3])
    refused(run, out, "scores_0.parquet", "does not join", str(samples["prompt_id"][3]))


def test_repeated_rows(tmp_path: Path, samples: pd.DataFrame) -> None:
    run, out = merge(tmp_path, samples, pd.concat([scores(samples), scores(samples)[:1]]))
    refused(run, out, "occurs twice", str(samples["prompt_id"][0]))


def test_a_prompt_without_candidates_to_choose_from(tmp_path: Path, samples: pd.DataFrame) -> None:
    pool = samples.assign(humor=1.0).drop(index=3)
    write_table(pool, tmp_path / "pool.parquet", {"spec": {}})
    palette = tmp_path / "palette.json"
    palette.write_text(json.dumps({"status": "solved", "values": ["humor"], "lam": [1.0]}))
    out = tmp_path / "out" / "rewards.parquet"
    settings = {"family": "map-d", "policy": "map-d/p", "seed": 1, "settings": {"draws": 1}}
    inputs = {"pool": [tmp_path / "pool.parquet"], "palette": [palette]}
    run = call("decode", settings, inputs, ("rewards", out))
    refused(run, out, "at least 2 candidates")


def test_an_unreadable_model_folder(tmp_path: Path, samples: pd.DataFrame) -> None:
    write_table(samples, tmp_path / "samples.parquet", {})
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{")
    out = tmp_path / "out" / "scores.parquet"
    spec = {"kind": "sequence_classifier", "model": str(model)}
    inputs = {"samples": [tmp_path / "samples.parquet"]}
    run = call("annotate", {"value": "humor", "spec": spec}, inputs, ("scores", out))
    refused(run, out, "model", "correct the path, or restore the original")
    assert "delete" not in run.stderr


def test_an_earlier_output_survives_a_failed_job(tmp_path: Path, samples: pd.DataFrame) -> None:
    run, out = merge(tmp_path, samples, scores(samples))
    before = out.read_bytes()
    table = scores(samples)
    table.loc[0, "humor"] = np.inf
    run, out = merge(tmp_path, samples, table)
    assert run.returncode == 2
    assert out.read_bytes() == before
