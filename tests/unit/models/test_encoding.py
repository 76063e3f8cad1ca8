"""What a model reads, and whether it fits."""

from types import SimpleNamespace

import pytest
from talks import CHATML, IN_CHAT, OPENED, SAID, TALK, TURNS, chat_tokenizer
from transformers import BloomConfig, GPT2Config
from trl.data_utils import apply_chat_template

from polyalign.data.chats import with_input, with_system
from polyalign.errors import InputError
from polyalign.models.encoding import (
    check_lengths,
    max_positions,
    prompt_ids,
    render,
    render_answer,
)
from polyalign.models.logprobs import encode_responses


def test_the_positions_of_a_model_are_those_of_its_configuration() -> None:
    for config, positions in ((GPT2Config(n_positions=32), 32), (BloomConfig(), None)):
        assert max_positions(SimpleNamespace(config=config)) == positions


def test_prompts_that_fit_with_a_response_pass() -> None:
    check_lengths(["a", "b"], [[1, 2], [3]], source="model", positions=5, new_tokens=3)
    check_lengths(["a"], [[1] * 99], source="model", positions=None, new_tokens=3)
    check_lengths([], [], source="model", positions=5, new_tokens=3)


def test_all_prompts_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError) as raised:
        check_lengths(
            ["a", "b", "c", "b"], [[1] * 3, [1] * 4, [1] * 2, [1] * 4], source="some/model",
            positions=5, new_tokens=3,
        )  # fmt: skip
    assert str(raised.value) == (
        "some/model: no room for a response of 3 tokens after 2 prompts of up to 4 tokens "
        "('b' (4), 'a' (3)); expected prompts of at most 2 tokens, since the model has 5 "
        "positions; write `prompts.longest: 2`, which leaves such prompts out, or lower "
        "sampling.max_new_tokens"
    )


def test_a_long_list_of_prompts_is_counted() -> None:
    with pytest.raises(InputError, match=r"25 prompts of up to 29 tokens .* and 5 more\)"):
        check_lengths(
            [f"p{n}" for n in range(30)], [[1] * n for n in range(30)], source="m",
            positions=5, new_tokens=1,
        )  # fmt: skip


def test_a_conversation_in_the_chat_template_is_as_trl_renders_it() -> None:
    tokenizer = chat_tokenizer()
    assert render(tokenizer, "chat", TALK) == OPENED
    theirs = apply_chat_template({"prompt": TURNS}, tokenizer)
    assert theirs["prompt"] == OPENED
    asked = tokenizer(OPENED)["input_ids"]
    assert prompt_ids(tokenizer, "chat", TALK) == asked
    answered = f"{IN_CHAT}<|im_start|>assistant\nWell.<|im_end|>\n"
    assert render_answer(tokenizer, TALK, "Well.") == answered
    ((before, after),) = encode_responses(tokenizer, "chat", [TALK], ["Well."], [0])
    assert (before, tokenizer.decode(after)) == (asked, "Well.<|im_end|>")
    tokenizer.chat_template = CHATML.replace("m in messages", "m in messages[1:]")
    with pytest.raises(InputError, match=r"leaves out or changes the turn of the system 'Be kind"):
        render(tokenizer, "chat", TALK)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{prompt}", f"Be kind.\n\n{SAID}"),
        ("\n\nHuman: {prompt}\n\nAssistant:", f"Be kind.\n\nHuman: {SAID}\n\nAssistant:"),
    ],
)
def test_a_conversation_in_a_template_that_is_written_out(template: str, text: str) -> None:
    assert render(chat_tokenizer(), template, TALK) == text


def test_alpacas_template_has_a_place_for_an_input() -> None:
    """As in Stanford Alpaca's train.py; elsewhere an input follows its instruction."""
    tokenizer, both = chat_tokenizer(), with_input("Sum up.", "A {text}.")
    alone = (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nSum up.\n\n### Response:"
    )
    with_both = (
        "Below is an instruction that describes a task, paired with an input that provides "
        "further context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nSum up.\n\n### Input:\nA {text}.\n\n### Response:"
    )
    assert render(tokenizer, "alpaca", "Sum up.") == alone
    assert render(tokenizer, "alpaca", both) == with_both
    assert render(tokenizer, "alpaca", with_system(both, "s")) == f"s\n\n{with_both}"
    assert render(tokenizer, "Q: {prompt}", both) == "Q: Sum up.\n\nA {text}."
    said = "<|im_start|>user\nSum up.\n\nA {text}.<|im_end|>\n<|im_start|>assistant\n"
    assert render(tokenizer, "chat", both) == said
