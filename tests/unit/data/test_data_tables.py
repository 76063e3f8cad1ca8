"""Reading, checking and joining tables; writing whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polyalign.data.chats import turns_of
from polyalign.data.keys import prompt_id, split_of
from polyalign.data.rewards_table import check_splits, join, read_rewards
from polyalign.data.tables import read_settings, read_table, write_table
from polyalign.errors import InputError
from polyalign.runtime.files import atomic_write, sha256, write_json

REFERENCE = Path(__file__).parents[4] / "shared/reference/llama2_chat-Anthropic-harmless.json"


@pytest.fixture
def frame() -> pd.DataFrame:
    texts = ["how?", "how?", "why, though?"]
    return pd.DataFrame(
        {
            "prompt_id": [prompt_id(text) for text in texts],
            "candidate": [0, 1, 0],
            "prompt": texts,
            "response": ['a "quoted" answer', "two\nlines", ""],
            "split": ["fit", "fit", "test"],
            "humor": [0.1, 1 / 3, -2.0],
            "helpful": [1e-9, 12345.678, 0.0],
        }
    )


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "json"])
def test_every_format_gives_the_same_table(
    tmp_path: Path, frame: pd.DataFrame, ending: str
) -> None:
    path = tmp_path / f"table.{ending}"
    if ending == "parquet":
        write_table(frame, path, {})
    elif ending == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=ending == "jsonl", double_precision=15)
    found = read_rewards(path)
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)


def test_maps_json_is_read(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    records = [
        {"prompt": "how?", "generated": "how?\nlike so", "gpt2-helpful": 1.5},
        {"prompt": "how?", "generated": "how? or so", "gpt2-helpful": 2.5},
        {"prompt": "why?", "generated": "why? just so", "gpt2-helpful": 3.5},
    ]
    path.write_text(json.dumps(records))
    found = read_rewards(path, columns={"helpful": "gpt2-helpful"})
    turned = read_rewards(path, columns={"helpful": "gpt2-helpful"}, negated=["helpful"])
    assert (turned["helpful"] == -found["helpful"]).all()
    assert found["response"].tolist() == ["like so", "or so", "just so"]
    assert found["candidate"].tolist() == [0, 1, 0]
    assert found["helpful"].tolist() == [1.5, 2.5, 3.5]


@pytest.mark.skipif(not REFERENCE.is_file(), reason="needs the published table beside the checkout")
def test_the_published_table_has_its_published_levels() -> None:
    frame = read_rewards(
        REFERENCE,
        columns={"humor": "humor", "helpful": "gpt2-helpful", "harmless": "gpt2-harmless"},
    )
    assert len(frame) == 2312
    assert frame[["humor", "helpful", "harmless"]].mean().round(3).tolist() == [
        0.604,
        -1.011,
        1.248,
    ]


def test_the_split_follows_the_text_alone() -> None:
    texts = [f"prompt {number}" for number in range(4000)]
    splits = [split_of(text, 0.3) for text in texts]
    assert splits == [split_of(text, 0.3) for text in texts]
    assert np.mean([split == "test" for split in splits]) == pytest.approx(0.3, abs=0.03)


def test_a_missing_column_names_those_there_are(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_table(frame, tmp_path / "t.parquet", {})
    with pytest.raises(InputError, match=r"no column 'wit'.*humor, helpful"):
        read_rewards(tmp_path / "t.parquet", columns={"wit": "wit"})


def test_joining_ignores_the_order_and_the_number_of_shards(frame: pd.DataFrame) -> None:
    samples = frame.drop(columns=["humor", "helpful"])
    humor, helpful = (frame[["prompt_id", "candidate", name]] for name in ("humor", "helpful"))
    one = join(samples, {"a": humor, "b": helpful})
    shuffled = samples.sample(frac=1, random_state=1)
    parts = {"c": humor[2:], "a": humor[:1], "d": humor[1:2], "b": helpful[::-1]}
    pd.testing.assert_frame_equal(join(shuffled, parts), one)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table[:2], "have no scores"),
        (lambda table: pd.concat([table, table[:1].assign(candidate=9)]), "have no samples"),
        (lambda table: pd.concat([table, table[:1]]), "occurs twice"),
        (lambda table: table.assign(humor=[0.0, np.inf, 0.0]), "row 1"),
    ],
    ids=["gap", "stranger", "repeated", "infinite"],
)
def test_what_does_not_join_is_refused(frame: pd.DataFrame, change, words: str) -> None:  # type: ignore[no-untyped-def]
    samples = frame.drop(columns=["humor", "helpful"])
    with pytest.raises(InputError, match=words) as fault:
        join(samples, {"humor_0.parquet": change(frame[["prompt_id", "candidate", "humor"]])})
    assert "humor_0.parquet" in str(fault.value)


def test_the_shard_and_the_row_in_it_are_named(frame: pd.DataFrame) -> None:
    samples = frame.drop(columns=["humor", "helpful"])
    humor = frame[["prompt_id", "candidate", "humor"]]
    twice = pd.concat([humor[1:], humor[:1]])
    with pytest.raises(InputError, match=r"^b\.parquet: .* again in row 2;"):
        join(samples, {"a.parquet": humor[:1], "b.parquet": twice})
    alien = pd.concat([humor[1:], humor[:1].assign(candidate=9)])
    with pytest.raises(InputError, match=r"^b\.parquet: .*candidate 9\) in row 2;"):
        join(samples, {"a.parquet": humor[:1], "b.parquet": alien})


def test_tables_carry_their_settings_and_repeat_bit_by_bit(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    for name in ("a", "b"):
        write_table(frame, tmp_path / f"{name}.parquet", {"seed": 1, "policy": "base/pool"})
    assert read_settings(tmp_path / "a.parquet") == {"seed": 1, "policy": "base/pool"}
    assert sha256(tmp_path / "a.parquet") == sha256(tmp_path / "b.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.parquet"), frame)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})

    def interrupted() -> None:
        with atomic_write(path) as draft:
            draft.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("old", "new"):
        with atomic_write(folder) as draft:
            draft.mkdir()
            (draft / name).touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_value_with_one_bad_cell_is_a_fault_and_not_left_out(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("prompt,note,humor\na,good,1.0\nb,7,2.0\nc,bad,x\n")
    with pytest.raises(InputError, match=r"value 'humor' is 'x' in row 2"):
        read_rewards(path)
    path.write_text("prompt,note,humor\na,good,1.0\nb,7,2.0\nc,bad,3.0\n")
    assert "note" not in read_rewards(path)


def test_a_csv_cell_is_missing_only_if_it_is_empty(tmp_path: Path) -> None:
    """`NA` is a text in a column of texts; `nan` is no number in a column of numbers."""
    path = tmp_path / "table.csv"
    path.write_text(
        "prompt,response,question,level,prompt_id\nNA,nan,NA,nan,01\n02,,why?,0.1,1\n",
        encoding="utf-8",
    )
    found = read_table(path)
    assert found["prompt"].tolist() == ["NA", "02"]
    assert found["response"].tolist() == ["nan", ""]
    assert found["question"].tolist() == ["NA", "why?"]
    assert found["prompt_id"].tolist() == ["01", "1"]
    assert np.isnan(found["level"][0])
    assert found["level"][1] == 0.1


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv"])
def test_a_byte_order_mark_is_skipped(tmp_path: Path, frame: pd.DataFrame, ending: str) -> None:
    plain = tmp_path / f"plain.{ending}"
    if ending == "csv":
        frame.to_csv(plain, index=False)
    else:
        frame.to_json(plain, orient="records", lines=ending == "jsonl", double_precision=15)
    marked = tmp_path / f"marked.{ending}"
    marked.write_text(plain.read_text(encoding="utf-8"), encoding="utf-8-sig")
    pd.testing.assert_frame_equal(read_table(marked), read_table(plain))


@pytest.mark.parametrize("column", ["prompt", "prompt_id"])
@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_a_missing_prompt_or_id_is_refused_by_its_row(
    tmp_path: Path, frame: pd.DataFrame, column: str, ending: str
) -> None:
    path = tmp_path / f"table.{ending}"
    frame.loc[1:2, column] = None
    if ending == "parquet":
        frame.to_parquet(path)
    elif ending == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    with pytest.raises(InputError, match=rf"{ending}: no {column} in row 1 \(2 such rows\)"):
        read_rewards(path)


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_chat_messages_are_prompts_of_a_table(
    tmp_path: Path, frame: pd.DataFrame, ending: str
) -> None:
    def write(roles: list[str]) -> Path:
        path = tmp_path / f"table.{ending}"
        chats = [[{"role": role, "content": text} for role in roles] for text in frame["prompt"]]
        chat = frame.assign(prompt=chats)
        if ending == "parquet":
            chat.to_parquet(path)
        else:
            chat.to_json(path, orient="records", lines=True)
        return path

    plain = tmp_path / "plain.parquet"
    frame.to_parquet(plain)
    pd.testing.assert_frame_equal(read_rewards(write(["user"])), read_rewards(plain))
    talk = read_rewards(write(["user", "assistant", "user"]))
    assert [len(turns_of(prompt)) for prompt in talk["prompt"]] == [3] * len(frame)
    with pytest.raises(InputError, match="the prompt in row 0 is a list of chat messages that"):
        read_rewards(write(["pilot"]))


def test_other_splits_are_named() -> None:
    check_splits({"fit", "test"}, "t.csv")
    check_splits({"fit"}, "t.csv")
    with pytest.raises(InputError, match=r"t\.csv: the column 'split' says 'Test', 'train';"):
        check_splits({"fit", "train", "Test"}, "t.csv")
    with pytest.raises(InputError, match="says None"):
        check_splits({"fit", None}, "t.csv")
