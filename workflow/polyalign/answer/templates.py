"""Prompts in other templates than the study's: plain, HH, Alpaca, chat; with earlier turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polyalign.errors import InputError
from polyalign.models.encoding import in_chat_template
from polyalign.settings import CHAT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STUDY, PLAIN, HH, ALPACA = "study", "plain", "hh", "alpaca"

TEXTS = {
    PLAIN: "{prompt}",
    # Bai et al., "Training a helpful and harmless assistant", 2022.
    HH: "\n\nHuman: {prompt}\n\nAssistant:",
    # Taori et al., "Stanford Alpaca", 2023.
    ALPACA: (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\n{prompt}\n\n### Response:"
    ),
}
"""Template → its text."""

WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{prompt}\n\n### Input:\n{input}\n\n### Response:"
)
"""Alpaca's template for an instruction with an input."""


@dataclass(frozen=True)
class Turn:
    """An earlier turn of a conversation: what was asked, and what the model answered."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Written:
    """A prompt in a template.

    Attributes:
        prompt: what rewards read as the prompt.
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
    system: str = "",
    given: str = "",
    earlier: Sequence[Turn] = (),
) -> Written:
    """Put a prompt into a template.

    In HH the earlier turns are part of the prompt, as in Anthropic's data, so rewards read them.
    Rewards never read a system prompt, nor the earlier turns of a chat template.

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
    if template not in (STUDY, CHAT, *TEXTS):
        raise InputError(
            f"no template {template!r}; expected one of {', '.join((STUDY, *TEXTS, CHAT))}"
        )
    if earlier and not has_turns(template, study_template):
        raise InputError(
            f"the template {template!r} holds one prompt; expected no earlier turns; begin a new "
            "conversation, or take the template hh or chat"
        )
    if given and template != ALPACA:
        raise InputError(f"the template {template!r} has no input; expected alpaca; empty it")
    meant = study_template if template == STUDY else TEXTS.get(template, template)
    if meant == CHAT:
        if template == STUDY and not system and not earlier:
            return Written(prompt, None)
        return Written(prompt, _chat(tokenizer, prompt, system, earlier))
    said = "".join(f"{turn.prompt}\n\nAssistant: {turn.answer}\n\nHuman: " for turn in earlier)
    if given:
        text, read = WITH_INPUT.format(prompt=prompt, input=given), f"{prompt}\n\n{given}"
    else:
        text, read = meant.format(prompt=said + prompt), said + prompt
    if template == STUDY and not system:
        return Written(read, None)
    before = system if not system or text.startswith("\n") else f"{system}\n\n"
    return Written(read, before + text)


def _chat(
    tokenizer: "PreTrainedTokenizerBase", prompt: str, system: str, earlier: Sequence[Turn]
) -> str:
    """A conversation in the chat template, which must show all of it."""
    turns = [{"role": "system", "content": system}] if system else []
    for turn in earlier:
        turns.append({"role": "user", "content": turn.prompt})
        turns.append({"role": "assistant", "content": turn.answer})
    turns.append({"role": "user", "content": prompt})
    text = in_chat_template(tokenizer, turns, opened=True)
    for one in turns:
        # Many templates strip what they are given.
        if one["content"].strip() not in text:
            raise InputError(
                f"the model's chat template leaves out the turn of the {one['role']} "
                f"({one['content'][:60]!r}); expected one that shows it; take another template"
            )
    return text
