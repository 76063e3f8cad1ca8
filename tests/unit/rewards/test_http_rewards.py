"""Rewards of a server: the contract, batches, faults, and scores that are kept."""

from typing import Any

import pytest
from standin import SECRET, Reply, stand_in

from polyalign import rewards
from polyalign.errors import InputError
from polyalign.rewards import posting


def lengths(body: Any, number: int = 0) -> Reply:
    """A server whose rewards are the lengths of responses, minus those of prompts."""
    pairs = zip(body["prompts"], body["responses"], strict=True)
    return Reply({"rewards": [len(response) - len(prompt) for prompt, response in pairs]})


def spec(url: str, **settings: Any) -> dict[str, Any]:
    return {"kind": "http", "endpoint": url, **settings}


def test_a_server_gets_batches_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_KEY", SECRET)
    prompts, responses = list("abcde"), ["x" * n for n in range(5)]
    with stand_in(lengths) as server:
        score = rewards.load(spec(server.url, key_env="REWARD_KEY", batch_size=2, sign=-1))
        assert score(prompts, responses).tolist() == [1, 0, -1, -2, -3]
    assert [body["responses"] for body in server.asked] == [["", "x"], ["xx", "xxx"], ["xxxx"]]
    assert server.asked[1] == {
        "prompts": ["c", "d"], "responses": ["xx", "xxx"], "query": ["c xx", "d xxx"],
    }  # fmt: skip
    assert server.paths[0] == "/v1"
    assert server.keys == [f"Bearer {SECRET}"] * 3


def test_no_texts_are_no_request() -> None:
    with stand_in(lengths) as server:
        assert rewards.load(spec(server.url))([], []).shape == (0,)
    assert server.asked == []


@pytest.mark.parametrize(
    "fault",
    [
        Reply(status=503),
        Reply(b"{"),
        Reply(b'{"rewards": [1.0', missing=9),
        Reply(hang_up=True),
        Reply(delay=3.0),
    ],
)
def test_a_fault_is_tried_again(fault: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(posting, "sleep", pauses.append)
    with stand_in(lambda body, number: fault if number == 0 else lengths(body)) as server:
        timeout = 0.5 if fault.delay else 30.0
        assert rewards.load(spec(server.url, timeout=timeout))(["p"], ["abc"]).tolist() == [2]
    assert pauses[:1] == [2.0]
    # A busy machine may be silent again.
    assert fault.delay or len(server.asked) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"rewards": [1.0]}, r"answers 1 rewards for 2 responses"),
        ({"rewards": [1.0, 2.0, 3.0]}, r"answers 3 rewards for 2 responses"),
        ({"rewards": []}, r"answers 0 rewards for 2 responses"),
        ({"rewards": [1.0, "2"]}, r"reward 2 of 2 is '2'; expected a finite"),
        ({"rewards": [None, 2.0]}, r"reward 1 of 2 is 'None'"),
        ({"rewards": [[1.0], [2.0]]}, r"reward 1 of 2 is '\[1\.0\]'"),
        ({"rewards": [True, 2.0]}, r"reward 1 of 2 is 'True'"),
        ({"rewards": [float("nan"), 2.0]}, r"reward 1 of 2 is 'nan'"),
        ({"rewards": [1.0, 10**400]}, r"reward 2 of 2 is '1000"),
        ({"scores": [1.0, 2.0]}, r"without a list of rewards"),
        ([1.0, 2.0], r"without a list of rewards"),
    ],
)
def test_another_answer_is_refused_at_once(body: Any, said: str) -> None:
    with (
        stand_in(lambda asked, number: Reply(body)) as server,
        pytest.raises(InputError, match=said),
    ):
        rewards.load(spec(server.url))(["p", "q"], ["a", "b"])
    assert len(server.asked) == 1


def test_how_a_server_is_asked_is_not_what_its_scores_depend_on() -> None:
    plain = rewards.spec_of(spec("http://a"))
    other = rewards.spec_of(spec("http://a/", key_env="K", timeout=1.0, batch_size=7))
    assert other.identity() == plain.identity()
    assert other.at_default_speed() == plain
    assert rewards.spec_of(spec("http://b")).identity() != plain.identity()
