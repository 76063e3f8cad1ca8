"""Conversations as prompts: several turns, a system message or an input, kept as one text.

A prompt is a text everywhere. A single turn of the user is that text itself. Any other conversation
is the JSON of its messages, always written the same way, so that equal ones have equal ids:
`[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, …]`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"

ROLES = {SYSTEM: SYSTEM, USER: USER, ASSISTANT: ASSISTANT, "human": USER, "gpt": ASSISTANT}
"""Names of the speakers in published data → the roles that chat templates know."""

TOOLS = ("tool", "function")
"""Roles of messages that a program wrote; models of a study have no tools."""

NAMES = {SYSTEM: "System", USER: "Human", ASSISTANT: "Assistant"}
"""How turns are named where there is no chat template, as in Anthropic's data."""

INPUT = "input"
"""Key of a message: what an instruction is applied to, as in Alpaca's data."""

Message = dict[str, str]


@dataclass(frozen=True)
class Messages:
    """The messages of a conversation.

    Attributes:
        turns: each with its `role` (`SYSTEM`, `USER` or `ASSISTANT`), its `content`, and maybe its
            `INPUT`, never blank.
        tools: messages of tools, and calls of tools, that were left out.
    """

    turns: list[Message]
    tools: int = 0


def read_messages(cell: Any) -> Messages | None:
    """The messages of a cell of a table; None if it is no list of readable messages.

    Keys may be `role` and `content`, or `from` and `value`; contents texts or lists of text parts.
    Empty system messages are left out.
    """
    items = cell if isinstance(cell, list | tuple) else getattr(cell, "tolist", lambda: None)()
    if not isinstance(items, list | tuple) or not items:
        return None
    turns: list[Message] = []
    tools = 0
    for item in items:
        if not isinstance(item, Mapping):
            return None
        speaker = item.get("role") or item.get("from")
        said = item.get("content") if item.get("content") is not None else item.get("value")
        # Tables hold an empty list, or nothing, where a message has no calls.
        calls = item.get("tool_calls")
        called = calls is not None and len(calls) > 0
        tools += called or speaker in TOOLS
        content = _content(said)
        if speaker in TOOLS or (called and not content):
            continue
        role = ROLES.get(str(speaker))
        if role == SYSTEM and not content:
            continue
        if role is None or not content:
            return None
        turn = {"role": role, "content": content}
        given = item.get(INPUT)
        if isinstance(given, str) and given.strip():
            turn[INPUT] = given
        turns.append(turn)
    return Messages(turns, tools)


def _content(said: Any) -> str:
    """The text of a message's content; empty if it is blank or holds more than text."""
    if isinstance(said, str):
        return said if said.strip() else ""
    parts = said if isinstance(said, list | tuple) else getattr(said, "tolist", list)()
    texts = [part.get("text") if isinstance(part, Mapping) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        return ""
    return _content("".join(map(str, texts)))


def is_asked(turns: Sequence[Message]) -> bool:
    """Whether turns can be a prompt: after a system message, if any, the user begins and ends."""
    spoken = turns[1:] if turns and turns[0]["role"] == SYSTEM else turns
    roles = [turn["role"] for turn in spoken]
    return bool(roles) and roles[0] == roles[-1] == USER and SYSTEM not in roles


def prompt_of(turns: Iterable[Message]) -> str:
    """The prompt of turns that end with the user's (see the module)."""
    written = [dict(turn) for turn in turns]
    if len(written) == 1 and INPUT not in written[0]:
        return written[0]["content"]
    return json.dumps(written, ensure_ascii=False)


def turns_of(prompt: str) -> list[Message]:
    """The turns of a prompt: messages with `role`, `content`, and perhaps `INPUT`."""
    return [dict(turn) for turn in _parsed(prompt)]


def has_turns(prompt: str) -> bool:
    """Whether a prompt is more than a single text."""
    return prompt_of(_parsed(prompt)) != _parsed(prompt)[0]["content"]


@lru_cache(maxsize=4096)
def _parsed(prompt: str) -> tuple[Message, ...]:
    if prompt.startswith('[{"role": "'):
        try:
            items = json.loads(prompt)
        except json.JSONDecodeError:
            items = None
        found = read_messages(items)
        # Another text that is JSON is what somebody asked.
        if found is not None and is_asked(found.turns) and prompt_of(found.turns) == prompt:
            return tuple(found.turns)
    return ({"role": USER, "content": prompt},)


def with_system(prompt: str, system: str | None) -> str:
    """A prompt with a system message before it, unless it has one or there is none to add."""
    turns = turns_of(prompt)
    if not system or turns[0]["role"] == SYSTEM:
        return prompt
    return prompt_of([{"role": SYSTEM, "content": system}, *turns])


def with_input(prompt: str, given: str) -> str:
    """A prompt whose last turn has an input; the prompt itself if that is blank."""
    if not given.strip():
        return prompt
    *before, last = turns_of(prompt)
    return prompt_of([*before, {**last, INPUT: given}])


def in_one(turn: Message) -> Message:
    """A turn as chat templates take it: its input, if any, follows its content."""
    given = f"\n\n{turn[INPUT]}" if INPUT in turn else ""
    return {"role": turn["role"], "content": turn["content"] + given}


def dialogue(prompt: str) -> str:
    """What is said in a prompt, as text: what rewards without a chat template read.

    Turns after the first are named as in Anthropic's data: `Hi\\n\\nAssistant: Oh\\n\\nHuman: …`.
    A system message tells the model how to answer; nobody says it.
    """
    spoken = [in_one(turn) for turn in _parsed(prompt) if turn["role"] != SYSTEM]
    text = spoken[0]["content"]
    for turn in spoken[1:]:
        text += f"\n\n{NAMES[turn['role']]}: {turn['content']}"
    return text


def system_of(prompt: str) -> str:
    """The system message of a prompt; empty if it has none."""
    first = _parsed(prompt)[0]
    return first["content"] if first["role"] == SYSTEM else ""


def shown(prompt: str) -> str:
    """A prompt for readers: the text itself, or all its turns with their speakers."""
    if not has_turns(prompt):
        return prompt
    turns = map(in_one, _parsed(prompt))
    return "\n\n".join(f"{NAMES[turn['role']]}: {turn['content']}" for turn in turns)
