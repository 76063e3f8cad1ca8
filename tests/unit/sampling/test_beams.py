"""Beam search against all texts, under the sampling rule; one answer for each prompt."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from polyalign import families
from polyalign.sampling import beams
from polyalign.sampling.beams import beam_search
from polyalign.sampling.generate import generate
from polyalign.settings import SamplingRule

WORDS = ["<eos>", "<pad>", *"abcd"]
PROMPTS = ["a b c", "d", "a a"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>")


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    torch.manual_seed(1)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 1, "n_positions": 16, "vocab_size": len(WORDS)}
    made = GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, **sizes)).eval()
    for weight in made.parameters():
        weight.data *= 6
    return made


def likeliest(model: Any, ids: list[int], rule: SamplingRule) -> list[int]:
    """The best of all texts of three tokens, or fewer with an end token, by brute force."""
    found = {}
    for tokens in product(range(len(WORDS)), repeat=3):
        end = tokens.index(0) + 1 if 0 in tokens else 3
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *tokens]])).logits[0].double() / rule.temperature
        if rule.top_k:
            least = logits.topk(rule.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        logs = logits.log_softmax(-1)[len(ids) - 1 :]
        found[tokens[:end]] = float(sum(logs[n, tokens[n]] for n in range(end))) / end
    return list(max(found, key=lambda text: found[text]))


@pytest.mark.parametrize(
    "rule",
    [
        SamplingRule(max_new_tokens=3),
        SamplingRule(max_new_tokens=3, temperature=0.3),
        SamplingRule(max_new_tokens=3, temperature=2.5, top_k=3),
    ],
    ids=["free", "cold", "top_k"],
)
def test_with_beams_for_all_texts_the_likeliest_is_found(model, tokenizer, rule) -> None:  # type: ignore[no-untyped-def]
    encoded = tokenizer(PROMPTS)["input_ids"]
    found = beam_search(model, tokenizer, rule, encoded, len(WORDS) ** 3)
    expected = [likeliest(model, ids, rule) for ids in encoded]
    assert [response.ids for response in found] == expected
    assert [response.truncated for response in found] == [0 not in ids for ids in expected]
    assert beam_search(model, tokenizer, rule, [], 4) == []


def test_a_prompt_has_one_answer_and_its_kl_is_exact(model, tokenizer, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (policy,) = families.family("beam").policies(families.family("beam").settings(beams=[3]))
    assert policy.name == "beam/beams-3"
    searched: list[int] = []
    original = beams.beam_search

    def noted(*args: Any) -> Any:
        searched.append(len(args[3]))
        return original(*args)

    monkeypatch.setattr(beams, "beam_search", noted)
    rule = SamplingRule(max_new_tokens=4, temperature=1.5)
    engine = families.family("beam").implementation()(
        model, tokenizer, rule, {}, values={}, settings=policy.settings
    )
    prompts = pd.DataFrame({"prompt_id": list("123"), "prompt": PROMPTS, "split": ["test"] * 3})
    table = generate(
        prompts, engine, model, model, tokenizer, policy=policy.name, template="{prompt}",
        sampling=rule, candidates=4, batch_size=5, seed=1, guided=True,
    )  # fmt: skip
    assert len(table) == 12
    assert sum(searched) == 3, "each prompt is searched once"
    assert max(searched) == 1, "no more texts at once than the batch has"
    assert (table.groupby("prompt_id")["response"].nunique() == 1).all()
    assert (table["logprob"] == 0).all()
    assert (table["kl"] == -table["logprob_base"]).all()
    for prompt, response in zip(PROMPTS, engine(PROMPTS, tokenizer(PROMPTS)["input_ids"], 0),
                                strict=True):  # fmt: skip
        ids = tokenizer(prompt)["input_ids"]
        with torch.no_grad():
            logs = model(torch.tensor([[*ids, *response.ids]])).logits[0] / rule.temperature
        logs = logs.log_softmax(-1)
        by_hand = sum(float(logs[len(ids) - 1 + n, id]) for n, id in enumerate(response.ids))
        found = table.loc[table["prompt"] == prompt, "logprob_base"]
        np.testing.assert_allclose(found, by_hand, atol=1e-4)
