"""Annotation with the cache, and what a rewards table says of how it came about."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polyalign.data.cut_off import unread, unread_warnings
from polyalign.data.keys import content_key, prompt_id
from polyalign.data.specs import common_spec, imported_spec, read_spec, rewards_record
from polyalign.data.tables import write_table
from polyalign.errors import InputError
from polyalign.rewards import Score
from polyalign.rewards.annotate import annotate
from polyalign.rewards.score_cache import ScoreCache


class Counting(Score):
    """A reward that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        self.asked += list(zip(prompts, responses, strict=True))
        return np.array([len(text) / 3 for text in responses])


def samples(*pairs: tuple[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(pairs, columns=["prompt", "response"])
    frame["prompt_id"] = frame["prompt"].map(prompt_id)
    frame["candidate"] = frame.groupby("prompt_id").cumcount()
    return frame


ONE = [("p", "a"), ("p", "bb"), ("q", "a"), ("p", "a")]
TWO = [("q", "a"), ("q", "dddd")]


def cache(folder: Path, name: str = "spec") -> ScoreCache:
    return ScoreCache(folder, name, {"spec": name})


def test_a_text_is_scored_once_within_and_between_policies(tmp_path: Path) -> None:
    score = Counting()
    first = annotate(samples(*ONE), "v", score, cache(tmp_path))
    assert score.asked == [("p", "a"), ("p", "bb"), ("q", "a")]
    second = annotate(samples(*TWO), "v", score, cache(tmp_path))
    assert score.asked[3:] == [("q", "dddd")]
    assert first["v"].tolist() == [1 / 3, 2 / 3, 1 / 3, 1 / 3]
    assert second["v"].tolist() == [1 / 3, 4 / 3]
    fresh = annotate(samples(*ONE), "v", Counting())
    pd.testing.assert_frame_equal(first, fresh)


def test_a_value_of_the_response_alone_scores_it_once_whatever_it_answers(tmp_path: Path) -> None:
    score = Counting()
    first = annotate(samples(*ONE), "v", score, cache(tmp_path), reads_prompt=False)
    assert [response for _, response in score.asked] == ["a", "bb"]
    annotate(samples(*TWO), "v", score, cache(tmp_path), reads_prompt=False)
    assert [response for _, response in score.asked[2:]] == ["dddd"]
    pd.testing.assert_frame_equal(first, annotate(samples(*ONE), "v", Counting()))


def test_another_specification_shares_nothing(tmp_path: Path) -> None:
    score = Counting()
    for name in ("one", "other"):
        annotate(samples(*ONE), "v", score, cache(tmp_path, name))
    assert len(score.asked) == 6


def test_a_killed_job_keeps_what_it_had_scored(tmp_path: Path) -> None:
    class Killed(Counting):
        def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().__call__(prompts, responses)

    with pytest.raises(KeyboardInterrupt):
        annotate(samples(*ONE), "v", Killed(), cache(tmp_path), at_once=1)
    score = Counting()
    annotate(samples(*ONE), "v", score, cache(tmp_path))
    assert score.asked == [("q", "a")]


def test_what_is_not_finite_is_refused_and_not_kept(tmp_path: Path) -> None:
    class Broken(Score):
        def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
            return np.array([np.inf if text == "bb" else 1.0 for text in responses])

    with pytest.raises(InputError, match=rf"'v' is .*inf.* in row 1 \(prompt_id {prompt_id('p')}"):
        annotate(samples(*ONE), "v", Broken(), cache(tmp_path))
    assert set(cache(tmp_path).read().index) == {content_key("p", "a"), content_key("q", "a")}


class Short(Counting):
    """A reward whose model reads two characters."""

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        self.was_cut = [len(text) > 2 for text in responses]
        return super().__call__(prompts, responses)


def test_texts_that_a_model_could_not_read_whole_are_counted_in_every_table(tmp_path: Path) -> None:
    """Whether they are scored now or were before; equal samples count each."""
    pairs = [("p", "aaa"), ("p", "bb"), ("q", "aaa"), ("p", "aaa"), ("q", "cccc")]
    kept = annotate(samples(*pairs[:3]), "v", Short(), cache(tmp_path))
    score = Short()
    some = annotate(samples(*pairs), "v", score, cache(tmp_path), at_once=1)
    assert score.asked == [("q", "cccc")]
    assert annotate(samples(*pairs), "v", Counting(), cache(tmp_path)).attrs["cut"] == 4
    assert annotate(samples(*pairs), "v", Counting()).attrs["cut"] == 0
    assert (kept.attrs["cut"], some.attrs["cut"]) == (2, 4)
    paths = [tmp_path / f"{place}.parquet" for place in range(3)]
    for path, value, cut in zip(paths, "vvw", (2, 4, 0), strict=True):
        record = {"value": value, "spec": {}, "cut": {value: [cut, 5]}}
        write_table(samples(*ONE), path, record)
    write_table(samples(*ONE), tmp_path / "merged.parquet", rewards_record(paths[:1], paths))
    assert unread([tmp_path / "merged.parquet"]) == {"v": (6, 10)}
    (said,) = unread_warnings({"x/y": {"v": (6, 10)}, "z/z": {}}, {"v": "Wit", "w": "Care"})
    assert said.startswith("Wit: 6 of 10 texts of x/y are longer than its model reads and were")


def test_keys_tell_prompt_and_response_apart() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")
    assert content_key('a", "b', "c") != content_key("a", 'b", "c')


def test_a_merged_table_says_how_it_came_about(tmp_path: Path) -> None:
    frame = samples(*ONE)
    paths = {name: tmp_path / f"{name}.parquet" for name in ("s0", "s1", "v0", "v1", "w0")}
    for name, path in paths.items():
        value = {"v": "humor", "w": "helpful"}.get(name[0])
        spec = {"content": value, "index": 1} if value else {"temperature": 1.0}
        write_table(frame, path, {"value": value, "spec": spec})
    record = rewards_record([paths["s0"], paths["s1"]], [paths["v0"], paths["w0"], paths["v1"]])
    assert record["spec"] == {
        "sampling": {"temperature": 1.0},
        "values": {
            "humor": {"content": "humor", "index": 1},
            "helpful": {"content": "helpful", "index": 1},
        },
    }
    write_table(frame, paths["s1"], {"spec": {"temperature": 0.9}})
    with pytest.raises(InputError, match=r"s1\.parquet: samples was made with another temp"):
        rewards_record([paths["s0"], paths["s1"]], [paths["v0"]])


def test_a_table_without_a_specification_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    write_table(samples(*ONE), path, {})
    for read in (read_spec, lambda path: common_spec([path], "samples")):
        with pytest.raises(InputError, match=r"old\.parquet: carries no specification"):
            read(path)


def test_an_imported_table_is_its_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("prompt,wit\nhi,1\n")
    spec = imported_spec(path, {"humor": "wit"})
    assert spec["values"] == {
        "humor": {"kind": "column", "column": "wit", "sign": 1, "above": None}
    }
    turned = imported_spec(path, {"humor": "wit"}, ["humor"])
    assert turned["values"]["humor"]["sign"] == -1
    assert spec["sampling"]["imported"] == "scores.csv"
    path.write_text("prompt,wit\nhi,2\n")
    assert imported_spec(path, {"humor": "wit"})["sampling"] != spec["sampling"]
