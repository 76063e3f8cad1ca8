"""Which token ends a response: as the model, its tokenizer, the template and the sample say."""

from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GenerationConfig, PreTrainedTokenizerFast

from polyalign.errors import InputError
from polyalign.models.encoding import prompt_ids, render
from polyalign.models.endings import (
    end_text,
    end_tokens,
    endings,
    forget_own_rule,
    without_end,
)

SPECIAL = ["<eos>", "<|user|>", "<|bot|>", "<|end|>", "<turn>", "<eom>"]
# As Phi-3 ends a turn, and a whole text once more.
PHI = (
    "{% for m in messages %}{{ '<|user|>' if m.role == 'user' else '<|bot|>' }}{{ m.content }}"
    "<|end|>{% endfor %}{% if add_generation_prompt %}<|bot|>{% else %}{{ eos_token }}{% endif %}"
)
# As Gemma, which refuses other roles than its own.
GEMMA = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('roles') }}{% endif %}"
    "<|user|>{{ m.content | trim }}<turn>{% endfor %}<|bot|>"
)
DATED = "{{ strftime_now('%d %b %Y') }}<|user|>{{ messages[0].content }}<|bot|>"


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({token: n for n, token in enumerate([*SPECIAL, *alphabet])}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", additional_special_tokens=SPECIAL[1:]
    )


def named(*ends: int) -> GenerationConfig:
    return GenerationConfig(eos_token_id=list(ends) if len(ends) > 1 else next(iter(ends), None))


def test_end_tokens_are_the_models_then_the_tokenizers(tokenizer) -> None:  # type: ignore[no-untyped-def]
    assert end_tokens(named(3, 4), tokenizer) == [3, 4, 0]
    assert end_tokens(named(0, 3), tokenizer) == [0, 3]
    assert end_tokens(named(3), tokenizer) == [3, 0]
    assert end_tokens(named(), tokenizer) == [0]
    assert end_tokens(None, tokenizer) == [0]
    tokenizer.eos_token = None
    assert end_tokens(named(3), tokenizer) == [3]


@pytest.mark.parametrize(
    ("template", "chat", "ends", "usual"),
    [
        ("chat", PHI, (0, 3, 5), "<|end|>"),
        ("chat", GEMMA, (0, 4), "<turn>"),
        ("chat", DATED, (4, 3), "<eos>"),
        ("<|user|>{prompt}<|end|>\n<|bot|>", None, (0, 3), "<|end|>"),
        ("<|end|>{prompt}<|bot|>", None, (3,), "<eos>"),
        ("{prompt}", None, (4, 3), "<eos>"),
    ],
)
def test_the_usual_end_is_the_one_after_an_answer(tokenizer, template, chat, ends, usual) -> None:  # type: ignore[no-untyped-def]
    tokenizer.chat_template = chat
    found = endings(named(*ends), tokenizer, template)
    assert found.usual_text == usual
    assert found.id_of(None) == SPECIAL.index(usual)


def test_a_sampled_end_is_kept_and_a_cut_has_none(tokenizer) -> None:  # type: ignore[no-untyped-def]
    found = endings(named(4, 3), tokenizer, "{prompt}")
    assert [found.id_of(end) for end in ("<|end|>", "<turn>", "<eos>")] == [3, 4, 0]
    assert found.id_of("") is None
    assert found.id_of("</s>") == 0, "the end token of another model becomes the usual one"
    assert found.id_of("<eom>") == 0
    tokenizer.eos_token = None
    assert endings(named(), tokenizer, "{prompt}").id_of(None) is None
    assert endings(named(5, 4), tokenizer, "{prompt}").usual_text == "<eom>"


def test_a_response_is_told_apart_from_its_end(tokenizer) -> None:  # type: ignore[no-untyped-def]
    assert end_text([9, 8, 3], [3, 4], tokenizer) == "<|end|>"
    assert end_text([3, 8], [3, 4], tokenizer) == ""
    assert end_text([], [3], tokenizer) == ""
    assert without_end([9, 8, 3], [3, 4]) == [9, 8]
    assert without_end([3, 8], [3, 4]) == [3, 8]
    assert without_end([], [3]) == []


def test_a_model_keeps_its_end_tokens_alone(tokenizer) -> None:  # type: ignore[no-untyped-def]
    tokenizer.pad_token = "<eom>"
    made = SimpleNamespace(generation_config=named(3, 4))
    made.generation_config.repetition_penalty = 1.3
    made.generation_config.bos_token_id = 7
    assert forget_own_rule(made, tokenizer) == [3, 4, 0]
    left = made.generation_config.to_diff_dict()
    left.pop("transformers_version", None)
    assert left == {"bos_token_id": 7, "eos_token_id": [3, 4, 0], "pad_token_id": 5}


def test_the_date_in_a_chat_template_is_always_the_same(tokenizer) -> None:  # type: ignore[no-untyped-def]
    tokenizer.chat_template = DATED
    assert render(tokenizer, "chat", "hi") == "01 Jan 2025<|user|>hi<|bot|>"
    tokenizer.chat_template = (
        "\n  {% if strftime_now is defined %}{% set now = strftime_now %}\n{% endif %}"
        "{{ now('%A %-d %B %Y, %Y-%m-%d %H:%M') }} {{ messages[0].content }}"
    )
    expected = "\nWednesday 1 January 2025, 2025-01-01 00:00 hi"
    assert render(tokenizer, "chat", "hi") == expected


def test_an_end_token_that_the_tokenizer_adds_is_taken_off_a_prompt(tokenizer) -> None:  # type: ignore[no-untyped-def]
    """An answer follows. One that the template writes out stays."""
    plain = prompt_ids(tokenizer, "Q: {prompt} A:", "hi")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|user|> $A <eos>", special_tokens=[("<|user|>", 1), ("<eos>", 0)]
    )
    assert tokenizer("Q: hi A:")["input_ids"] == [1, *plain, 0]
    assert prompt_ids(tokenizer, "Q: {prompt} A:", "hi") == [1, *plain]
    assert prompt_ids(tokenizer, "Q: {prompt} A:<eos>", "hi") == [1, *plain, 0]


@pytest.mark.parametrize("template", ["<turn>Q: {prompt}", "chat"])
def test_a_beginning_token_stands_once(tokenizer, template) -> None:  # type: ignore[no-untyped-def]
    """The template writes it, and the tokenizer adds it."""
    tokenizer.bos_token = "<turn>"
    tokenizer.chat_template = "{{ bos_token }}Q: {{ messages[0].content }}"
    once = prompt_ids(tokenizer, template, "hi")
    assert once[0] == 4
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<turn> $A", special_tokens=[("<turn>", 4)]
    )
    assert prompt_ids(tokenizer, template, "hi") == once


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ("{{ raise_exception('no system turn') }}", "TemplateError: no system turn"),
        ("{{ messages[1]['content'] + 1 }}", "cannot be rendered"),
        ("{% for", "cannot be rendered"),
        ("<|user|><|bot|>", "leaves out or changes the prompt 'hi'"),
        ("{{ messages[0].content | upper }}", "leaves out or changes the prompt 'hi'"),
    ],
)
def test_a_chat_template_that_fails_is_one_sentence(tokenizer, chat, message) -> None:  # type: ignore[no-untyped-def]
    tokenizer.chat_template, tokenizer.name_or_path = chat, "some/model"
    with pytest.raises(InputError, match=f"^some/model: .*{message}.*write the template out"):
        render(tokenizer, "chat", "hi")
