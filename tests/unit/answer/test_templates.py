"""Prompts in templates, against texts that are written out."""

import pytest
from transformers import PreTrainedTokenizerBase

from polyalign.answer.answers import Answerer
from polyalign.answer.templates import Turn, Written, has_turns, write
from polyalign.data.chats import dialogue, with_system
from polyalign.errors import InputError
from polyalign.models.encoding import render

STUDY = "Q: {prompt} A:"
HH = "\n\nHuman: {prompt}\n\nAssistant:"
CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
DEAF = CHAT.replace("{{ m.content }}", "{{ m.content if m.role != 'system' }}")
EARLIER = (Turn("a b", "c"), Turn("d", "e"))


@pytest.fixture
def tokenizer(answerer: Answerer) -> PreTrainedTokenizerBase:
    made = answerer.tokenizer
    made.chat_template = CHAT
    return made


def test_one_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    def of(template: str, **more: str) -> Written:
        return write(template, STUDY, "x {y}", tokenizer, **more)

    alpaca = (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nx {y}\n\n### Response:"
    )
    assert of("study") == Written("x {y}", None)
    kind = with_system("x {y}", "s")
    assert of("study", system="s") == Written(kind, None)
    assert render(tokenizer, STUDY, kind) == "s\n\nQ: x {y} A:"
    assert of("plain") == Written("x {y}", "x {y}")
    assert of("hh", system="s") == Written(kind, "s\n\nHuman: x {y}\n\nAssistant:")
    assert of("alpaca") == Written("x {y}", alpaca)
    both = of("alpaca", given="{z}")
    assert dialogue(both.prompt) == "x {y}\n\n{z}"
    assert both.text is not None
    assert both.text.endswith("\nx {y}\n\n### Input:\n{z}\n\n### Response:")
    assert "paired with an input" in both.text
    assert of("chat", system="s") == Written(kind, "<system>s<user>x {y}<assistant>")


def test_turns(tokenizer: PreTrainedTokenizerBase) -> None:
    said = "a b\n\nAssistant: c\n\nHuman: d\n\nAssistant: e\n\nHuman: f"
    for template, study, text in (
        ("hh", STUDY, f"\n\nHuman: {said}\n\nAssistant:"),
        ("study", HH, None),
    ):
        found = write(template, study, "f", tokenizer, earlier=EARLIER)
        assert (dialogue(found.prompt), found.text) == (said, text)
        assert render(tokenizer, HH, found.prompt) == f"\n\nHuman: {said}\n\nAssistant:"
    for template, study in (("chat", STUDY), ("study", "chat")):
        found = write(template, study, "f", tokenizer, earlier=EARLIER)
        turns = "<user>a b<assistant>c<user>d<assistant>e<user>f<assistant>"
        assert dialogue(found.prompt) == said
        assert found.text == (turns if template == "chat" else None)
        assert render(tokenizer, "chat", found.prompt) == turns
    assert write("study", "chat", "f", tokenizer) == Written("f", None)
    assert has_turns("study", HH)
    assert not has_turns("plain", HH)


@pytest.mark.parametrize(
    ("template", "more", "message"),
    [
        ("other", {}, "no template 'other'"),
        ("study", {"earlier": EARLIER}, "holds one prompt"),
        ("alpaca", {"earlier": EARLIER}, "holds one prompt"),
        ("hh", {"given": "i"}, "has no input"),
    ],
)
def test_what_has_no_place_is_an_error(
    tokenizer: PreTrainedTokenizerBase, template: str, more: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write(template, STUDY, "x", tokenizer, **more)


def test_a_chat_template_that_leaves_out_a_turn_is_an_error(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer.chat_template = DEAF
    with pytest.raises(InputError, match="leaves out or changes the turn of the system"):
        write("chat", STUDY, "x", tokenizer, system="be kind")
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        write("chat", STUDY, "x", tokenizer)
