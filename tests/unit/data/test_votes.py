"""Votes are appended whole, by several at once too, and read back as they were."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from polyalign.data.votes import Vote, append_vote, read_votes
from polyalign.errors import InputError

VOTE = Vote("2026-01-01T00:00:00+00:00", "p", "base/base", "one", "map-d/x", "two", "tie", "", 3)
HOSTILE = '"}\n{"vote": \u2028 \x00 <script>, \ud83d\ude00 \r\n'


def test_votes_are_read_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "new/votes.jsonl"
    votes = [VOTE, replace(VOTE, prompt="p\u2028\x85q\r\n", first_response=HOSTILE[:20])]
    for vote in votes:
        append_vote(file, vote)
    assert read_votes(file).to_dict("records") == [asdict(vote) for vote in votes]


def test_several_append_at_once(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: append_vote(file, replace(VOTE, seed=n)), range(100)))
    assert sorted(read_votes(file)["seed"]) == list(range(100))


def test_a_line_that_was_cut_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    append_vote(file, VOTE)
    file.write_bytes(file.read_bytes() + b'{"time": "2026')
    append_vote(file, replace(VOTE, seed=4))
    with pytest.raises(InputError, match=r"line 2 is no vote .*correct or remove that line"):
        read_votes(file)
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([lines[0], lines[2]]))
    assert list(read_votes(file)["seed"]) == [3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no votes"),
        ("\n", "no votes"),
        ("3\n", "line 1 is no vote"),
        ('{"vote": "both"}\n', "line 1 is no vote"),
    ],
)
def test_what_is_no_vote_is_an_error(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "votes.jsonl"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_votes(file)
