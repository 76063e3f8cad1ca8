"""Pairs in every published form, against pairs by hand and against trl's own readers."""

import copy
import json
from pathlib import Path

import pandas as pd
import pytest
from trl import extract_prompt
from trl.data_utils import maybe_convert_to_chatml, maybe_extract_prompt

from polyalign.data.chats import prompt_of, turns_of
from polyalign.data.pair_counts import COUNTS, said_of
from polyalign.data.pair_forms import prompt_of_row
from polyalign.data.preferences import Pairs, read_pairs
from polyalign.data.prompts import source_prompts
from polyalign.errors import InputError


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}
SHARED = [user("Is tea good?"), answer("It is."), user("Why?")]
GOOD, BAD = answer("It warms."), answer("Go away.")

EXPLICIT = [
    {"prompt": SHARED, "chosen": [GOOD], "rejected": [BAD]},
    {"prompt": [SYSTEM, user("Why?")], "chosen": [GOOD], "rejected": [BAD]},
    {"prompt": [user("Why?")], "chosen": [GOOD], "rejected": [BAD]},
]
IMPLICIT = [
    {"chosen": [*SHARED, GOOD], "rejected": [*SHARED, BAD]},
    {"chosen": [SYSTEM, user("Why?"), GOOD], "rejected": [SYSTEM, user("Why?"), BAD]},
    {"chosen": [user("Why?"), GOOD], "rejected": [user("Why?"), BAD]},
]
BINARIZED = [{"prompt": "Why?", **row} for row in IMPLICIT[2:]]
"""UltraFeedback's: the text of the prompt, and whole conversations."""
SHAREGPT = [
    {name: [{"from": one["role"], "value": one["content"]} for one in turns]
     for name, turns in row.items()} for row in IMPLICIT
]  # fmt: skip
PROMPTS = [SHARED, [SYSTEM, user("Why?")], [user("Why?")]]


def write(path: Path, rows: list) -> Path:
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def read(tmp_path: Path, rows: list, **options) -> Pairs:
    return read_pairs(write(tmp_path / "pairs.jsonl", rows), **options)


def found(pairs: Pairs) -> list[list[str]]:
    return pairs.frame[["prompt", "chosen", "rejected"]].values.tolist()


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("rows", "prompts"),
    [(EXPLICIT, PROMPTS), (IMPLICIT, PROMPTS), (BINARIZED, PROMPTS[2:]), (SHAREGPT, PROMPTS)],
    ids=["explicit", "implicit", "UltraFeedback", "ShareGPT"],
)
def test_messages_are_read_as_by_hand_and_as_trl_reads_them(tmp_path, ending, rows, prompts):
    pairs = read_pairs(write(tmp_path / f"pairs.{ending}", rows))
    by_hand = [[prompt_of(turns), "It warms.", "Go away."] for turns in prompts]
    assert found(pairs) == by_hand
    theirs = [maybe_extract_prompt(maybe_convert_to_chatml(copy.deepcopy(row))) for row in rows]
    ours = [
        {"prompt": turns_of(prompt), "chosen": [answer(chosen)], "rejected": [answer(rejected)]}
        for prompt, chosen, rejected in found(pairs)
    ]
    assert ours == theirs
    assert pairs.counts == {
        **dict.fromkeys(COUNTS, 0), "read": len(rows), "kept": len(rows),
        "later_turn": int(SHARED in prompts),
    }  # fmt: skip
    assert [one.prompt for row in rows if (one := prompt_of_row(row, first_turn=False))] == [
        prompt for prompt, _, _ in by_hand
    ]


def test_transcripts_are_read_as_trl_reads_them(tmp_path):
    before = "\n\nHuman: Is tea good?\n\nAssistant: It is.\n\nHuman: Why?\n\nAssistant: "
    row = {"chosen": f"{before}It warms.", "rejected": f"{before}Go away."}
    ((prompt, chosen, rejected),) = found(read(tmp_path, [row]))
    theirs = extract_prompt(row)
    assert [theirs["chosen"].strip(), theirs["rejected"].strip()] == [chosen, rejected]
    assert theirs["prompt"].rstrip() == before.rstrip()
    assert turns_of(prompt) == SHARED
    ((prompt, *_),) = found(read(tmp_path, [{**row, "rejected": f"{before[:40]}x"}], turns="first"))
    assert prompt == "Is tea good?"


def test_turns_of_one_speaker_in_a_row_are_one_turn(tmp_path):
    """As in some of Anthropic's transcripts; trl has no reader that parts them."""
    before = (
        "\n\nHuman: Is tea good?\n\nAssistant: It\n\nAssistant: is.\n\nHuman: Why?\n\nAssistant: "
    )
    row = {"chosen": f"{before}It warms.\n\nAssistant:", "rejected": f"{before}Go away."}
    ((prompt, *answers),) = found(read(tmp_path, [row]))
    assert turns_of(prompt) == [SHARED[0], answer("It\n\nis."), SHARED[2]]
    assert answers == ["It warms.", "Go away."]


def test_a_text_prompt_may_have_lists_of_answers(tmp_path):
    row = {"prompt": " Why? ", "chosen": [GOOD], "rejected": [BAD]}
    assert found(read(tmp_path, [row])) == [["Why?", "It warms.", "Go away."]]


def test_conversations_that_go_on_end_at_their_first_difference(tmp_path):
    rows = [
        {"chosen": [*SHARED, GOOD, user("And?"), GOOD], "rejected": [*SHARED, BAD]},
        {"chosen": [*SHARED, GOOD], "rejected": [*SHARED, GOOD]},
        {"chosen": [*SHARED[:2], user("x"), GOOD], "rejected": [*SHARED[:2], user("y"), BAD]},
        {"chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [user("Why?")], "rejected": [user("Why?"), BAD]},
    ]
    pairs = read(tmp_path, rows)
    assert found(pairs) == [[prompt_of(SHARED), "It warms.", "Go away."]]
    expected = {"read": 5, "malformed": 2, "asked": 1, "equal": 1, "kept": 1, "later_turn": 1}
    assert pairs.counts == {**dict.fromkeys(COUNTS, 0), **expected, "goes_on": 1}
    lost, *_, goes_on = said_of(pairs.counts)
    assert lost == (
        "4 of 5 pairs cannot be used: 2 hold no two readable responses to a prompt, 1 differ in "
        "what was asked, 1 have twice the same response"
    )
    assert goes_on.startswith("1 of 1 pairs are of conversations that go on")
    with pytest.raises(InputError, match="no usable pair in 4 rows: 2 hold no two"):
        read(tmp_path, rows[1:])
    first = read(tmp_path, [*rows, IMPLICIT[2]], turns="first")
    assert (first.counts["equal"], first.counts["kept"]) == (3, 1)


def test_messages_of_tools_are_left_out_and_counted(tmp_path):
    call = {"role": "assistant", "tool_calls": [{"name": "kettle"}]}
    told = [user("Why?"), call, {"role": "tool", "content": "hot"}]
    pairs = read(tmp_path, [{"tools": [{}], "chosen": [*told, GOOD], "rejected": [*told, BAD]}])
    assert found(pairs) == [["Why?", "It warms.", "Go away."]]
    assert said_of(pairs.counts) == ["1 of 1 pairs had messages of tools, which are left out"]


def test_the_label_tells_the_better_of_two_responses(tmp_path):
    """As in PKU-SafeRLHF."""
    rows = [
        {"prompt": "Why?", "response_0": "a", "response_1": "b", "better_response_id": better,
         "safer_response_id": 1} for better in (0, 1, -1)
    ]  # fmt: skip
    pairs = read(tmp_path, rows, label="better_response_id")
    assert found(pairs) == [["Why?", "a", "b"], ["Why?", "b", "a"]]
    assert pairs.counts["tied"] == 1
    safer = read(tmp_path, rows, label="safer_response_id")
    assert found(safer) == [["Why?", "b", "a"]] * 3
    for label in (None, "best"):
        with pytest.raises(InputError, match="one of better_response_id, safer_response_id; set"):
            read(tmp_path, rows, label=label)
    with pytest.raises(InputError, match=r"rows name the chosen .* expected no `label`"):
        read(tmp_path, IMPLICIT, label="better_response_id")


def test_rated_responses_to_a_prompt_are_compared_by_an_attribute(tmp_path):
    """As in HelpSteer, one response in a row: every two of a prompt are a pair."""
    rated = [("p", "a", 3, 0), ("q", "alone", 1, 1), ("p", "b", 4, 0), ("p", "c", 3, 2)]
    rows = [
        {"prompt": prompt, "response": text, "helpfulness": helpful, "verbosity": long}
        for prompt, text, helpful, long in rated
    ]
    pairs = read(tmp_path, [*rows, {"prompt": "", "response": "d", "helpfulness": 1}],
                 label="helpfulness")  # fmt: skip
    assert found(pairs) == [["p", "b", "a"], ["p", "b", "c"]]
    counts = {"read": 5, "malformed": 1, "tied": 1, "alone": 1, "kept": 2}
    assert pairs.counts == {**dict.fromkeys(COUNTS, 0), **counts}
    assert found(read(tmp_path, rows, label="verbosity")) == [["p", "c", "a"], ["p", "c", "b"]]
    with pytest.raises(InputError, match=r"expected in `label` .* one of helpfulness, verbosity"):
        read(tmp_path, rows)


def test_rows_without_completions_are_counted(tmp_path):
    rated = [{"response": "a", "overall_score": 1}, {"response": "b", "overall_score": 2}]
    rows = [{"instruction": "x", "completions": None}, {"instruction": "y", "completions": rated}]
    pairs = read_pairs(write(tmp_path / "gaps.jsonl", rows), label="overall_score")
    assert found(pairs) == [["y", "b", "a"]]
    assert pairs.counts["malformed"] == 1


@pytest.mark.parametrize("column", [None, "prompt"])
def test_the_first_question_of_a_prompt_with_turns(tmp_path, column):
    turns = [("user", "One?"), ("assistant", "Yes."), ("user", "Two?"), ("assistant", "No.")]
    said = [{"role": role, "content": content} for role, content in turns]
    path = str(write(tmp_path / "talks.jsonl", [{"prompt": said}]))
    whole = source_prompts(path, "test", column, seed=0).texts
    assert whole == [prompt_of(said[:3])]
    assert source_prompts(path, "test", column, turns="first", seed=0).texts == ["One?"]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_rated_completions_are_compared_by_an_attribute(tmp_path, ending):
    """As in UltraFeedback before it was binarised."""
    rated = [("a", "3", "5", 7.0), ("b", "4", "N/A", 6.0), ("c", "1", "2", 8.5)]
    completions = [
        {"response": text, "overall_score": score,
         "annotations": {"helpfulness": {"Rating": helpful}, "honesty": {"Rating": honest}}}
        for text, helpful, honest, score in rated
    ]  # fmt: skip
    rows = [{"instruction": "Why?", "completions": completions}]
    file = write(tmp_path / f"ultra.{ending}", rows)
    assert found(read_pairs(file, label="helpfulness")) == [
        ["Why?", "b", "a"], ["Why?", "a", "c"], ["Why?", "b", "c"],
    ]  # fmt: skip
    honest = read_pairs(file, label="honesty")
    assert (found(honest), honest.counts["tied"]) == ([["Why?", "a", "c"]], 2)
    assert found(read_pairs(file, label="overall_score"))[0] == ["Why?", "a", "b"]
    with pytest.raises(InputError, match="one of helpfulness, honesty, overall_score"):
        read_pairs(file, label="kindness")
    found_prompt = prompt_of_row(rows[0], first_turn=False)
    assert found_prompt is not None
    assert found_prompt.prompt == "Why?"


def test_a_system_message_and_cuts_apply_to_every_turn(tmp_path):
    ((prompt, chosen, _), (own, *_)) = found(
        read(tmp_path, IMPLICIT[:2], system="Be very kind.", max_words=1)
    )
    first = {"role": "system", "content": "Be very kind."}
    assert turns_of(prompt) == [first, user("Is"), answer("It"), user("Why?")]
    assert chosen == "It"
    assert turns_of(own)[0] == {"role": "system", "content": "Be"}


def test_splits_may_have_other_names(tmp_path):
    for name, rows in (("train_prefs", EXPLICIT), ("test_prefs", EXPLICIT[:1])):
        write(tmp_path / f"{name}.parquet", rows)
    splits = {"train": "train_prefs", "test": "test_prefs"}
    for split, kept in (("train", 3), ("test", 1)):
        assert read_pairs(tmp_path, split=split, splits=splits).counts["kept"] == kept
    with pytest.raises(InputError, match=r"no train\.jsonl\.gz or train\.jsonl or train\.parquet"):
        read_pairs(tmp_path)
