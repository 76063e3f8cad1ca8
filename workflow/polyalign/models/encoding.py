"""What a model reads before it answers: a prompt in its template, or in the chat template.

The one place that knows; generation, log-probabilities and training all call it.
"""

from transformers import PreTrainedTokenizerBase

from polyalign.errors import InputError
from polyalign.settings import CHAT


def render(tokenizer: PreTrainedTokenizerBase, template: str, prompt: str) -> str:
    """The text for `tokenizer(text)`: the template with the prompt in it.

    `chat` stands for the chat template that comes with the tokenizer: the prompt is the user's
    turn, and the assistant's turn is opened. A beginning-of-sequence token that the tokenizer adds
    by itself is taken off, so that it does not stand there twice.

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


def prompt_ids(tokenizer: PreTrainedTokenizerBase, template: str, prompt: str) -> list[int]:
    """Token ids of a rendered prompt."""
    return list(tokenizer(render(tokenizer, template, prompt))["input_ids"])
