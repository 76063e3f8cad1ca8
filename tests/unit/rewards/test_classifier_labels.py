"""Which label a classifier is scored by, what its log-probability is, and what text it reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertweetTokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    GPT2Model,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from polyalign import rewards
from polyalign.errors import InputError
from polyalign.families.options import RewardTraining
from polyalign.models.load import load_tokenizer
from polyalign.models.manifest import write_manifest
from polyalign.train.inputs import Run
from polyalign.train.reward import train_reward

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MOODS = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
PROMPTS = ["hello", "how are you", "hello"]
RESPONSES = ["fine", "", "not so well"]


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, a chat template, and its two special tokens."""
    special = ["<|im_end|>", "<pad>", "<|im_start|>"]
    vocabulary = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE({token: place for place, token in enumerate(vocabulary)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=special[0],
        pad_token=special[1],
        additional_special_tokens=special[2:],
    )
    made.chat_template = CHATML
    return made


def saved(folder: Path, kind: Any = GPT2ForSequenceClassification, **settings: Any) -> str:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=260, n_embd=16, n_layer=2, n_head=2, n_positions=128,
        bos_token_id=0, eos_token_id=0, pad_token_id=1, initializer_range=0.3, **settings,
    )  # fmt: skip
    kind(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def spec(model: str, **settings: Any) -> dict[str, Any]:
    return {"kind": "sequence_classifier", "model": model, "device": "cpu", **settings}


def score(model: str, **settings: Any) -> np.ndarray:
    return rewards.load(spec(model, **settings))(PROMPTS, RESPONSES)


def logits(model: str, ids: list[list[int]]) -> torch.Tensor:
    plain = GPT2ForSequenceClassification.from_pretrained(model).eval()
    return torch.cat([plain(torch.tensor([one])).logits.detach() for one in ids])


def test_with_two_labels_one_must_be_named(tmp_path: Path, capsys: Any) -> None:
    model = saved(tmp_path / "mood", num_labels=2, **MOODS)
    with pytest.raises(InputError, match=r"which of its 2 labels .*0 NEGATIVE, 1 POSITIVE"):
        score(model)
    by_name, by_number = score(model, index="POSITIVE"), score(model, index=1)
    assert np.array_equal(by_name, by_number)
    assert not np.array_equal(by_name, score(model, index="NEGATIVE"))
    assert "scores label 1, 'POSITIVE'" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"no label has the name 'positive'; .*1 POSITIVE"):
        score(model, index="positive")
    with pytest.raises(InputError, match="label index 2 asked of a classifier with 2 labels"):
        score(model, index=2)
    named, numbered = (
        rewards.spec_of(spec(model, index=index)).identity() for index in ("POSITIVE", 1)
    )
    assert named == numbered
    assert (named["index"], named["label_name"]) == (1, "POSITIVE")


def test_one_label_needs_no_name(tmp_path: Path) -> None:
    model = saved(tmp_path / "one", num_labels=1)
    assert np.array_equal(score(model), score(model, index=0))
    identity = rewards.spec_of(spec(model)).identity()
    assert identity["index"] == 0
    assert "label_name" not in identity


@pytest.mark.parametrize("several", [False, True])
def test_the_log_probability_of_a_sigmoid(tmp_path: Path, several: bool) -> None:
    """Of one label, and of a model whose labels do not exclude each other."""
    settings = {"problem_type": "multi_label_classification"} if several else {}
    model = saved(tmp_path, num_labels=3 if several else 1, **settings)
    index = 2 if several else 0
    plain = score(model, index=index)
    found = score(model, index=index, output="log_probability")
    assert np.ptp(plain) > 0.1
    np.testing.assert_allclose(found, -np.logaddexp(0, -plain), atol=1e-6)


def test_a_probability_is_that_of_its_log(tmp_path: Path) -> None:
    model = saved(tmp_path, num_labels=3)
    logs, shares = (
        np.array([score(model, index=n, output=output) for n in range(3)])
        for output in ("log_probability", "probability")
    )
    assert shares == pytest.approx(np.exp(logs))
    assert shares.sum(axis=0) == pytest.approx(1)


def test_the_log_probability_of_labels_that_exclude_each_other(tmp_path: Path) -> None:
    model = saved(tmp_path, num_labels=3)
    found = [score(model, index=n, output="log_probability") for n in range(3)]
    np.testing.assert_allclose(np.exp(found).sum(0), 1, atol=1e-6)


def test_a_conversation_is_read_in_the_chat_template(tmp_path: Path) -> None:
    model = saved(tmp_path, num_labels=1)
    texts = [
        f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{response}<|im_end|>\n"
        for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
    ]
    expected = logits(model, tokenizer()(texts)["input_ids"])[:, 0]
    np.testing.assert_allclose(score(model, template="chat"), expected, atol=1e-5)
    assert rewards.spec_of(spec(model, template="chat")).reads_prompt()
    fresh = tokenizer()
    fresh.chat_template = None
    fresh.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(InputError, match="has no chat template"):
        score(model, template="chat")


@pytest.mark.parametrize("template", ["chat", "Q: {prompt}\nA:"])
def test_a_reward_model_is_scored_as_it_was_trained(tmp_path: Path, template: str) -> None:
    """The margins of its held-out pairs are those that training measured."""
    base = saved(tmp_path / "base", GPT2LMHeadModel)
    numbers = [str(number) for number in range(12)]
    pairs = pd.DataFrame(
        {"prompt": numbers, "chosen": [f"yes {n}" for n in numbers], "rejected": ["no", "why"] * 6}
    )
    run = Run(seed=0, dtype="float32", device="cpu", work=tmp_path / "work")
    section = RewardTraining(learning_rate=1e-3, batch_size=4, epochs=2)
    model = tmp_path / "reward" / "liked"
    record = train_reward(base, pairs, pairs, section, run, model, template=template)
    settings = {"template": template, "pairs": {"source": "p"}}
    write_manifest(model, f"{model}.json", settings, record, {})
    value = spec(str(model))
    reward = rewards.load(value)
    chosen, rejected = (
        reward(list(pairs["prompt"]), list(pairs[name])) for name in ("chosen", "rejected")
    )
    # Bradley and Terry's loss of the held-out pairs.
    loss = float(np.logaddexp(0, rejected - chosen).mean())
    assert loss == pytest.approx(record["held_out"]["log_loss"], abs=1e-5)
    identity = rewards.spec_of(value).identity()
    assert (identity["template"], identity["append_eos"]) == (template, True)
    assert rewards.spec_of(value).reads_prompt()
    other = rewards.load({**value, "template": "{response}"})
    assert not np.allclose(other(list(pairs["prompt"]), list(pairs["chosen"])), chosen, atol=1e-3)
    if template == "chat":
        named = rewards.load({**value, "template": "chat"})
        assert np.array_equal(named(list(pairs["prompt"]), list(pairs["chosen"])), chosen)
    grown = reward.incremental(rewards.SharedEncoding())
    assert grown is not None
    texts = [["yes", "yes 1"], ["no"], [""]]
    steps = grown([0, 1, 2], ["1", "2", "1"], texts)
    for prompt, several, found in zip(["1", "2", "1"], texts, steps, strict=True):
        np.testing.assert_allclose(found, reward([prompt] * len(several), several), atol=1e-5)


def test_a_classifier_of_labels_reads_the_bare_response(tmp_path: Path) -> None:
    model = saved(tmp_path / "humor", num_labels=2)
    before = score(model, index=1)
    settings = {"template": "{prompt}:", "pairs": None}
    (tmp_path / "humor.json").write_text(json.dumps({"settings": settings, "files": {"a": "b"}}))
    assert np.array_equal(score(model, index=1), before)
    assert not rewards.spec_of(spec(model, index=1)).reads_prompt()


def test_an_empty_text_is_its_end_token(tmp_path: Path) -> None:
    """An encoder that adds no tokens of its own would read nothing: its mean is no number."""
    model = saved(tmp_path, GPT2Model)
    reward = rewards.load({"kind": "embedding_similarity", "model": model, "device": "cpu"})
    found = reward(["a", "a", ""], ["<|im_end|>", "", ""])
    assert np.isfinite(found).all()
    assert found[1] == pytest.approx(found[0])
    assert found[2] == pytest.approx(1)


def test_a_tokenizer_without_an_end_token(tmp_path: Path) -> None:
    """As those of encoders such as BERT are; `append_eos` alone needs one."""
    model = saved(tmp_path / "model", num_labels=1)
    known = score(model)
    without = tokenizer()
    without.eos_token = None
    without.save_pretrained(model)
    config = Path(model, "config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token_id": None}))
    assert score(model)[[0, 2]] == pytest.approx(known[[0, 2]], abs=1e-6)
    with pytest.raises(InputError, match="append_eos is set, but its tokenizer has no end-of-seq"):
        score(model, append_eos=True)


def test_a_tokenizer_that_is_written_in_python(tmp_path: Path) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    (tmp_path / "vocab.txt").write_text("".join(f"{c}</w> 1\n{c}@@ 1\n" for c in letters))
    (tmp_path / "bpe.codes").write_text("#version: 0.2\nh e 1\n")
    made = BertweetTokenizer(
        str(tmp_path / "vocab.txt"), str(tmp_path / "bpe.codes"), model_max_length=64
    )
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(made) + 4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=70, num_labels=3, initializer_range=0.3,
    )  # fmt: skip
    plain = RobertaForSequenceClassification(config).eval()
    plain.save_pretrained(tmp_path)
    made.save_pretrained(tmp_path)
    made = BertweetTokenizer.from_pretrained(tmp_path)
    found = rewards.load(spec(str(tmp_path), index=2))(["", ""], ["hello you", "be"])
    for row, text in enumerate(["hello you", "be"]):
        expected = plain(**made(text, return_tensors="pt")).logits[0, 2].item()
        assert found[row] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", [GPT2LMHeadModel, GPT2ForSequenceClassification])
def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path, kind: Any) -> None:
    model = saved(tmp_path, kind)
    load_tokenizer(model)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match=r"has no tokenizer .* expected .*tokenizer\.json"):
        load_tokenizer(model)
