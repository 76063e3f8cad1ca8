"""The sandbox's language model: its tokenizer, its repeatability, and that it learns."""

import json
import math

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from polyalign.errors import InputError
from polyalign.sandbox import language_model
from polyalign.sandbox.language_model import _encode, _loss, build_tokenizer, read_corpus, train_lm
from polyalign.sandbox.world import write_world

TEMPLATE = "\n\nHuman: {prompt}\n\nAssistant:"
TINY = {"template": TEMPLATE, "width": 32, "layers": 1, "batch_size": 8}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "world"
    write_world(path, seed=0, dialogues=300, pairs=2)
    return path / "corpus.jsonl"


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("lm") / "model"
    return output, train_lm(corpus, output, seed=1, steps=210, **TINY)


def texts(corpus):
    rows = read_corpus(corpus)
    return [
        f"{TEMPLATE.format(prompt=p)} {r}" for p, r in zip(rows.prompt, rows.response, strict=True)
    ]


def test_tokenizer_returns_every_text_and_adds_nothing(corpus, trained):
    tokenizer = AutoTokenizer.from_pretrained(trained[0])
    for text in [*texts(corpus), " spaces  and\nlines , kept ", "naïve — 猫 🙂"]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_end_and_padding_are_two_tokens_known_to_tokenizer_and_model(trained):
    tokenizer = AutoTokenizer.from_pretrained(trained[0])
    config = AutoModelForCausalLM.from_pretrained(trained[0]).config
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == config.eos_token_id
    assert tokenizer.pad_token_id == config.pad_token_id != tokenizer.eos_token_id
    assert tokenizer("a<|endoftext|>")["input_ids"][-1] == tokenizer.eos_token_id
    padded = tokenizer(["Good luck.", "Good luck with the tree today."], padding=True)
    assert (
        padded["attention_mask"][0].count(0)
        == padded["input_ids"][0].count(tokenizer.pad_token_id)
        > 0
    )


def test_vocabulary_is_bounded_and_repeats(corpus):
    small, again = (build_tokenizer(texts(corpus), 400, 128) for _ in range(2))
    assert len(small) == 400
    assert small.get_vocab() == again.get_vocab()


def test_it_learns_and_says_what_it_did(trained):
    output, record = trained
    metrics = pd.read_csv(output / "metrics.csv")
    assert list(metrics.columns) == ["step", "loss", "learning_rate"]
    assert list(metrics["step"]) == [50, 100, 150, 200, 210]
    assert record["loss"] == pytest.approx(metrics["loss"].iloc[-1])
    assert record["loss"] < 0.7 * math.log(record["vocabulary"])
    assert record["steps"] == 210
    assert 0 < metrics["learning_rate"].iloc[-1] < 4e-3
    weights = AutoModelForCausalLM.from_pretrained(output).num_parameters()
    assert record["parameters"] == weights
    assert 210 * 8 * 8 < record["tokens"] < 210 * 8 * 60


def test_loss_is_that_of_the_responses_alone(corpus, trained):
    """The loss of the record's kind, computed again by transformers with the prompt masked out."""
    model = AutoModelForCausalLM.from_pretrained(trained[0]).eval()
    tokenizer = AutoTokenizer.from_pretrained(trained[0])
    rows = _encode(read_corpus(corpus).head(8), tokenizer, TEMPLATE, 128)
    total = count = 0
    for ids, start in rows:
        assert tokenizer.decode(ids[:start]).endswith("Assistant:")
        assert ids[-1] == tokenizer.eos_token_id
        labels = torch.tensor([[-100] * start + ids[start:]])
        loss = model(torch.tensor([ids]), labels=labels).loss
        total, count = total + loss.item() * (len(ids) - start), count + len(ids) - start
    assert _loss(model, rows, tokenizer.pad_token_id).item() == pytest.approx(total / count, 1e-5)


def test_one_seed_gives_the_same_weights_and_another_seed_others(corpus, tmp_path):
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        train_lm(corpus, tmp_path / name, seed=seed, steps=5, **TINY)
    one, same, other = (
        load_file(tmp_path / name / "model.safetensors") for name in ("one", "same", "other")
    )
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such corpus"),
        ("", "no dialogues"),
        ('{"prompt": "a", "response": "b"}\n{"prompt": "a"}\n', "line 2 is not a dialogue"),
        ('{"prompt": "a", "resp', "line 1 is not a dialogue"),
        (json.dumps({"prompt": "a", "response": "b " * 200}), "expected at most 128"),
    ],
)
def test_an_unfit_corpus_is_refused_and_leaves_nothing(tmp_path, content, message):
    path = tmp_path / "corpus.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        train_lm(path, tmp_path / "model", seed=0, steps=1, **TINY)
    assert not (tmp_path / "model").exists()


def test_a_training_that_diverges_ends_at_once_and_leaves_no_model(corpus, tmp_path):
    with pytest.raises(FloatingPointError, match=r"loss is .* at step .*lower learning_rate"):
        train_lm(corpus, tmp_path / "model", seed=0, steps=9, learning_rate=1e30, **TINY)
    assert not (tmp_path / "model").exists()


def test_weights_that_the_last_step_broke_are_not_saved(corpus, tmp_path, monkeypatch):
    original = language_model._optimise

    def broken(model, *arguments):
        found = original(model, *arguments)
        model.lm_head.weight.data[3, 3] = math.inf
        return found

    monkeypatch.setattr(language_model, "_optimise", broken)
    with pytest.raises(FloatingPointError, match=r"weight .* not finite after step 2: .*lower"):
        train_lm(corpus, tmp_path / "model", seed=0, steps=2, **TINY)
    assert not (tmp_path / "model").exists()
