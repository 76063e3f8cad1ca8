"""The forms in which preference pairs are published, and the pair that each row of them is.

- `prompt`, `chosen`, `rejected`: texts, or lists of chat messages, as trl has them.
- `chosen`, `rejected`: whole conversations, as lists of messages or as Anthropic's transcripts
  (Bai et al. 2022, "Training a Helpful and Harmless Assistant with RLHF").
- `prompt`, `response_0`, `response_1`, and a column with the number of the better one, as in
  PKU-SafeRLHF (Ji et al. 2023, "BeaverTails").
- Ratings, by several attributes, of `prompt` and `response` (HelpSteer, Wang et al. 2023), or of
  all `completions` of an `instruction` (UltraFeedback, Cui et al. 2023): every two responses to a
  prompt are a pair, as in Ouyang et al. 2022.

The responses of a pair of conversations are the first answers in which they differ, and the prompt
is the conversation before them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import isnan
from typing import Any

from polyalign.data.cells import (
    Asked,
    as_prompt,
    asked_of,
    conversation_of,
    prompt_of_cell,
    response_of,
    transcript,
    up_to_answer,
    what_is_asked,
)
from polyalign.data.chats import ASSISTANT, Message, Messages, is_asked, prompt_of, read_messages
from polyalign.errors import InputError

MALFORMED, ASKED, TIED, ALONE = "malformed", "asked", "tied", "alone"
"""Why a row is no pair: it is not of a known form; what was asked differs; no response is better;
there is one response alone to its prompt."""

_DIALOGUES = ("chosen", "messages", "conversations")
"""Columns of whole conversations, from which prompts are taken."""


@dataclass(frozen=True)
class Pair:
    """One pair.

    Attributes:
        prompt: the prompt (see `chats`), not empty.
        chosen: the better response.
        rejected: the worse one.
        later: whether the prompt holds an earlier answer.
        goes_on: whether a conversation goes on after the response; the rest is left out.
        tools: messages of tools that were left out.
    """

    prompt: str
    chosen: str
    rejected: str
    later: bool = False
    goes_on: bool = False
    tools: int = 0


@dataclass(frozen=True)
class Reading:
    """How rows are read.

    Attributes:
        source: stands in messages.
        first_turn: whether only the first question and its answers are read.
        label: the column of the better response's number, or the attribute that responses are
            rated by; None for rows that name the chosen response.
    """

    source: str
    first_turn: bool = False
    label: str | None = None


def pairs_of(rows: Iterable[Any], reading: Reading) -> Iterator[Pair | str]:
    """The pair of every row, or of every two rated responses to a prompt; else why there is none.

    Raises:
        InputError: if `reading.label` is missing, or has no use.
    """
    rated: dict[str, list[tuple[str, float]]] = {}
    known = False
    for row in rows:
        if not isinstance(row, Mapping):
            yield MALFORMED
            continue
        # A row that lacks the label of the rows before it is one without a better response.
        known = known or _check_label(row, reading)
        if "chosen" in row or "rejected" in row:
            yield _compared(row, reading.first_turn)
        elif "response_0" in row and "response_1" in row:
            yield _labelled(row, str(reading.label))
        elif row.get("completions") is not None:
            yield from _completed(row, str(reading.label))
        else:
            prompt, response = as_prompt(row.get("prompt")), response_of(row.get("response"))
            if prompt is None or not response:
                yield MALFORMED
            else:
                rated.setdefault(prompt, []).append(
                    (response, _number(row.get(str(reading.label))))
                )
    for prompt, responses in rated.items():
        yield from _between(prompt, responses)


def _check_label(row: Mapping[str, Any], reading: Reading) -> bool:
    """Whether a row has the label that its form needs; False for a row of no known form.

    Raises:
        InputError: if it lacks the label, or needs none and one is given.
    """
    label, source = reading.label, reading.source
    if "chosen" in row or "rejected" in row:
        if label is not None:
            raise InputError(
                f"{source}: its rows name the chosen and the rejected response; expected no "
                f"`label`, not {label!r}; leave it out"
            )
        return True
    if not any(row.get(name) is not None for name in ("response_0", "response", "completions")):
        return False
    known = _labels(row)
    if label not in known:
        wrong = "its rows do not name the better response" if label is None else f"no {label!r}"
        raise InputError(
            f"{source}: {wrong}; expected in `label` what decides which response is better, one "
            f"of {', '.join(known)}; set it"
        )
    return True


def _labels(row: Mapping[str, Any]) -> list[str]:
    """What may be the label of a row's form."""
    if "completions" in row:
        each = [one for one in row["completions"] or () if isinstance(one, Mapping)]
        rated = {name for one in each for name in _mapping(one.get("annotations"))}
        return sorted(rated) + [name for name in ("overall_score", "fine-grained_score") if each]
    return [name for name in row if name not in ("prompt", "response", "response_0", "response_1")]


def _mapping(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}


def _compared(row: Mapping[str, Any], first_turn: bool) -> Pair | str:
    """The pair of a row that has a chosen and a rejected response, or conversation."""
    chosen, rejected, prompt = row.get("chosen"), row.get("rejected"), row.get("prompt")
    if isinstance(chosen, str) and isinstance(rejected, str):
        if "prompt" not in row:
            better, worse = transcript(chosen), transcript(rejected)
        else:
            before = asked_of(prompt)
            answers = [response_of(chosen), response_of(rejected)]
            if before is None or not all(answers):
                return MALFORMED
            better, worse = (
                Messages([*before.turns, {"role": ASSISTANT, "content": text}], before.tools)
                for text in answers
            )
    else:
        better, worse = (_conversation(cell, prompt) for cell in (chosen, rejected))
    if better is None or worse is None:
        return MALFORMED
    return _difference(better, worse, first_turn)


def _conversation(cell: Any, prompt: Any) -> Messages | None:
    """The whole conversation of a list of messages, with its prompt where it only holds answers."""
    found = read_messages(cell)
    if found is None or not found.turns or found.turns[0]["role"] != ASSISTANT:
        return found
    before = asked_of(prompt)
    if before is None:
        return None
    return Messages([*before.turns, *found.turns], before.tools + found.tools)


def _difference(better: Messages, worse: Messages, first_turn: bool) -> Pair | str:
    """The pair of the first answers in which two conversations differ.

    The last answers that both have if none differs; such a pair is equal.
    """
    sides = [up_to_answer(one.turns) if first_turn else one.turns for one in (better, worse)]
    both = range(min(map(len, sides)))
    common = [n for n in both if sides[0][n]["role"] == ASSISTANT]
    if not all(map(_answered, sides)):
        return MALFORMED
    at = next((n for n in both if not _same(sides[0][n], sides[1][n])), max(common, default=0))
    asked, answers = sides[0][:at], [side[at] for side in sides]
    if any(answer["role"] != ASSISTANT for answer in answers):
        return ASKED
    if not is_asked(asked) or not all(answer["content"] for answer in answers):
        return MALFORMED
    return Pair(
        prompt_of(asked),
        answers[0]["content"].strip(),
        answers[1]["content"].strip(),
        later=_answered(asked),
        goes_on=any(len(side) > at + 1 for side in sides),
        tools=better.tools + worse.tools,
    )


def _same(turn: Message, other: Message) -> bool:
    return turn["role"] == other["role"] and turn["content"].strip() == other["content"].strip()


def _answered(turns: list[Message]) -> bool:
    return any(turn["role"] == ASSISTANT for turn in turns)


def _labelled(row: Mapping[str, Any], label: str) -> Pair | str:
    """The pair of two responses and the number of the better one."""
    prompt = as_prompt(row.get("prompt"))
    texts = [response_of(row[name]) for name in ("response_0", "response_1")]
    if prompt is None or not all(texts):
        return MALFORMED
    better = _number(row.get(label))
    if better not in (0, 1):
        return TIED
    return Pair(prompt, texts[int(better)], texts[1 - int(better)])


def _completed(row: Mapping[str, Any], label: str) -> Iterator[Pair | str]:
    """The pairs among the rated completions of one instruction."""
    prompt = as_prompt(row.get("instruction") or row.get("prompt"))
    responses = []
    for one in row["completions"]:
        text = response_of(_mapping(one).get("response"))
        if prompt is None or not text:
            yield MALFORMED
            continue
        rating = _mapping(_mapping(one.get("annotations")).get(label)).get("Rating")
        responses.append((text, _number(one.get(label) if rating is None else rating)))
    if prompt is not None:
        yield from _between(prompt, responses)


def _between(prompt: str, responses: list[tuple[str, float]]) -> Iterator[Pair | str]:
    """A pair for every two rated responses to a prompt."""
    if len(responses) == 1:
        yield ALONE
    for (one, its), (other, others) in combinations(responses, 2):
        if its == others or isnan(its) or isnan(others):
            yield TIED
        else:
            yield Pair(prompt, one, other) if its > others else Pair(prompt, other, one)


def _number(cell: Any) -> float:
    """A cell as a number; NaN if it is none."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def prompt_of_row(row: Mapping[str, Any], *, first_turn: bool) -> Asked | None:
    """The prompt of a row of any form; None if it has none.

    Args:
        row: of a file of prompts, pairs or conversations.
        first_turn: whether the prompt of a conversation is its first question alone.
    """
    for name in ("prompt", "instruction"):
        if row.get(name) is not None:
            return prompt_of_cell(row[name], first_turn=first_turn)
    pair = _compared(row, first_turn) if "rejected" in row else MALFORMED
    if isinstance(pair, Pair):
        return Asked(pair.prompt, pair.tools)
    for name in _DIALOGUES:
        if row.get(name) is not None:
            return what_is_asked(conversation_of(row[name]) or Messages([]), first_turn=first_turn)
    return None
