"""Formats of input files, told by their names."""

from pathlib import Path

import pytest

from polyalign.data.formats import PROMPT_TABLE_FILES, has_splits, split_file


def test_jsonl_prompts_are_read_as_preference_pairs() -> None:
    assert set(PROMPT_TABLE_FILES) == {".csv", ".json"}


@pytest.mark.parametrize("file", ["pairs.jsonl", "pairs.jsonl.gz", "pairs.parquet"])
def test_only_a_single_file_has_no_test_pairs(file: str) -> None:
    assert not has_splits(f"data/{file}")
    assert has_splits("data/folder")
    assert has_splits("owner/name")


def test_the_file_of_a_split_may_be_compressed(tmp_path: Path) -> None:
    assert split_file(tmp_path, "train") is None
    (tmp_path / "train.jsonl").write_text("")
    assert split_file(tmp_path, "train") == tmp_path / "train.jsonl"
    (tmp_path / "train.jsonl.gz").write_text("")
    assert split_file(tmp_path, "train") == tmp_path / "train.jsonl.gz"
