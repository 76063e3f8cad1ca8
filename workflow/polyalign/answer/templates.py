"""Prompts in other templates than the study's: plain, HH, Alpaca, chat; with earlier turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polyalign.data.chats import ASSISTANT, USER, prompt_of, with_input, with_system
from polyalign.errors import InputError
from polyalign.models.encoding import render
from polyalign.settings import ALPACA, CHAT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STUDY, PLAIN, HH = "study", "plain", "hh"

TEXTS = {
    PLAIN: "{prompt}",
    # Bai et al., "Training a helpful and harmless assistant", 2022.
    HH: "\n\nHuman: {prompt}\n\nAssistant:",
    ALPACA: ALPACA,
    CHAT: CHAT,
}
"""Template → what `render` takes."""


@dataclass(frozen=True)
class Turn:
    """An earlier turn of a conversation: what was asked, and what the model answered."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Written:
    """A prompt in a template.

    Attributes:
        prompt: what rewards read as the prompt (see `data.chats`).
        text: what the model reads; None for the prompt in the study's template.
    """

    prompt: str
    text: str | None


def has_turns(template: str, study_template: str) -> bool:
    """Whether earlier turns have a place in a template."""
    meant = study_template if template == STUDY else TEXTS.get(template, template)
    return meant in (CHAT, TEXTS[HH])


def write(
    template: str,
    study_template: str,
    prompt: str,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    system: str | None = None,
    given: str = "",
    earlier: Sequence[Turn] = (),
) -> Written:
    """Put a prompt into a template, with all that was said before it.

    Args:
        template: `study`, `plain`, `hh`, `alpaca`, or `chat` for the model's own.
        study_template: the study's.
        prompt: the prompt, or Alpaca's instruction.
        tokenizer: gives the chat template.
        system: system prompt; in a template without a place for one it stands first.
        given: Alpaca's input, which rewards read after the instruction.
        earlier: earlier turns.

    Raises:
        InputError: if there is no such template, it has no place for what is given, or the
            tokenizer's chat template cannot be used.
    """
    if template not in (STUDY, *TEXTS):
        raise InputError(f"no template {template!r}; expected one of {', '.join((STUDY, *TEXTS))}")
    if earlier and not has_turns(template, study_template):
        raise InputError(
            f"the template {template!r} holds one prompt; expected no earlier turns; begin a new "
            "conversation, or take the template hh or chat"
        )
    meant = study_template if template == STUDY else TEXTS[template]
    if given and meant != ALPACA:
        raise InputError(f"the template {template!r} has no input; expected alpaca; empty it")
    turns = [
        {"role": role, "content": text}
        for turn in earlier
        for role, text in ((USER, turn.prompt), (ASSISTANT, turn.answer))
    ]
    asked = with_input(prompt_of([*turns, {"role": USER, "content": prompt}]), given)
    whole = with_system(asked, system)
    return Written(whole, None if template == STUDY else render(tokenizer, meant, whole))
