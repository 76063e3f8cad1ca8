"""Values of prompt and response as one text: `text: whole`."""

import pytest
import torch
from test_rewards import PROMPTS, RESPONSES, WORDS, folders
from transformers import GPT2LMHeadModel

from polyalign import rewards
from polyalign.rewards.kinds.ngram_diversity import diversity
from polyalign.rewards.spec import scored_text

assert folders  # a fixture


def test_a_space_is_between_prompt_and_response() -> None:
    assert scored_text("response", "a", "b") == "b"
    assert scored_text("whole", "a", "b") == "a b"
    assert scored_text("whole", "a\n", "b") == "a\nb"
    assert scored_text("whole", "a", " b") == "a b"
    assert scored_text("whole", "", "b") == "b"
    assert scored_text("whole", "a", "") == "a"


def test_diversity_of_the_whole_text() -> None:
    prompts, responses = ["a b a b", "c d"], ["a b", "e f g"]
    alone, whole = (
        rewards.load({"kind": "ngram_diversity", "text": text}) for text in ("response", "whole")
    )
    assert alone(prompts, responses).tolist() == [diversity("a b"), diversity("e f g")]
    assert whole(prompts, responses).tolist() == [diversity("a b a b a b"), 1.0]
    assert whole(prompts, responses)[0] < 1
    specs = [{"kind": "ngram_diversity", "text": text} for text in ("response", "whole")]
    assert [rewards.spec_of(spec).reads_prompt() for spec in specs] == [False, True]


def test_log_likelihood_of_the_whole_text_is_the_models_own_loss(folders: dict[str, str]) -> None:
    spec = {"kind": "log_likelihood", "model": folders["lm"], "text": "whole"}
    model = GPT2LMHeadModel.from_pretrained(folders["lm"]).eval()
    found = rewards.load({**spec, "template": "h {prompt} h"})(PROMPTS[:3], RESPONSES[:3])
    for prompt, response, score in zip(PROMPTS, RESPONSES, found, strict=False):
        ids = torch.tensor([[WORDS.index(word) for word in f"{prompt} {response}".split()]])
        # Transformers' loss shifts the labels: the first token is predicted by nothing.
        assert score == pytest.approx(-model(ids, labels=ids).loss.item(), abs=1e-5)
    # However many texts are scored at once, and whether or not they share prompts.
    again = rewards.load({**spec, "batch_size": 1})(["a b"] * 2, ["b c d", "c"])
    assert again[0] == pytest.approx(found[0], abs=1e-6)


def test_similarity_of_a_prompt_with_the_whole_text(folders: dict[str, str]) -> None:
    spec = {"kind": "embedding_similarity", "model": folders["lm"]}
    alone, whole = (rewards.load({**spec, "text": text}) for text in ("response", "whole"))
    texts = [f"{prompt} {response}" for prompt, response in zip(PROMPTS, RESPONSES, strict=True)]
    expected = alone(PROMPTS[:3], texts[:3])
    assert whole(PROMPTS[:3], RESPONSES[:3]).tolist() == pytest.approx(expected.tolist())
    assert whole(["a b"], [""])[0] == pytest.approx(1)
