"""What a cell of published data holds: a prompt, a response or a whole conversation."""

import json
import re
from dataclasses import dataclass
from typing import Any

from polyalign.data.chats import (
    ASSISTANT,
    USER,
    Message,
    Messages,
    is_asked,
    prompt_of,
    read_messages,
)

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": USER, "Assistant": ASSISTANT}


@dataclass(frozen=True)
class Asked:
    """A prompt as it stands in a row.

    Attributes:
        prompt: the prompt (see `chats`), not blank.
        tools: messages of tools that were left out.
    """

    prompt: str
    tools: int = 0


def as_prompt(cell: Any) -> str | None:
    """The prompt in a cell of pairs, stripped; None if there is none."""
    found = asked_of(cell)
    asked = None if found is None else what_is_asked(found, first_turn=False)
    return None if asked is None else asked.prompt


def prompt_of_cell(cell: Any, *, first_turn: bool) -> Asked | None:
    """The prompt in a cell, a text or a list of messages; None if there is none.

    A text stays as it is: a rendered chat ends with a line break that the model has to read. Of a
    conversation that ends with an answer it is what comes before.

    Args:
        cell: of a table.
        first_turn: whether the prompt of a conversation is its first question alone.
    """
    found = read_messages(_json(cell) if isinstance(cell, str) else cell)
    if found is not None:
        return what_is_asked(found, first_turn=first_turn)
    return Asked(cell) if isinstance(cell, str) and cell.strip() else None


def up_to_answer(turns: list[Message]) -> list[Message]:
    """The turns up to the first answer; all if there is none."""
    first = next((n for n, one in enumerate(turns) if one["role"] == ASSISTANT), len(turns))
    return turns[: first + 1]


def what_is_asked(found: Messages, *, first_turn: bool) -> Asked | None:
    """What is asked in a conversation: all before its last answer, or the first question alone."""
    turns = up_to_answer(found.turns) if first_turn else found.turns
    while turns and turns[-1]["role"] == ASSISTANT:
        turns = turns[:-1]
    return Asked(prompt_of(turns), found.tools) if is_asked(turns) else None


def response_of(cell: Any) -> str:
    """A response as text; empty if it is none."""
    if isinstance(cell, str):
        return cell.strip()
    found = read_messages(cell)
    alone = found is not None and [turn["role"] for turn in found.turns] == [ASSISTANT]
    return found.turns[0]["content"].strip() if found is not None and alone else ""


def asked_of(cell: Any) -> Messages | None:
    """The turns of a prompt, a text or a list of messages; None if it is none."""
    if isinstance(cell, str):
        found = read_messages(_json(cell)) or Messages([{"role": USER, "content": cell.strip()}])
        return found if cell.strip() else None
    return read_messages(cell)


def _json(text: str) -> Any:
    """What a text that looks like a list of messages holds; None if it holds none."""
    if not text.lstrip().startswith("[{"):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def transcript(text: str) -> Messages | None:
    """The turns of one of Anthropic's transcripts, stripped; None if it is malformed.

    Turns of one speaker in a row are one turn. The dialogue ends where somebody says nothing; only
    an answer may be empty.
    """
    parts = _TURN.split(text)
    speakers, said = parts[1::2], [turn.strip() for turn in parts[2::2]]
    if speakers[:2] != ["Human", "Assistant"] or parts[0].strip() or not all(said[:2]):
        return None
    turns: list[Message] = []
    for speaker, content in zip(speakers, said, strict=True):
        role, again = _ROLES[speaker], bool(turns) and turns[-1]["role"] == _ROLES[speaker]
        if not content and (role == USER or again):
            break
        if again:
            turns[-1]["content"] += f"\n\n{content}"
        else:
            turns.append({"role": role, "content": content})
        if not content:
            break
    return Messages(turns)


def conversation_of(cell: Any) -> Messages | None:
    """A whole conversation, a list of messages or one of Anthropic's transcripts."""
    if not isinstance(cell, str):
        return read_messages(cell)
    parts = _TURN.split(cell)
    if parts[1:2] != ["Human"] or not parts[2].strip():
        return None
    # What was asked can be answered even where the answer is empty.
    return transcript(cell) or Messages([{"role": USER, "content": parts[2].strip()}])
