"""Every architecture scores as its own plain forward, one text at a time, or is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_architectures import NOT_TINY, POSITIONS, WORDS, build, causal, classifiers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from polyalign import rewards
from polyalign.errors import InputError
from polyalign.rewards import SharedEncoding
from polyalign.sampling.guided import GuidedEngine, full_rescoring
from polyalign.settings import SamplingRule

LATER = "predicts a token with a look at the tokens after it"
NOT_CAUSAL = [
    "bert",
    "bert-generation",
    "big_bird",
    "camembert",
    "cpmant",
    "data2vec-text",
    "electra",
    "ernie",
    "megatron-bert",
    "prophetnet",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roc_bert",
    "roformer",
    "xlm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xlnet",
    "xmod",
]
"""Encoders that transformers loads as causal models too, and models that read blocks ahead."""

REFUSED = {**dict.fromkeys(NOT_CAUSAL, LATER), "reformer": "gives one text two scores"}
"""Language models without a likelihood of their own → what is said of them."""


def samples() -> tuple[list[str], list[str]]:
    """Prompts that several responses share; one text is longer than any tiny window."""
    rng = np.random.default_rng(0)

    def text(length: int) -> str:
        return " ".join(rng.choice(WORDS[3:], length))

    asked = [text(2), text(5), text(9)]
    prompts = [asked[row] for row in (0, 1, 0, 1, 2, 0, 2, 1)]
    responses = [text(length) for length in (1, 4, 7, 2, 5, 26, 3, 9)]
    return prompts, responses


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token per word; texts that are scored end with the end token."""
    inner = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="a")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>", model_max_length=POSITIONS
    )


def made(folder: Path, model_type: str, name: str, tokenizer: Any) -> Any:
    """The tiny model, which `folder` then holds."""
    if model_type in NOT_TINY:
        pytest.skip(NOT_TINY[model_type])
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = build(model_type, name)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def ids_of(tokenizer: Any, text: str) -> list[int]:
    """Token ids as the loaded tokenizer gives them: Qwen's class splits words of its own."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def refused(spec: dict[str, Any], why: str) -> None:
    """Check that a model is refused in one sentence that names it."""
    with pytest.raises(InputError, match=why) as fault:
        rewards.load(spec)
    assert str(fault.value).startswith(spec["model"])
    assert "\n" not in str(fault.value)


def check(scorer: Any, expected: np.ndarray) -> None:
    """Scores of the samples together, in parts, and as texts that grow, are the expected ones."""
    prompts, responses = samples()
    tolerance = 1e-4 * np.maximum(1, np.abs(expected))
    assert np.ptp(expected) > 1e-3
    assert np.all(np.abs(scorer(prompts, responses) - expected) < tolerance)
    grow = scorer.incremental(SharedEncoding())
    if grow is not None:
        whole = full_rescoring(scorer)
        with torch.inference_mode():
            for end in (4, 6):
                texts = [
                    [" ".join([*one.split()[:end], last]) for last in "abc"]
                    for one in responses[4:6]
                ]
                found = np.array(grow([0, 1], prompts[4:6], texts))
                np.testing.assert_allclose(
                    found, whole([0, 1], prompts[4:6], texts), atol=1e-4, rtol=1e-4
                )


@pytest.mark.parametrize(("model_type", "name"), causal())
@torch.inference_mode()
def test_likelihood(model_type: str, name: str, tmp_path: Path, tokenizer: Any) -> None:
    model = made(tmp_path, model_type, name, tokenizer)
    spec = {
        "kind": "log_likelihood",
        "model": str(tmp_path),
        "template": "{prompt}",
        "batch_size": 4,
        "device": "cpu",
    }
    if model_type in REFUSED:
        refused(spec, REFUSED[model_type])
        return
    scorer: Any = rewards.load(spec)
    expected = []
    for prompt, response in zip(*samples(), strict=True):
        before, after = (
            ids_of(scorer.tokenizer, prompt),
            [*ids_of(scorer.tokenizer, f" {response}"), scorer.tokenizer.eos_token_id],
        )
        logs = model(input_ids=torch.tensor([before + after])).logits[0].log_softmax(-1)
        places = range(len(before) - 1, len(before) + len(after) - 1)
        expected.append(
            np.mean([float(logs[at, token]) for at, token in zip(places, after, strict=True)])
        )
    check(scorer, np.array(expected))
    check_guided(scorer.model, scorer.tokenizer, model)


def check_guided(model: Any, tokenizer: Any, plain: Any) -> None:
    """Tokens that are drawn one after another have the probabilities of the plain forward."""
    encoded = [ids_of(tokenizer, text) for text in samples()[0][:4]]
    rule = SamplingRule(max_new_tokens=3)
    engine = GuidedEngine(model, tokenizer, rule, {}, {}, interval=1, top_k=1, stop=())
    for before, response in zip(encoded, engine([""] * 4, encoded, 0), strict=True):
        logs = plain(input_ids=torch.tensor([before + response.ids])).logits[0].log_softmax(-1)
        places = range(len(before) - 1, len(before) - 1 + len(response.ids))
        expected = sum(
            float(logs[at, token]) for at, token in zip(places, response.ids, strict=True)
        )
        assert response.logprob == pytest.approx(expected, abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("model_type", "name"), classifiers())
@torch.inference_mode()
def test_classifier(model_type: str, name: str, side: str, tmp_path: Path, tokenizer: Any) -> None:
    model = made(tmp_path, model_type, name, tokenizer)
    spec = {
        "kind": "sequence_classifier",
        "model": str(tmp_path),
        "template": "{prompt} {response}",
        "index": 1,
        "append_eos": True,
        "padding_side": side,
        "batch_size": 4,
        "device": "cpu",
    }
    scorer: Any = rewards.load(spec)
    model.config.pad_token_id = WORDS.index("<pad>")
    expected = []
    for prompt, response in zip(*samples(), strict=True):
        ids = [
            *ids_of(scorer.reader.tokenizer, f"{prompt} {response}"),
            scorer.reader.tokenizer.eos_token_id,
        ]
        expected.append(float(model(input_ids=torch.tensor([ids])).logits[0, 1]))
    check(scorer, np.array(expected))
