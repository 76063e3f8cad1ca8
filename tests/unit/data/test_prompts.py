"""Prompts from every kind of source; openings; rendering."""

import json
from pathlib import Path

import pandas as pd
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from polyalign.data.chats import prompt_of, turns_of
from polyalign.data.prompts import opening_of, prompt_table, source_prompts
from polyalign.errors import InputError
from polyalign.models.encoding import LengthLimit, prompt_ids, render
from polyalign.models.logprobs import encode_responses

REFERENCE = Path(__file__).parents[3] / "../shared/reference"
REVIEW = "A film<br /><br />that starts slowly, and then goes on for a very long time indeed."


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="needs the published files beside the checkout")
def test_the_published_prompts_come_out_in_order() -> None:
    published = json.loads((REFERENCE / "llama2_chat-Anthropic-harmless.json").read_text())
    found = source_prompts(
        str(REFERENCE / "hh-harmless-test.jsonl.gz"), "test", turns="first", seed=0
    )
    found = found.texts
    assert len(published) == len(found) == 2312
    assert [record["prompt"].strip() for record in published] == found


@pytest.mark.parametrize("ending", ["csv", "parquet", "json", "jsonl"])
@pytest.mark.parametrize("column", [None, "question"])
def test_tables_of_the_user_are_read(tmp_path: Path, ending: str, column: str | None) -> None:
    texts = ["why?", 'a "quoted", one', " how?\n", " ", "why?"]
    frame = pd.DataFrame({column or "prompt": texts, "other": range(5)})
    path = tmp_path / f"mine.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=ending == "jsonl")
    expected = ["why?", 'a "quoted", one', " how?\n", "why?"]
    assert source_prompts(str(path), "test", column, seed=0).texts == expected
    with pytest.raises(InputError, match=r"column 'absent'; it has .*other"):
        source_prompts(str(path), "test", "absent", seed=0)


def test_prompts_that_are_too_long_are_left_out_before_the_limit(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Of 40 prompts of 1 to 40 words; beginning and template have 3 tokens more."""
    path = tmp_path / "mine.csv"
    texts = [" ".join(["hi"] * (n + 1)) for n in reversed(range(40))]
    pd.DataFrame({"prompt": texts}).to_csv(path, index=False)
    fits = LengthLimit(tokenizer, "[user] {prompt} [answer]", 23)
    sources = [{"path": str(path), "split": "test"}]
    table = prompt_table(sources, limit=15, test_share=0.5, seed=0, fits=fits)
    assert sorted(table["prompt"].str.count("hi")) == list(range(6, 21))
    assert fits.left_out == 20
    message = fits.message()
    assert message.startswith("left out 20 prompts of up to 43 tokens ('hi hi")
    assert message.endswith("(24)), longer than prompts.longest 23")
    assert all(f"({tokens})" in message for tokens in range(24, 44)), "all are named"


def test_rows_that_are_lost_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.dumps({"prompt": f"Question {number}?"}) for number in range(24)]
    bom = tmp_path / "bom.jsonl"
    bom.write_text("\n".join(rows), encoding="utf-8-sig")
    assert len(source_prompts(str(bom), "test", seed=0).texts) == 24
    assert len(source_prompts(str(bom), "test", "prompt", seed=0).texts) == 24
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join([*rows, "{'not': 'JSON'}", '{"other": 1}']), encoding="utf-8")
    said = f"{broken}: 2 of 26 rows have no prompt (1 are not JSON), and are left out"
    for column in (None, "prompt"):
        found = source_prompts(str(broken), "test", column, seed=0)
        assert (len(found.texts), found.said(str(broken))) == (24, [said])
    table = prompt_table(
        [{"path": str(path), "split": "test"} for path in (bom, broken)],
        limit=None, test_share=0.5, seed=1,
    )  # fmt: skip
    assert capsys.readouterr().out == f"{said}\n"
    assert table.attrs["said"] == [said]
    array = tmp_path / "array.jsonl"
    array.write_text(json.dumps([json.loads(row) for row in rows], indent=1), encoding="utf-8")
    with pytest.raises(InputError, match=r"none of its \d+ lines is JSON"):
        source_prompts(str(array), "test", seed=0)


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "csv"])
def test_chat_messages_are_prompts(tmp_path: Path, ending: str) -> None:
    """Of a conversation all before its last answer; a single question is its text."""
    user, answer = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
    tool = {"role": "tool", "content": "42"}
    again = {"role": "user", "content": "and?"}
    rows = [[user], [user, answer], [user, answer, again, tool, answer], [answer]]
    cells = list(map(json.dumps, rows)) if ending == "csv" else rows
    path = tmp_path / f"chat.{ending}"
    frame = pd.DataFrame({"messages": cells, "given": ["", "x", "", ""]})
    if ending == "parquet":
        frame.to_parquet(path)
    elif ending == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=ending == "jsonl")
    found = source_prompts(str(path), "test", "messages", seed=0)
    assert found.texts == ["hi", "hi", prompt_of([user, answer, again])]
    assert found.said("chat") == [
        "chat: 1 of 4 rows have no prompt, and are left out",
        "chat: 1 prompts had messages of tools, which are left out",
    ]
    if ending != "csv":
        assert source_prompts(str(path), "test", seed=0).texts == found.texts
        first = source_prompts(str(path), "test", turns="first", seed=0)
        assert first.texts == ["hi", "hi", "hi"]
    asked = source_prompts(str(path), "test", "messages", input_column="given", seed=0).texts
    assert [turns_of(text)[-1].get("input") for text in asked] == [None, "x", None]
    with pytest.raises(InputError, match="no column 'no'; it has messages, given"):
        source_prompts(str(path), "test", "messages", input_column="no", seed=0)


def test_a_prompt_may_say_na(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("question,number\nNA,nan\nnan,1\n,2\nNaN,NA\n", encoding="utf-8")
    assert source_prompts(str(path), "test", "question", seed=0).texts == ["NA", "nan", "NaN"]


def test_openings_end_with_a_word_in_the_window() -> None:
    plain = "A film that starts slowly, and then goes on for a very long time indeed."
    found = {opening_of(REVIEW, shortest=20, longest=40, seed=seed) for seed in range(40)}
    assert found == {
        "A film that starts slowly,",
        "A film that starts slowly, and",
        "A film that starts slowly, and then",
        "A film that starts slowly, and then goes",
    }
    assert all(plain.startswith(opening) for opening in found if opening)
    again = opening_of(REVIEW, shortest=20, longest=40, seed=3)
    assert again == opening_of(REVIEW, shortest=20, longest=40, seed=3)


def test_a_text_without_a_boundary_there_has_no_opening() -> None:
    assert (
        opening_of("Incomprehensibilities-of-all-kinds abound", shortest=20, longest=30, seed=0)
        is None
    )
    assert opening_of("It was good for me today", shortest=20, longest=30, seed=0) is None


def test_openings_become_prompts(tmp_path: Path) -> None:
    path = tmp_path / "imdb.csv"
    pd.DataFrame({"text": [f"{number} {REVIEW}" for number in range(40)]}).to_csv(path)
    opening = {"shortest": 20, "longest": 30}
    source = {"path": str(path), "split": "test", "opening": opening}
    table = prompt_table([source], limit=None, test_share=0.5, seed=1)
    assert len(table) == 40
    assert table["prompt"].str.len().between(20, 30).all()
    assert set(table["split"]) == {"fit", "test"}
    other = prompt_table([source], limit=None, test_share=0.5, seed=2)
    assert set(other["prompt"]) != set(table["prompt"])
    with pytest.raises(InputError, match="widen `opening`"):
        source_prompts(str(path), "test", None, {"shortest": 900, "longest": 901}, seed=0)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """Adds a beginning token by itself, and has a chat template that writes it too."""
    words = ["<s>", "</s>", "[user]", "[answer]", "hi"]
    inner = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="hi")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    made.chat_template = (
        "{{ bos_token }}{% for m in messages %} [user] {{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %} [answer]{% endif %}"
    )
    return made


def test_a_template_surrounds_the_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    assert render(tokenizer, "[user] {prompt} [answer]", "hi") == "[user] hi [answer]"
    assert prompt_ids(tokenizer, "[user] {prompt} [answer]", "hi") == [0, 2, 4, 3]


def test_the_chat_template_is_the_tokenizers_own(tokenizer: PreTrainedTokenizerFast) -> None:
    """The beginning token stands once, although template and tokenizer both write it."""
    assert prompt_ids(tokenizer, "chat", "hi") == [0, 2, 4, 3]
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        render(tokenizer, "chat", "hi")


@pytest.mark.parametrize("template", ["[user] {prompt} [answer]", "chat"])
def test_responses_are_encoded_with_their_own_prompts(
    tokenizer: PreTrainedTokenizerFast, template: str
) -> None:
    """In their order, without a beginning token of their own, with the end tokens there are."""
    prompts, responses = ["hi", "hi hi", "hi"], ["hi", "", "hi [user]"]
    asked = [prompt_ids(tokenizer, template, prompt) for prompt in prompts]
    answered = [[4, 1], [1], [4, 2]]
    encoded = encode_responses(tokenizer, template, prompts, responses, [1, 1, None])
    assert encoded == list(zip(asked, answered, strict=True))
    assert encode_responses(tokenizer, template, [], [], []) == []
