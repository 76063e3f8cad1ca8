"""Preference pairs: formats, cutting, counting, mixing, and the published prompt list."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from polyalign.data.chats import dialogue as dialogue_of
from polyalign.data.pair_counts import COUNTS, said_of
from polyalign.data.pair_forms import Pair, Reading, pairs_of
from polyalign.data.preferences import (
    COLUMNS,
    END_COLUMNS,
    Pairs,
    _read_hub,
    apportion,
    cut,
    mixture,
    read_pairs,
)
from polyalign.data.prompts import source_prompts
from polyalign.errors import InputError

REFERENCE = Path(__file__).parents[3] / "../shared/reference"


def dialogue(prompt: str, response: str, rest: str = "") -> str:
    return f"\n\nHuman: {prompt}\n\nAssistant: {response}{rest}"


def write_jsonl(path: Path, rows: list) -> Path:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as stream:
        stream.writelines((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    return path


def frame(name: str, rows: int) -> pd.DataFrame:
    return pd.DataFrame(
        {column: [f"{name} {column} {i}" for i in range(rows)] for column in
         ("prompt", "chosen", "rejected")}
    )  # fmt: skip


def test_cut_keeps_spacing_and_short_texts():
    assert cut("one  two\nthree four", 3) == "one  two\nthree"
    assert cut(" one two ", 5) == "one two"


def hh(tmp_path: Path, *rows: tuple[str, str]) -> Pairs:
    """Pairs of transcripts, read from a file."""
    lines = [{"chosen": chosen, "rejected": rejected} for chosen, rejected in rows]
    return read_pairs(write_jsonl(tmp_path / "hh.jsonl", lines))


def test_a_dialogue_of_one_turn_is_a_prompt_and_two_answers(tmp_path):
    rest = "\n\nHuman: more\n\nAssistant: no"
    pairs = hh(tmp_path, (dialogue("hi\n\nthere", "hello Human: you", rest),
                          dialogue("hi\n\nthere", "go away")))  # fmt: skip
    assert pairs.frame[COLUMNS].iloc[0].tolist() == ["hi\n\nthere", "hello Human: you", "go away"]
    assert pairs.counts["later_turn"] == 0


def test_the_answers_are_the_first_that_differ_and_the_prompt_is_all_before(tmp_path):
    """Where nothing is said, or something else is asked, a dialogue is over."""
    shared = "\n\nHuman: b?\n\nAssistant: B\n\nHuman: c?\n\nAssistant:"
    later = "a?\n\nAssistant: A\n\nHuman: b?\n\nAssistant: B\n\nHuman: c?"
    asked = "\n\nHuman: x?\n\nAssistant: good", "\n\nHuman: y?\n\nAssistant: bad"
    pairs = hh(
        tmp_path,
        (dialogue("a?", "A", f"{shared} good\n\nHuman: d?"), dialogue("a?", "A", f"{shared} bad")),
        (dialogue("s?", "good"), dialogue("s?", "bad")),
        (dialogue("a?", "A", asked[0]), dialogue("a?", "A", asked[1])),
        (dialogue("a?", "A", f"{shared} good"), dialogue("a?", "A", f"{shared} ")),
        (dialogue("a?", "A", f"{shared} good"), dialogue("a?", "A")),
    )
    assert pairs.frame[COLUMNS[1:]].values.tolist() == [["good", "bad"]] * 2
    assert list(map(dialogue_of, pairs.frame["prompt"])) == [later, "s?"]
    none = dict.fromkeys(COUNTS, 0)
    assert pairs.counts == {
        **none, "read": 5, "malformed": 1, "asked": 1, "equal": 1, "kept": 2, "later_turn": 1,
        "goes_on": 1,
    }  # fmt: skip
    lost, later_turn, _ = said_of(pairs.counts)
    assert lost.startswith("3 of 5 pairs cannot be used")
    assert later_turn.startswith("1 of 2 pairs differ in a later turn")


@pytest.mark.parametrize(
    "text",
    ["", "plain", dialogue("", "x"), dialogue("x", ""), "\n\nAssistant: a\n\nHuman: b",
     "\n\nHuman: a\n\nHuman: b\n\nAssistant: c", "before" + dialogue("a", "b")],
)  # fmt: skip
def test_malformed_text_is_no_pair(tmp_path, text):
    good = dialogue("x", "yes"), dialogue("x", "no")
    for other in ((text, good[1]), (good[0], text)):
        counts = hh(tmp_path, good, other).counts
        assert (counts["malformed"], counts["kept"]) == (1, 1)


def test_reads_hh_folder_and_counts_every_row(tmp_path):
    rows = [
        {"chosen": dialogue("p1", "good"), "rejected": dialogue("p1", "bad")},
        {"chosen": dialogue("p2", "same"), "rejected": dialogue("p2", "same")},
        {"chosen": dialogue("p3", "a b c d"), "rejected": dialogue("p3", "a b c e")},
        {"chosen": dialogue("p4", "good"), "rejected": dialogue("another", "bad")},
        {"chosen": dialogue("p5", "good")},
        {"chosen": "no turns", "rejected": "none"},
        "{broken",
        ["a list"],
        {"chosen": 1, "rejected": 2},
    ]  # fmt: skip
    write_jsonl(tmp_path / "train.jsonl.gz", rows)
    counts = {**dict.fromkeys(COUNTS, 0), "read": 9, "malformed": 5, "asked": 1, "equal": 1}
    assert read_pairs(tmp_path).counts == {**counts, "kept": 2}
    pairs = read_pairs(tmp_path, max_words=3)
    assert pairs.counts == {**counts, "equal": 2, "kept": 1}
    assert pairs.frame[COLUMNS].values.tolist() == [["p1", "good", "bad"]]


def test_nothing_is_cut_unless_asked_for_and_cuts_are_counted(tmp_path):
    """Answers alike in their first words are equal only if the rest is cut off."""
    text = " ".join(map(str, range(200)))
    rows = [{"prompt": "a b c d", "chosen": "yes", "rejected": "no"},
            {"prompt": "q", "chosen": f"{text} yes", "rejected": f"{text} no"},
            {"prompt": "q", "chosen": f"x {text}", "rejected": "short"},
            {"prompt": "q", "chosen": "short", "rejected": f"x {text}"},
            {"prompt": "q", "chosen": "long enough?", "rejected": "short"}]  # fmt: skip
    file = write_jsonl(tmp_path / "pairs.jsonl", rows)
    whole = read_pairs(file)
    assert whole.frame[COLUMNS].to_dict("records") == rows
    assert said_of(whole.counts) == []
    short = read_pairs(file, max_words=3)
    assert short.counts["equal"] == 1
    assert short.counts["cut"] == 3
    assert short.frame["prompt"].tolist() == ["a b c", "q", "q", "q"]
    assert short.frame[END_COLUMNS].values.tolist() == [
        [None, None], ["", None], [None, ""], [None, None]
    ]  # fmt: skip
    assert said_of(short.counts)[1].startswith("3 of 4 pairs are cut to max_words")


def test_half_a_character_is_replaced_and_whole_ones_are_kept(tmp_path):
    """`json` escapes an emoji as two surrogates; a lone one is no character."""
    line = r'{"prompt": "a \ud83d b", "chosen": "\ud83d\ude00", "rejected": "\\ud83d \ude00"}'
    pairs = read_pairs(write_jsonl(tmp_path / "half.jsonl", [line])).frame
    assert pairs[COLUMNS].iloc[0].tolist() == ["a \ufffd b", "\U0001f600", "\\ud83d \ufffd"]
    for text in pairs[COLUMNS].iloc[0]:
        text.encode()


def test_reads_plain_jsonl_and_the_split_asked(tmp_path):
    rows = [{"prompt": " q ", "chosen": "Human: fine", "rejected": "no"},
            {"prompt": "", "chosen": "a", "rejected": "b"}]  # fmt: skip
    write_jsonl(tmp_path / "test.jsonl", rows)
    pairs = read_pairs(tmp_path, split="test")
    assert pairs.frame[COLUMNS].iloc[0].tolist() == ["q", "Human: fine", "no"]
    assert pairs.counts["malformed"] == 1
    assert source_prompts(str(tmp_path / "test.jsonl"), "test", seed=0).texts == [" q "]
    with pytest.raises(InputError, match=r"no train\.jsonl"):
        read_pairs(tmp_path)


def test_a_single_file_is_divided_by_prompt(tmp_path):
    rows = [{"prompt": f"question {n // 3}", "chosen": f"a {n}", "rejected": "b"}
            for n in range(900)]  # fmt: skip
    file = write_jsonl(tmp_path / "pairs.jsonl", rows)
    read = {split: read_pairs(file, split=split, held_out=0.1) for split in ("train", "test")}
    prompts = {split: set(pairs.frame["prompt"]) for split, pairs in read.items()}
    assert not prompts["train"] & prompts["test"]
    assert len(prompts["train"] | prompts["test"]) == 300
    assert 15 <= len(prompts["test"]) <= 45
    for split, other in (("train", "test"), ("test", "train")):
        assert read[split].counts["kept"] == 3 * len(prompts[split])
        assert read[split].counts["other_split"] == 3 * len(prompts[other])
        assert read_pairs(file, split=split).counts["kept"] == 900
    one = write_jsonl(tmp_path / "one.jsonl", rows[3:6])
    with pytest.raises(InputError, match="none of its 3 usable pairs falls into the test"):
        read_pairs(one, split="test", held_out=0.1)


def test_a_hub_data_set_is_read_by_folder_and_split(tmp_path, monkeypatch):
    """`datasets` takes a folder of the data set's name for the data set: all but the download."""
    import datasets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    source = "Anthropic/hh-rlhf/harmless-base"
    folders = {name: tmp_path / "Anthropic/hh-rlhf" / name for name in ("harmless-base", "other")}
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        for split in ("train", "test"):
            row = {"chosen": f"{name} {split}", "rejected": "b"}
            with gzip.open(folder / f"{split}.jsonl.gz", "wt") as file:
                file.write(json.dumps(row) + "\n")
    assert list(_read_hub(source, "test")) == [{"chosen": "harmless-base test", "rejected": "b"}]
    assert [row["chosen"] for row in _read_hub(source, "train")] == ["harmless-base train"]
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    other = [talk[0], {"role": "assistant", "content": "b"}]
    rows = pd.DataFrame({"chosen": [talk] * 2, "rejected": [other] * 2})
    (tmp_path / "me/chat").mkdir(parents=True)
    rows.to_parquet(tmp_path / "me/chat/train-00000-of-00001.parquet")
    assert (
        list(pairs_of(_read_hub("me/chat", "train"), Reading("chat"))) == [Pair("q", "a", "b")] * 2
    )
    with pytest.raises(InputError, match=r"harmless-base: neither .* with a split 'validation'"):
        list(_read_hub(source, "validation"))
    with pytest.raises(InputError, match=r"hh-rlhf/absent: neither .*check the name"):
        list(_read_hub("Anthropic/hh-rlhf/absent", "train"))


def test_says_what_is_wrong_with_a_source(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_pairs(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="no usable pair"):
        read_pairs(write_jsonl(tmp_path / "bad.jsonl", ["{}"]))
    whole = write_jsonl(tmp_path / "whole.jsonl.gz", [{"chosen": "x" * i} for i in range(500)])
    (tmp_path / "cut.jsonl.gz").write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(tmp_path / "cut.jsonl.gz")
    (tmp_path / "table.csv").write_text("a")
    with pytest.raises(InputError, match="unknown format"):
        read_pairs(tmp_path / "table.csv")


def test_apportion_is_exact_by_largest_remainder():
    assert apportion({"a": 0.1, "b": 0.9}, 1000) == {"a": 100, "b": 900}
    assert apportion({"a": 0.3, "b": 0.7}, 10) == {"a": 3, "b": 7}
    assert apportion({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, 10) == {"a": 4, "b": 3, "c": 3}
    assert sum(apportion({"a": 0.15, "b": 0.25, "c": 0.6}, 7).values()) == 7
    with pytest.raises(InputError, match="sum to"):
        apportion({"a": 0.5, "b": 0.6}, 10)


def test_mixture_is_exact_seeded_and_without_repeats():
    sources = {"harmless": frame("harmless", 50), "helpful": frame("helpful", 90)}
    shares = {"harmless": 0.1, "helpful": 0.9}
    mixed = mixture(sources, shares, 75, seed=1)
    assert mixed["source"].value_counts().to_dict() == {"helpful": 67, "harmless": 8}
    assert mixed["prompt"].is_unique
    assert mixed["source"].iloc[:8].nunique() == 2, "the order is not by source"
    assert mixed.equals(mixture(sources, dict(reversed(shares.items())), 75, seed=1))
    assert not mixed.equals(mixture(sources, shares, 75, seed=2))
    larger = mixture(sources, {"harmless": 0.5, "helpful": 0.5}, 75, seed=1)
    few = set(mixed.loc[mixed["source"] == "harmless", "prompt"])
    assert few < set(larger["prompt"])


def test_mixture_of_three_and_its_refusals():
    sources = {name: frame(name, 30) for name in "abc"}
    mixed = mixture(sources, {"a": 0.2, "b": 0.3, "c": 0.5}, 10, seed=0)
    assert mixed["source"].value_counts().to_dict() == {"c": 5, "b": 3, "a": 2}
    with pytest.raises(InputError, match=r"'a' has 30 pairs but 40"):
        mixture(sources, {"a": 1.0}, 40, seed=0)
    with pytest.raises(InputError, match="no source 'd'"):
        mixture(sources, {"d": 1.0}, 1, seed=0)


def test_the_harmless_test_split_is_read_whole():
    """Every pair whose last answers differ, by `rpartition`, except where one says nothing."""
    file = REFERENCE / "hh-harmless-test.jsonl.gz"
    if not file.is_file():
        pytest.skip("the reference data are not beside this checkout")
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    sides = [[row[name].rpartition("\n\nAssistant:") for name in COLUMNS[1:]] for row in rows]
    answers = [(one[2].strip(), two[2].strip()) for one, two in sides]
    last = [
        one[0] == two[0] and texts[0] != texts[1]
        for (one, two), texts in zip(sides, answers, strict=True)
    ]
    silent = [not all(texts) for texts in answers]
    pairs = read_pairs(file, split="test")
    counts = pairs.counts
    assert (counts["read"], sum(last), sum(silent)) == (2312, 2307, 4)
    assert (counts["kept"], counts["malformed"]) == (2308, 4)
    kept = set(zip(pairs.frame["chosen"], pairs.frame["rejected"], strict=True))
    for row, differ in enumerate(last):
        assert not differ or (answers[row] in kept) != silent[row], row
    assert counts["later_turn"] > 1600, "most pairs differ only after the first exchange"
    first = read_pairs(file, split="test", turns="first").counts
    assert (first["equal"], first["later_turn"]) == (1650, 0)
    assert first["kept"] + first["equal"] + first["malformed"] == 2312
