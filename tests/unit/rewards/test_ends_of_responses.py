"""Log-likelihoods are of the response as it was sampled: with its end token, or none if cut."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from polyalign import rewards
from polyalign.data.keys import prompt_id
from polyalign.rewards import EndScore, SharedEncoding
from polyalign.rewards.annotate import annotate
from polyalign.rewards.score_cache import ScoreCache
from polyalign.sampling.engines import TransformersEngine
from polyalign.sampling.generate import generate
from polyalign.sampling.guided import GuidedEngine, full_rescoring
from polyalign.settings import SamplingRule

WORDS = ["<eos>", "<turn>", "<pad>", *"abcdefgh"]
PROMPTS = ["a b", "c", "d e f g"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:  # type: ignore[no-untyped-def]
    """A model that ends responses with either of two tokens."""
    made: Path = tmp_path_factory.mktemp("lm")
    inner = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="a")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>",
        additional_special_tokens=["<turn>"],
    )  # fmt: skip
    tokenizer.save_pretrained(made)
    torch.manual_seed(1)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(WORDS), initializer_range=0.4, **sizes))
    model.generation_config = GenerationConfig(eos_token_id=[1, 0])
    model.save_pretrained(made)
    return str(made)


def sampled(scorer) -> pd.DataFrame:  # type: ignore[no-untyped-def]
    """Responses of the scorer's own model, as the table of samples has them."""
    rule = SamplingRule(max_new_tokens=5)
    prompts = pd.DataFrame(
        {"prompt_id": [prompt_id(text) for text in PROMPTS], "prompt": PROMPTS, "split": "fit"}
    )
    engine = TransformersEngine(scorer.model, scorer.tokenizer, rule)
    table = generate(
        prompts, engine, scorer.model, scorer.model, scorer.tokenizer, policy="base/pool",
        template="{prompt}", sampling=rule, candidates=60, batch_size=90, seed=0,
    )  # fmt: skip
    # A padding token is a word for this model, but no text.
    whole = table["response"].str.split().str.len() + (table["end_token"] != "")
    return table[whole == table["n_tokens"]].reset_index(drop=True)


def test_the_table_of_samples_says_how_each_response_ended(folder) -> None:  # type: ignore[no-untyped-def]
    table = sampled(rewards.load({"kind": "log_likelihood", "model": folder, "device": "cpu"}))
    assert set(table["end_token"]) == {"<eos>", "<turn>", ""}
    assert ((table["end_token"] == "") == table["truncated"]).all()


@pytest.mark.parametrize("shares_prefix", [True, False])
def test_the_log_likelihood_is_that_of_the_sampled_tokens(folder, shares_prefix) -> None:  # type: ignore[no-untyped-def]
    """Of responses with either end token, and of those without; to rounding."""
    scorer = rewards.load({"kind": "log_likelihood", "model": folder, "device": "cpu"})
    scorer.shares_prefix = shares_prefix and scorer.shares_prefix
    table = sampled(scorer)
    found = annotate(table, "fluent", scorer)["fluent"]
    np.testing.assert_allclose(found, table["logprob"] / table["n_tokens"], atol=1e-5)


def test_equal_texts_with_other_ends_have_scores_of_their_own(folder, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Also in the cache."""
    spec = {"kind": "log_likelihood", "model": folder, "device": "cpu"}
    table = pd.DataFrame(
        {"prompt_id": "p", "candidate": range(4), "prompt": "c", "response": "a b",
         "end_token": ["", "<eos>", "<turn>", "<eos>"]}
    )  # fmt: skip
    cache = ScoreCache(tmp_path, "spec", {"spec": "spec"})
    first = annotate(table, "v", rewards.deferred(spec), cache)["v"]
    assert len(set(first)) == 3
    assert first[1] == first[3]
    again = annotate(table, "v", rewards.deferred(spec), cache)["v"]
    assert again.tolist() == first.tolist()
    assert len(cache.read()) == 3


def test_a_response_of_unknown_end_has_the_usual_one(folder) -> None:  # type: ignore[no-untyped-def]
    scorer = rewards.load({"kind": "log_likelihood", "model": folder, "device": "cpu"})
    unknown = scorer(["c", "c"], ["a b", ""])
    known = scorer.ended(["c", "c"], ["a b", ""], ["<eos>", "<eos>"])
    assert unknown.tolist() == known.tolist()
    assert scorer.ended(["c"], [""], [""]).tolist() == known[1:].tolist(), "its end alone"
    table = pd.DataFrame({"prompt_id": "p", "candidate": [0, 1], "prompt": "c"})
    table["response"] = ["a b", ""]
    assert annotate(table, "v", scorer)["v"].tolist() == known.tolist()


def test_scores_that_grow_with_the_text_read_the_same_ends(folder) -> None:  # type: ignore[no-untyped-def]
    scorer = rewards.load({"kind": "log_likelihood", "model": folder, "device": "cpu"})
    incremental = scorer.incremental(SharedEncoding())
    assert incremental is not None
    full = full_rescoring(scorer)
    two, one = ["", "<turn>", "<eos>"], ["", "<eos>"]
    with torch.inference_mode():
        for texts, ends in (
            ([["a", "", ""], ["b", "c"], ["d", ""]], [two, ["", ""], one]),
            ([["a b", "a", "a"], ["b c"], ["d e", "d"]], [two, [""], one]),
        ):
            found = incremental([0, 1, 2], PROMPTS, texts, ends)
            expected = full([0, 1, 2], PROMPTS, texts, ends)
            for rewards_of, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(rewards_of, other, atol=1e-4)
    assert len({*found[0].round(4)}) == 3


GAIN = {"<turn>": 2.0, "<eos>": 0.5, "": -1.0}


class Liking(EndScore):
    """Likes one end token, and dislikes a response without any."""

    def ended(self, prompts, responses, ends):  # type: ignore[no-untyped-def]
        return np.array([GAIN[end] for end in ends])


def test_guidance_tells_end_tokens_apart(folder) -> None:  # type: ignore[no-untyped-def]
    """Of responses of one token guidance is exact: p ∝ p0 exp(λ·r), written out here."""
    scorer = rewards.load({"kind": "log_likelihood", "model": folder, "device": "cpu"})
    engine = GuidedEngine(
        scorer.model, scorer.tokenizer, SamplingRule(max_new_tokens=1), {"v": Liking()},
        {"v": 1.3}, interval=1, top_k=99, stop=[],
    )  # fmt: skip
    responses = engine(["c"] * 300, [[5]] * 300, 0)
    with torch.inference_mode():
        logs = scorer.model(torch.tensor([[5]])).logits[0, -1].double().log_softmax(-1)
    gains = [1.3 * GAIN[word if word in ("<eos>", "<turn>") else ""] for word in WORDS]
    expected = (logs + torch.tensor(gains)).log_softmax(-1)
    assert len({response.ids[0] for response in responses}) > 4
    for response in responses:
        assert response.logprob == pytest.approx(expected[response.ids[0]].item(), abs=1e-5)
