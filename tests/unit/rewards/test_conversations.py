"""What rewards read of a prompt of several turns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from talks import IN_CHAT, SAID, TALK, chat_tokenizer, save_chat_model
from transformers import GPT2ForSequenceClassification

from polyalign import rewards
from polyalign.models.encoding import render

RESPONSES = ["Well.", "No, no, no, no, no."]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("classifier")
    return save_chat_model(folder, GPT2ForSequenceClassification, num_labels=1)


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "sequence_classifier", "template": "Q: {prompt} A: {response}"},
        {"kind": "sequence_classifier", "pair": True},
        {"kind": "embedding_similarity", "text": "whole"},
        {"kind": "ngram_diversity", "text": "whole"},
        {"kind": "python", "function": "talked:letters"},
    ],
    ids=lambda spec: f"{spec['kind']}-{len(spec)}",
)
def test_rewards_of_texts_read_what_is_said(
    spec: dict[str, Any], classifier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the system message, and named as in Anthropic's data."""
    (tmp_path / "talked.py").write_text(
        "def letters(prompts, responses):\n"
        "    return [float(len(p) + len(r)) for p, r in zip(prompts, responses)]\n"
    )
    monkeypatch.chdir(tmp_path)
    if spec["kind"] in ("sequence_classifier", "embedding_similarity"):
        spec = {**spec, "model": classifier}
    score = rewards.load(spec)
    found = score([TALK] * 2, RESPONSES)
    assert np.array_equal(found, score([SAID] * 2, RESPONSES))
    assert np.ptp(found) > 0
    assert not np.array_equal(found, score(["So?"] * 2, RESPONSES))


def test_a_chat_template_shows_the_whole_conversation(classifier: str) -> None:
    score = rewards.load({"kind": "sequence_classifier", "model": classifier, "template": "chat"})
    texts = [f"{IN_CHAT}<|im_start|>assistant\n{text}<|im_end|>\n" for text in RESPONSES]
    model = GPT2ForSequenceClassification.from_pretrained(classifier).eval()
    with torch.inference_mode():
        expected = [model(**chat_tokenizer()(text, return_tensors="pt")).logits for text in texts]
    assert score([TALK] * 2, RESPONSES) == pytest.approx([float(one) for one in expected], abs=1e-5)


def test_a_likelihood_is_that_after_the_whole_conversation(tmp_path: Path) -> None:
    spec = {"kind": "log_likelihood", "model": save_chat_model(tmp_path)}
    in_chat = rewards.load({**spec, "template": "chat"})([TALK], RESPONSES[:1])
    # Without its space, which follows a template that is written out.
    text = render(chat_tokenizer(), "chat", TALK)
    ids = chat_tokenizer()(text + RESPONSES[0])["input_ids"]
    asked = len(chat_tokenizer()(text)["input_ids"])
    model = rewards.load(spec).model  # type: ignore[attr-defined]
    with torch.inference_mode():
        logs = model(torch.tensor([[*ids, 0]])).logits[0].log_softmax(-1)
    by_hand = [logs[place - 1, id] for place, id in enumerate([*ids, 0])][asked:]
    assert in_chat[0] == pytest.approx(float(torch.stack(by_hand).mean()), abs=1e-5)
