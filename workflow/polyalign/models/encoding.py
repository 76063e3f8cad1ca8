"""What a model reads before it answers: a prompt in its template, or in the chat template.

Generation, log-probabilities, rewards and training all encode prompts with these functions.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from polyalign.data.chats import (
    ASSISTANT,
    INPUT,
    dialogue,
    in_one,
    prompt_of,
    shown,
    system_of,
    turns_of,
)
from polyalign.errors import InputError
from polyalign.settings import ALPACA, CHAT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DATE = datetime(2025, 1, 1)
"""What chat templates that write today's date write: a prompt must not change from day to day."""

DATE_CODES = [f"%{code}" for code in ("-d", "-m", *"YymdeBbAaHMSIpjF")]
"""What a chat template may write of a date, as `strftime` names it."""

ALPACA_ALONE = (
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\n\n### Instruction:\n{prompt}\n\n### Response:"
)
"""Alpaca's template (Taori et al., "Stanford Alpaca", 2023)."""

ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{prompt}\n\n### Input:\n{input}\n\n### Response:"
)
"""Alpaca's template for an instruction with an input."""

MOST_NAMED = 20
"""Prompts that a message names before it only counts the rest."""


def render(tokenizer: "PreTrainedTokenizerBase", template: str, prompt: str) -> str:
    """The text for `tokenizer(text)`: the template with the prompt in it.

    `chat` means the chat template of the tokenizer: the turns of the prompt (see `data.chats`), and
    the assistant's turn is opened. In a template that is written out a system message stands first,
    and turns are named as in Anthropic's data; `alpaca` is Alpaca's, with a place for an input. A
    beginning-of-sequence token that the tokenizer adds itself is removed from the text, so that
    there is only one.

    Raises:
        InputError: if the template is `chat`, and the tokenizer has no chat template, or one that
            cannot be rendered or leaves a turn out.
    """
    text = _in_chat(tokenizer, prompt) if template == CHAT else written_out(template, prompt)
    first = tokenizer.bos_token
    if first and text.startswith(first):
        ids = tokenizer(text)["input_ids"]
        if ids[:2] == [tokenizer.bos_token_id] * 2:
            return text.removeprefix(first)
    return text


def _in_chat(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> str:
    """A prompt in the chat template, which must show all of it."""
    turns = [in_one(turn) for turn in turns_of(prompt)]
    text = in_chat_template(tokenizer, turns, opened=True)
    for turn in turns:
        # Many templates strip what they are given.
        if turn["content"].strip() not in text:
            whose = "prompt" if len(turns) == 1 else f"turn of the {turn['role']}"
            raise InputError(
                f"{tokenizer.name_or_path}: its chat template leaves out or changes the {whose} "
                f"{turn['content'][:60]!r}; expected one that shows all turns as they are; write "
                "the template out instead of `chat`, with {prompt}"
            )
    return text


def written_out(template: str, prompt: str) -> str:
    """A prompt in a template that is written out (see `render`)."""
    turns = turns_of(prompt)
    if template == ALPACA and INPUT in turns[-1]:
        last = {key: text for key, text in turns[-1].items() if key != INPUT}
        asked = dialogue(prompt_of([*turns[:-1], last]))
        text = ALPACA_WITH_INPUT.format(prompt=asked, input=turns[-1][INPUT])
    else:
        written = ALPACA_ALONE if template == ALPACA else template
        text = written.format(prompt=dialogue(prompt))
    system = system_of(prompt)
    return system + ("" if not system or text.startswith("\n") else "\n\n") + text


def in_chat_template(
    tokenizer: "PreTrainedTokenizerBase", turns: list[dict[str, str]], *, opened: bool
) -> str:
    """Turns in the chat template, with the assistant's turn opened after them or not.

    Args:
        tokenizer: its chat template is taken.
        turns: each with its `role` and its `content`.
        opened: whether the assistant's turn follows.

    Raises:
        InputError: if there is no chat template, or it cannot be rendered.
    """
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path}: its tokenizer has no chat template; expected one for "
            "`template: chat`; write the template out, with {prompt}"
        )
    try:
        text = tokenizer.apply_chat_template(
            turns,
            chat_template=_dated(tokenizer.get_chat_template()),
            tokenize=False,
            add_generation_prompt=opened,
        )
    except Exception as fault:  # a template is a program, and may fail in any way
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template cannot be rendered "
            f"({type(fault).__name__}: {str(fault).strip().partition(chr(10))[0]}); expected one "
            f"that takes turns of {', '.join(turn['role'] for turn in turns)}; write the template "
            "out instead of `chat`, with {prompt}"
        ) from fault
    return str(text)


def _dated(chat_template: str) -> str:
    """A chat template that writes `DATE` where it would write today's date.

    It gets a `strftime_now` of its own, a macro. transformers hands no functions to a template.
    """
    if "strftime_now" not in chat_template:
        return chat_template
    codes = "".join(f" | replace('{code}', '{DATE.strftime(code)}')" for code in DATE_CODES)
    macro = f"{{% macro strftime_now(format) %}}{{{{ format{codes} }}}}{{% endmacro %}}"
    # The line break after a block is not rendered, and the template still starts a line.
    return f"{macro}\n{chat_template}"


def after_answer(tokenizer: "PreTrainedTokenizerBase", template: str) -> str:
    """What a template writes after an answer, then after a prompt: there end tokens are found.

    A template that is written out ends where the answer begins, and so do some chat templates.
    """
    prompt, answer = "A-prompt", "An-answer"
    after_prompt = render(tokenizer, template, prompt).rpartition(prompt)[2]
    if template != CHAT:
        return after_prompt
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    try:
        return in_chat_template(tokenizer, turns, opened=False).rpartition(answer)[2] + after_prompt
    except InputError:
        return after_prompt


def render_answer(tokenizer: "PreTrainedTokenizerBase", prompt: str, response: str | None) -> str:
    """The conversation of a prompt and its answer in the chat template, special tokens included.

    Args:
        tokenizer: its chat template is taken.
        prompt: the prompt.
        response: the answer; None opens the assistant's turn.

    Raises:
        InputError: if the tokenizer has no chat template, or one that cannot be rendered.
    """
    turns = [in_one(turn) for turn in turns_of(prompt)]
    answer = [] if response is None else [{"role": ASSISTANT, "content": response}]
    return in_chat_template(tokenizer, [*turns, *answer], opened=response is None)


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", template: str, prompt: str) -> list[int]:
    """Token ids of a rendered prompt.

    An end token that the tokenizer puts after every text is taken off: an answer follows.
    """
    text = render(tokenizer, template, prompt)
    ids = list(tokenizer(text)["input_ids"])
    if ids[-1:] == [tokenizer.eos_token_id]:
        plain = tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids[-1 - len(plain) : -1] == plain:
            ids.pop()
    return ids


def text_config(model: Any) -> Any:
    """The configuration of the part of a model that reads text: the whole one of most models."""
    return model.config.get_text_config(decoder=True)


def known_tokens(model: Any) -> int | None:
    """Tokens that a model has embeddings of; None where it has no table of them, as CANINE."""
    try:
        return int(model.get_input_embeddings().num_embeddings)
    except (NotImplementedError, AttributeError):
        return None


def pad_with_known(tokenizer: "PreTrainedTokenizerBase", model: Any) -> None:
    """Let a tokenizer pad with a token that the model knows; padding is masked, so any will do.

    Fine-tuning often leaves a padding token behind for which the model has no embedding. One that
    no text ends with is best: classifiers find the last token of a text by the padding after it.
    """
    known = known_tokens(model)
    if known is None or tokenizer.pad_token_id < known:
        return
    special = (tokenizer.bos_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id, 0)
    pad = next(token for token in special if token is not None and token < known)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)


def pad_apart(tokenizer: "PreTrainedTokenizerBase", model: Any) -> None:
    """Let the tokenizer of a classifier pad with a token that no text ends with.

    A model whose config names a padding token takes the last other token of a text. One that names
    none takes the last token, which may be the end token, and a tokenizer without a padding token
    pads with just that.
    """
    end = tokenizer.eos_token_id
    named = getattr(text_config(model), "pad_token_id", None)
    if named is not None or tokenizer.pad_token_id != end:
        return
    known = known_tokens(model) or len(tokenizer)
    special = [tokenizer.bos_token_id, tokenizer.unk_token_id, *tokenizer.all_special_ids]
    # The last tokens of a vocabulary are its rarest.
    others = [token for token in [*special, known - 1, known - 2] if token not in (None, end)]
    pad = next(token for token in others if token < min(known, len(tokenizer)))
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)


def max_positions(model: Any) -> int | None:
    """Most tokens that a model has positions for; None if its configuration has no limit."""
    limit: int | None = getattr(text_config(model), "max_position_embeddings", None)
    # XLNet, which has no limit, says -1.
    return limit if limit is not None and limit > 0 else None


def check_lengths(
    names: Sequence[str],
    encoded: Sequence[Sequence[int]],
    *,
    source: str,
    positions: int | None,
    new_tokens: int,
) -> None:
    """Raise InputError if prompts leave no room for a response; it names all of them.

    Args:
        names: the prompts as the message shows them.
        encoded: token ids of the prompts.
        source: the policy or model that reads them, for the message.
        positions: most tokens that the model takes, or None.
        new_tokens: tokens that a response needs.
    """
    if positions is None:
        return
    most = positions - new_tokens
    lengths = {name: len(ids) for name, ids in zip(names, encoded, strict=True) if len(ids) > most}
    if not lengths:
        return
    remedy = (
        f"write `prompts.longest: {most}`, which leaves such prompts out, or lower "
        "sampling.max_new_tokens"
        if most > 0
        else "lower sampling.max_new_tokens"
    )
    raise InputError(
        f"{source}: no room for a response of {new_tokens} tokens after {named_lengths(lengths)}; "
        f"expected prompts of at most {most} tokens, since the model has {positions} positions; "
        f"{remedy}"
    )


class LengthLimit:
    """Whether prompts are short enough for a model; those that are not are kept for a message.

    Args:
        tokenizer: of the model.
        template: text around a prompt, with `{prompt}`, or `chat`.
        most: tokens that a prompt may have, with the template.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", template: str, most: int) -> None:
        self.tokenizer, self.template, self.most = tokenizer, template, most
        self.lengths: dict[str, int] = {}

    def __call__(self, prompt: str) -> bool:
        tokens = len(prompt_ids(self.tokenizer, self.template, prompt))
        if tokens > self.most:
            self.lengths[prompt] = tokens
        return tokens <= self.most

    @property
    def left_out(self) -> int:
        """Prompts that were not short enough."""
        return len(self.lengths)

    def message(self) -> str:
        """All prompts that were left out, with their lengths."""
        listed = named_lengths(self.lengths, most=None)
        return f"left out {listed}, longer than prompts.longest {self.most}"


def named_lengths(lengths: Mapping[str, int], most: int | None = MOST_NAMED) -> str:
    """Prompts with their lengths in tokens, the longest first: `1 prompt of up to 9 tokens ('…`.

    Args:
        lengths: prompt → its length.
        most: how many are named (None: all).
    """
    ordered = sorted(lengths, key=lambda name: (-lengths[name], name))
    listed = ", ".join(f"{shown(name)[:60]!r} ({lengths[name]})" for name in ordered[:most])
    rest = 0 if most is None else len(ordered) - most
    more = f" and {rest} more" if rest > 0 else ""
    return (
        f"{len(ordered)} prompt{'s' if len(ordered) > 1 else ''} of up to {lengths[ordered[0]]} "
        f"tokens ({listed}{more})"
    )
