"""Requests in OpenAI's form: what they mean, and one clear error for each bad one."""

import json

import pytest
from answerdata import LAM

from polyalign.answer.answers import Answerer
from polyalign.answer.chat import Limits, completion, read_request
from polyalign.data.chats import turns_of
from polyalign.errors import InputError
from polyalign.study import Study

LIMITS = Limits(candidates=50)
TALK = [
    {"role": "user", "content": "b"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "c"},
]


def body(**keys: object) -> bytes:
    asked = {"model": "base/base", "messages": [{"role": "user", "content": "b c"}], **keys}
    return json.dumps(asked).encode()


@pytest.mark.parametrize(
    ("keys", "name", "lam", "candidates"),
    [
        ({}, "base/base", {}, None),
        ({"model": "rloo/open"}, "rloo/open", {}, None),
        ({"model": "open"}, "map-d/open", LAM, 8),
        ({"palette": "open", "candidates": 3}, "map-d/open", LAM, 3),
        ({"lam": {"vowels": 2, "diversity": 0.5}}, "lam", {"vowels": 2, "diversity": 0.5}, 8),
        ({"model": "value-d/open"}, "value-d/open", {"vowels": 0.6, "diversity": 0.5}, None),
        (
            {"model": "value-d", "palette": "open"},
            "value-d/open",
            {"vowels": 0.6, "diversity": 0.5},
            None,
        ),
        ({"model": "value-d", "lam": {"vowels": 2}}, "value-d", {"vowels": 2}, None),
        ({"temperature": 1.3, "top_p": 1, "max_tokens": 6}, "base/base", {}, None),
    ],
)
def test_a_request_names_a_way(
    study: Study, keys: dict, name: str, lam: dict, candidates: int | None
) -> None:
    asked = read_request(body(**keys), study, LIMITS).asked
    assert (asked.way.name, asked.way.lam, asked.candidates) == (name, lam, candidates)
    assert asked.prompt == "b c"


def test_parts_of_a_message_are_joined(study: Study) -> None:
    parts = [{"type": "text", "text": "b"}, {"type": "text", "text": " c"}]
    asked = body(messages=[{"role": "user", "content": parts}])
    assert read_request(asked, study, LIMITS).asked.prompt == "b c"


def test_messages_are_a_conversation_where_the_template_has_turns(study: Study) -> None:
    """A system message, of the request or of the study, has a place in every template."""
    system = {"role": "system", "content": "Be kind."}

    def asked(made: Study, *messages: dict) -> list[dict]:
        return turns_of(read_request(body(messages=messages), made, LIMITS).asked.prompt)

    def having(**prompts: str) -> Study:
        return study.model_copy(update={"prompts": study.prompts.model_copy(update=prompts)})

    assert asked(having(template="chat"), *TALK) == TALK
    assert asked(study, system, TALK[0]) == [system, TALK[0]]
    assert asked(having(system="Be kind."), TALK[0]) == [system, TALK[0]]
    told = {"role": "tool", "content": "3"}
    with pytest.raises(InputError, match="messages has the turns user, tool, user"):
        asked(having(template="chat"), TALK[0], told, TALK[0])


def test_without_a_seed_each_request_has_another_one(study: Study) -> None:
    seeds = {read_request(body(), study, LIMITS).asked.seed for _ in range(5)}
    assert len(seeds) == 5
    assert read_request(body(seed=7), study, LIMITS).asked.seed == 7


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"candidates": 10**9, "model": "open"}, "candidates is 1000000000; expected .* 1 to 50"),
        ({"n": 51}, "samples is 51"),
        ({"n": 0}, "samples is 0"),
        ({"n": "2"}, "n: Input should be a valid integer"),
        ({"seed": 2**70}, "seed is"),
        ({"palete": "open"}, "palete is no key of a request.*write 'palette'"),
        ({"model": "opne"}, "no policy 'opne'"),
        ({"palette": "opne"}, "no palette 'opne'.*write 'open'"),
        ({"palette": "open", "model": "rloo/open"}, "among answers of the model base/base"),
        ({"palette": "open", "lam": {"vowels": 1}}, "only one of them"),
        ({"model": "value-d"}, "the model value-d needs a λ; expected palette or lam"),
        ({"model": "value-d", "lam": {"vowels": 1}, "candidates": 3}, "has no candidates"),
        ({"lam": {"vowels": -1}}, "λ of 'vowels' is -1"),
        ({"lam": {}}, "no λ is given"),
        ({"lam": {"vowels": float("nan")}}, "lam.vowels: Input should be a finite number"),
        ({"lam": {"vowels": 1e300}}, "λ of 'vowels' is 1e\\+300"),
        ({"temperature": 0.0}, "temperature is 0; expected 1.3"),
        ({"top_p": 0.5}, "top_p is 0.5; expected 1"),
        ({"max_tokens": 5}, "max_tokens is 5; expected at least 6"),
        ({"messages": []}, r"messages has the turns \(none\)"),
        ({"messages": [{"role": "system", "content": "x"}]}, "turns system; expected"),
        ({"messages": [*TALK, TALK[1]]}, "the user first and last"),
        ({"messages": TALK}, "messages has 3 turns; expected one, of the role user"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "half a character"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ],
)
def test_what_is_wrong_is_named(study: Study, keys: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_request(body(**keys), study, LIMITS)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe{}", b'"\xc3"', b"[" * 60_000, b"9" * 5000, b"{}", b"[]", b"null"],
)
def test_what_is_no_request_is_one_error(study: Study, text: bytes) -> None:
    with pytest.raises(InputError) as fault:
        read_request(text, study, LIMITS)
    assert len(str(fault.value)) < 500


def test_tokens_are_counted_with_the_candidates(study: Study, answerer: Answerer) -> None:
    chat = read_request(body(model="open", seed=1, n=2), study, LIMITS)
    (answer,) = answerer.answer([chat.asked])
    sent = completion(chat, answer, created=0)
    drawn = sum(text.tokens for text in answer.candidates)
    assert sent["usage"] == {
        "prompt_tokens": 3, "completion_tokens": drawn, "total_tokens": 3 + drawn,
    }  # fmt: skip
    assert [choice["message"]["content"] for choice in sent["choices"]] == [
        text.response for text in answer.texts
    ]
    ends = [choice["finish_reason"] for choice in sent["choices"]]
    assert ends == ["length" if text.truncated else "stop" for text in answer.texts]
