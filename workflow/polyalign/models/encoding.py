"""What a model reads before it answers: a prompt in its template, or in the chat template.

Generation, log-probabilities, rewards and training all encode prompts with these functions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polyalign.errors import InputError
from polyalign.settings import CHAT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def render(tokenizer: "PreTrainedTokenizerBase", template: str, prompt: str) -> str:
    """The text for `tokenizer(text)`: the template with the prompt in it.

    `chat` means the chat template of the tokenizer: the prompt is the user's turn, and the
    assistant's turn is opened. A beginning-of-sequence token that the tokenizer adds itself is
    removed from the text, so that there is only one.

    Raises:
        InputError: if the template is `chat` and the tokenizer has no chat template.
    """
    if template != CHAT:
        return template.format(prompt=prompt)
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path}: its tokenizer has no chat template; expected one for "
            "`prompts.template: chat`; write the template out, with {prompt}"
        )
    turns = [{"role": "user", "content": prompt}]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    first = tokenizer.bos_token
    if first and text.startswith(first):
        ids = tokenizer(text)["input_ids"]
        if ids[:2] == [tokenizer.bos_token_id] * 2:
            return text.removeprefix(first)
    return text


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", template: str, prompt: str) -> list[int]:
    """Token ids of a rendered prompt."""
    return list(tokenizer(render(tokenizer, template, prompt))["input_ids"])


def text_config(model: Any) -> Any:
    """The configuration of the part of a model that reads text: the whole one of most models."""
    return model.config.get_text_config(decoder=True)


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
    """Raise InputError if the longest prompt leaves no room for a response.

    Args:
        names: what identifies each prompt in the message: its id or its text.
        encoded: token ids of the prompts.
        source: the policy or model that reads them, for the message.
        positions: most tokens that the model takes, or None.
        new_tokens: tokens that a response needs.
    """
    if positions is None or not encoded:
        return
    longest = max(range(len(encoded)), key=lambda row: len(encoded[row]))
    tokens = len(encoded[longest])
    if tokens + new_tokens > positions:
        raise InputError(
            f"{source}: prompt {names[longest][:60]!r} has {tokens} tokens, which with a response "
            f"of {new_tokens} exceeds the model's {positions} positions; expected room for both; "
            "shorten or leave out such prompts, or lower sampling.max_new_tokens"
        )
