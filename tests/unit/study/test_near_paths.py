"""Paths that are nearly right are told from names on the hub."""

from pathlib import Path

import pytest

from polyalign.study import ConfigError, load
from polyalign.study.checks import similar_path


def test_the_nearest_path_here(text: str) -> None:
    assert similar_path("data/tiny_clasifier") == "data/tiny_classifier"
    assert similar_path("dta/hh/trian.jsonl") == "data/hh/train.jsonl"
    assert similar_path("data/quite/other") is None
    assert similar_path("data/hh") == "data/hh"


def test_a_name_on_the_hub_below_a_folder_of_that_name(
    text: str, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder `owner` here makes `owner/model` a path, unless the hub's cache has the model."""
    text = text.replace("source: results/small/models/base/base", "source: owner/model")
    assert load(write(text)).model is not None
    (tmp_path / "owner").mkdir()
    with pytest.raises(ConfigError, match="'owner' is a folder here"):
        load(write(text))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "hub/models--owner--model").mkdir(parents=True)
    assert load(write(text)).model is not None


def test_changes_replace_keys_section_by_section(text: str, write) -> None:
    study = load(write(text), {"seed": 9, "sampling": {"shards": 3}})
    assert (study.seed, study.sampling.shards, study.sampling.candidates) == (9, 3, 16)
    with pytest.raises(ConfigError, match="no key 'sed'"):
        load(write(text), {"sed": 1})
