"""Conversations as texts: one writing for each, and what readers and rewards see of them."""

import json

import numpy as np
import pytest

from polyalign.data import chats
from polyalign.data.keys import prompt_id

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
AGAIN, SYSTEM = {"role": "user", "content": "So?"}, {"role": "system", "content": "Be kind."}


def test_a_single_question_is_its_own_text_and_keeps_its_id() -> None:
    assert chats.prompt_of([USER]) == "Hi"
    assert prompt_id(chats.prompt_of([USER])) == prompt_id("Hi")
    assert chats.turns_of("Hi") == [USER]
    assert not chats.has_turns("Hi")
    assert chats.shown("Hi") == chats.dialogue("Hi") == "Hi"
    assert chats.with_system("Hi", None) == chats.with_system("Hi", "") == "Hi"


def test_a_conversation_is_one_text_and_comes_back() -> None:
    turns = [SYSTEM, USER, ANSWER, AGAIN]
    prompt = chats.prompt_of(turns)
    assert json.loads(prompt) == chats.turns_of(prompt) == turns
    assert chats.has_turns(prompt)
    assert chats.dialogue(prompt) == "Hi\n\nAssistant: Hello\n\nHuman: So?"
    assert chats.system_of(prompt) == "Be kind."
    assert chats.shown(prompt) == (
        "System: Be kind.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: So?"
    )
    assert chats.with_system(prompt, "Be rude.") == prompt, "it has a system message"
    alone = chats.with_system("Hi", "Be kind.")
    assert chats.turns_of(alone) == [SYSTEM, USER]
    assert (chats.dialogue(alone), chats.has_turns(alone)) == ("Hi", True)
    chats.turns_of(prompt)[0]["content"] = "changed"
    assert chats.turns_of(prompt) == turns, "what is kept is not the caller's"


def test_an_input_follows_its_instruction() -> None:
    prompt = chats.with_input("Sum up.", "A text.")
    assert chats.turns_of(prompt) == [{"role": "user", "content": "Sum up.", "input": "A text."}]
    assert chats.dialogue(prompt) == "Sum up.\n\nA text."
    assert chats.has_turns(prompt)
    assert chats.with_input("Sum up.", " ") == "Sum up."
    both = chats.with_system(prompt, "Be kind.")
    assert chats.turns_of(both)[1]["input"] == "A text."


@pytest.mark.parametrize(
    "text",
    [
        '[{"role": "user"',
        '[{"role": "user", "content": "Hi"}]',
        '[{"role": "user", "content": "Hi"},  {"role": "assistant", "content": "Hello"}]',
        '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]',
        '[{"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Hi"}]',
        '[{"role": "pilot", "content": "Hello"}, {"role": "user", "content": "Hi"}]',
    ],
)
def test_another_text_that_is_json_is_what_somebody_asked(text: str) -> None:
    assert chats.turns_of(text) == [{"role": "user", "content": text}]
    assert chats.shown(text) == text


def test_messages_are_read_in_all_their_writings() -> None:
    written = [USER, ANSWER]
    parts = [{"role": "user", "content": [{"type": "text", "text": "H"}, {"text": "i"}]}, ANSWER]
    shared = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    empty = [{"role": "system", "content": ""}, {**USER, "tool_calls": None}, ANSWER]
    for cell in (written, tuple(written), np.array(written), parts, shared, empty):
        assert chats.read_messages(cell) == chats.Messages(written)
    image = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi"}]}]
    for cell in ("Hi", [], None, 3, ["Hi"], [{"role": "user"}], image, [{"content": "Hi"}]):
        assert chats.read_messages(cell) is None


def test_messages_of_tools_are_left_out_and_counted() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "add"}]}
    result = {"role": "tool", "content": "3"}
    said = {**ANSWER, "tool_calls": [{"name": "add"}]}
    assert chats.read_messages([USER, call, result, ANSWER]) == chats.Messages([USER, ANSWER], 2)
    assert chats.read_messages([USER, said]) == chats.Messages([USER, ANSWER], 1)
