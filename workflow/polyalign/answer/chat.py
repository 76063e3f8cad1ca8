"""The requests and responses of OpenAI's chat completions, and what they mean for a study."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, ValidationError

from polyalign.answer.answers import Answer, as_json
from polyalign.answer.templates import STUDY, has_turns
from polyalign.answer.ways import (
    LAM,
    LEARNT,
    Asked,
    Way,
    ask,
    way_of_lam,
    way_of_palette,
    way_of_policy,
)
from polyalign.data.chats import SYSTEM, is_asked, prompt_of, read_messages
from polyalign.errors import InputError, nearest
from polyalign.families import BASE
from polyalign.settings import Strict
from polyalign.study import Study


class Part(Strict):
    """A part of a message."""

    type: Literal["text"] = Field(description="Models of a study read text alone.")
    text: str = Field(description="The text.")


class Message(Strict):
    """One turn of a conversation."""

    role: str = Field(description="Who speaks.")
    content: str | list[Part] = Field(description="What is said.")


class StreamOptions(Strict):
    """What a stream ends with."""

    include_usage: bool = Field(default=False, description="Count the tokens at the end.")


class ChatRequest(Strict):
    """A request for chat completions."""

    model: str = Field(description="A policy, a palette, or `base/base`.")
    messages: list[Message] = Field(description="The conversation, which the user ends.")
    n: int = Field(default=1, description="Number of answers.")
    stream: bool = Field(default=False, description="Send the answer while it is drawn.")
    stream_options: StreamOptions | None = Field(default=None, description="How a stream ends.")
    seed: int | None = Field(default=None, description="Seed (default: a new one).")
    palette: str | None = Field(default=None, description="Whose λ chooses, or steers.")
    lam: dict[str, float] | None = Field(default=None, description="The λ that chooses, or steers.")
    candidates: int | None = Field(default=None, description="K (default: the study's).")
    temperature: float | None = Field(default=None, description="Only the study's own.")
    top_p: float | None = Field(default=None, description="Only the study's own.")
    max_tokens: int | None = Field(default=None, description="At least the study's own.")
    max_completion_tokens: int | None = Field(default=None, description="As `max_tokens`.")
    user: str | None = Field(default=None, description="Not used.")


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        candidates: most candidates, and most answers, of one request.
        prompt_tokens: most tokens of a prompt with its template.
        body: most bytes of a request.
        waiting: most requests that wait.
    """

    candidates: int = 256
    prompt_tokens: int = 4096
    body: int = 64 * 1024
    waiting: int = 256


@dataclass(frozen=True)
class Chat:
    """A request that can be answered.

    Attributes:
        model: the name that was asked.
        asked: what it means.
        stream: whether the answer is sent while it is drawn.
        counts: whether a stream ends with the number of tokens.
        id: name of the answer.
    """

    model: str
    asked: Asked
    stream: bool
    counts: bool
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")


def read_request(body: bytes, study: Study, limits: Limits) -> Chat:
    """The request that a body holds.

    Raises:
        InputError: if it is no JSON, has unknown or wrong keys, names what the study lacks, or asks
            for more than is allowed.
    """
    request = _parsed(body)
    _check_rule(request, study)
    prompt = _prompt(request.messages, study)
    seed = secrets.randbits(53) if request.seed is None else request.seed
    asked = ask(
        study,
        prompt,
        _way(request, study),
        seed=seed,
        samples=request.n,
        candidates=request.candidates,
        most=limits.candidates,
    )
    options = request.stream_options
    return Chat(request.model, asked, request.stream, bool(options and options.include_usage))


def _prompt(messages: list[Message], study: Study) -> str:
    """The prompt that the messages of a request are."""
    found = read_messages([message.model_dump() for message in messages])
    if found is None or found.tools or not is_asked(found.turns):
        roles = ", ".join(message.role for message in messages)
        raise InputError(
            f"messages has the turns {roles or '(none)'}; expected texts of the roles user and "
            "assistant, the user first and last, after a message of the role system or none; "
            "correct them"
        )
    if len([turn for turn in found.turns if turn["role"] != SYSTEM]) > 1 and not has_turns(
        STUDY, study.prompts.template
    ):
        raise InputError(
            f"messages has {len(messages)} turns; expected one, of the role user, since the "
            "study's template holds one prompt; send it alone"
        )
    return prompt_of(found.turns)


def _parsed(body: bytes) -> ChatRequest:
    try:
        data = json.loads(body.decode())
    except (ValueError, RecursionError) as fault:
        raise InputError(
            f"the body cannot be read ({type(fault).__name__}: {str(fault)[:200]}); expected a "
            "JSON object in UTF-8; correct it"
        ) from fault
    try:
        return ChatRequest.model_validate(data)
    except ValidationError as faults:
        first = faults.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the body"
        if first["type"] == "extra_forbidden":
            known = list(ChatRequest.model_fields)
            raise InputError(
                f"{key[:100]} is no key of a request; expected some of {', '.join(known)}; "
                f"{nearest(key[:100], known)}"
            ) from faults
        raise InputError(f"{key[:100]}: {first['msg']}; correct it") from faults


def _check_rule(request: ChatRequest, study: Study) -> None:
    """Refuse another sampling rule: the answers would be another policy's."""
    rule = study.sampling
    for name in ("temperature", "top_p"):
        given = getattr(request, name)
        if given is not None and given != getattr(rule, name):
            raise InputError(
                f"{name} is {given:g}; expected {getattr(rule, name):g}, the study's, since λ and "
                "policies hold for its sampling rule alone; leave it out"
            )
    for name in ("max_tokens", "max_completion_tokens"):
        given = getattr(request, name)
        if given is not None and given < rule.max_new_tokens:
            raise InputError(
                f"{name} is {given}; expected at least {rule.max_new_tokens}, the study's longest "
                "answer, since a shorter one would be another policy's; leave it out"
            )


def _way(request: ChatRequest, study: Study) -> Way:
    """How a request is answered."""
    if request.model == LEARNT and request.palette is None and request.lam is None:
        raise InputError(f"the model {LEARNT} needs a λ; expected palette or lam; add one")
    if request.palette is None and request.lam is None:
        if request.model in study.palettes:
            return way_of_palette(study, request.model)
        return way_of_policy(study, request.model)
    by = {BASE.name: LAM, LEARNT: LEARNT}.get(request.model)
    if by is None or (request.palette is not None and request.lam is not None):
        raise InputError(
            f"palette and lam choose among answers of the model {BASE.name}, or steer the model "
            f"{LEARNT}, and only one of them may be given; expected one of these models, not "
            f"{request.model!r}, and one of them; correct it"
        )
    if request.palette is not None:
        return way_of_palette(study, request.palette, by)
    return way_of_lam(study, request.lam or {}, by)


def completion(chat: Chat, answer: Answer, created: int) -> dict[str, Any]:
    """The response to a request that is not streamed."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": text.response},
            "finish_reason": finish(text.truncated),
            "logprobs": None,
        }
        for index, text in enumerate(answer.texts)
    ]
    return {
        **_head(chat, "chat.completion", created),
        "choices": choices,
        "usage": usage(answer),
        "polyalign": as_json(answer),
    }


def chunk(
    chat: Chat, created: int, index: int, delta: Mapping[str, str], finished: str | None = None
) -> dict[str, Any]:
    """One event of a stream: more of the answer number `index`, or why it ended."""
    choice = {"index": index, "delta": delta, "finish_reason": finished, "logprobs": None}
    return {**_head(chat, "chat.completion.chunk", created), "choices": [choice]}


def last_chunk(chat: Chat, answer: Answer, created: int) -> dict[str, Any]:
    """The event after all answers: their rewards, and the number of tokens if that is asked."""
    counted = {"usage": usage(answer)} if chat.counts else {}
    head = _head(chat, "chat.completion.chunk", created)
    return {**head, "choices": [], **counted, "polyalign": as_json(answer)}


def usage(answer: Answer) -> dict[str, int]:
    """The number of tokens that were read and drawn, candidates included."""
    drawn = sum(text.tokens for text in answer.candidates or answer.texts)
    read = answer.prompt_tokens
    return {"prompt_tokens": read, "completion_tokens": drawn, "total_tokens": read + drawn}


def finish(truncated: bool) -> str:
    """Why an answer ended, in OpenAI's words."""
    return "length" if truncated else "stop"


def _head(chat: Chat, kind: str, created: int) -> dict[str, Any]:
    return {"id": chat.id, "object": kind, "created": created, "model": chat.model}
