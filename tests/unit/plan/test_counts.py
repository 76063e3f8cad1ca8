"""What a study reads, counted before it runs."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from polyalign.plan import counts
from polyalign.plan.counts import Texts
from polyalign.study import load


def jsonl(rows: list[dict[str, str]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


PROMPTS = [{"prompt": text} for text in ("a" * 40, "b" * 80, "a" * 40)]


def test_prompts_of_a_local_file_are_counted_once_each(tmp_path: Path, text: str, write) -> None:
    (tmp_path / "data/hh/test.jsonl").write_text(jsonl(PROMPTS), encoding="utf-8")
    found = counts.counts(load(write(text)))
    # 160 characters in 3 texts.
    assert found.prompts == Texts(2, pytest.approx(160 / 3 / counts.CHARACTERS))
    assert not any("prompts" in sentence for sentence in found.assumed)


def test_the_limit_counts(tmp_path: Path, text: str, write) -> None:
    (tmp_path / "data/hh/test.jsonl").write_text(jsonl(PROMPTS), encoding="utf-8")
    limited = text.replace("  test_share: 0.4", "  test_share: 0.4\n  limit: 1")
    assert counts.counts(load(write(limited))).prompts.number == 1


def test_a_hub_data_set_is_assumed_and_named(text: str, write) -> None:
    hub = text.replace("data/hh, split: test", "owner/prompts, split: test")
    found = counts.counts(load(write(hub)))
    assert found.prompts.number == 2000
    sentence = "owner/prompts is not a local file: 2000 prompts assumed"
    assert found.assumed[sentence] == counts.GUESSED
    limited = hub.replace("  test_share: 0.4", "  test_share: 0.4\n  limit: 300")
    found = counts.counts(load(write(limited)))
    assert found.prompts.number == 300
    sentence = "owner/prompts is not a local file: 300 prompts assumed (prompts.limit)"
    assert found.assumed[sentence] == counts.BOUNDED


def test_pairs_and_labels_are_counted_as_training_reads_them(
    tmp_path: Path, text: str, write
) -> None:
    """The same pairs as a folder and as one file, of which a tenth of the prompts is held out."""
    rows = [
        {"prompt": f"{number:04d}", "chosen": "yes", "rejected": "indeed"} for number in range(200)
    ]
    (tmp_path / "data/hh/train.jsonl").write_text(jsonl(rows), encoding="utf-8")
    (tmp_path / "data/one.jsonl").write_text(jsonl(rows), encoding="utf-8")
    labels = "text,label,split\nhaha,1,train\nno,0,train\nha,1,test\n"
    (tmp_path / "data/humor.csv").write_text(labels, encoding="utf-8")
    one = text.replace("results/small/world/hh/harmless-base", "data/one.jsonl")
    found = counts.counts(load(write(one)))
    # 4 characters of prompt; 3 or 6 of the response.
    assert found.pairs["helpful"] == Texts(200, 8.5 / counts.CHARACTERS)
    assert 160 < found.pairs["harmless"].number < 200
    assert found.labels == {"humor": Texts(2, 1.0)}


def test_what_the_sandbox_will_write_follows_from_its_config(text: str, write) -> None:
    made = text.replace("sandbox: {steps: 10}", "sandbox: {steps: 10, pairs: 600}")
    made = made.replace("data/hh", "results/small/world/hh/helpful-base")
    made = made.replace("data/humor.csv", "results/small/world/humor.jsonl")
    found = counts.counts(load(write(made)))
    assert found.prompts.number == 300
    assert {texts.number for texts in found.pairs.values()} == {600}
    assert found.labels["humor"].number == 1200
    assert found.assumed == {}


def test_a_large_file_is_counted_by_its_rows(
    tmp_path: Path, text: str, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data/hh/test.jsonl").write_text(jsonl(PROMPTS), encoding="utf-8")
    (tmp_path / "data/hh/train.jsonl").write_text(jsonl(PROMPTS), encoding="utf-8")
    monkeypatch.setattr(counts, "SMALL", 10)
    found = counts.counts(load(write(text)))
    assert (found.prompts.number, found.pairs["helpful"].number) == (3, 3)
    assert any("is large" in sentence for sentence in found.assumed)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl", "t.jsonl.gz", "t.json"])
def test_rows_of_each_format(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"prompt": ["one", "two\nlines", "three"]})
    path = tmp_path / name
    if name.endswith(".csv"):
        frame.to_csv(path, index=False)
    elif name.endswith(".parquet"):
        frame.to_parquet(path)
    elif name.endswith(".json"):
        frame.to_json(path, orient="records")
    else:
        lines = frame.to_json(orient="records", lines=True)
        with gzip.open(path, "wt") if name.endswith(".gz") else path.open("w") as stream:
            stream.write(lines)
    assert counts.rows_of_file(path) == 3


def test_a_template_counts_without_its_prompt() -> None:
    assert counts.template_tokens("Human: {prompt} Assistant:") == 18 / counts.CHARACTERS
    assert counts.template_tokens("chat") == counts.CHAT
