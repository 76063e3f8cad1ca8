"""Generation, annotation and log-probabilities with a tiny random model."""

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from polyalign.data.keys import prompt_id
from polyalign.errors import InputError
from polyalign.models.logprobs import response_logprobs, warpers
from polyalign.rewards.annotate import annotate
from polyalign.sampling.engines import TransformersEngine
from polyalign.sampling.generate import counts, generate
from polyalign.settings import SamplingRule

WORDS = ["<eos>", "<pad>", *"abcdefgh"]
FREE = SamplingRule(max_new_tokens=5)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: place for place, word in enumerate(WORDS)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>")


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
    config = GPT2Config(vocab_size=len(WORDS), bos_token_id=0, eos_token_id=0, **sizes)
    model = GPT2LMHeadModel(config)
    for weight in model.parameters():
        weight.data *= 5
    return model.eval()


@pytest.fixture
def prompts() -> pd.DataFrame:
    texts = ["a b c", "d", "e f", "g h a b"]
    return pd.DataFrame(
        {
            "prompt_id": [prompt_id(text) for text in texts],
            "prompt": texts,
            "split": ["fit", "test", "fit", "test"],
        }
    )


def sample(prompts, model, tokenizer, **changes):  # type: ignore[no-untyped-def]
    options = {
        "policy": "base/pool",
        "template": "{prompt}",
        "sampling": FREE,
        "candidates": 5,
        "batch_size": 3,
        "seed": 1,
    }
    options |= changes
    engine = TransformersEngine(model, tokenizer, options["sampling"])
    return generate(prompts, engine, model, model, tokenizer, **options)


def test_shards_in_any_number_give_the_same_table(prompts, model, tokenizer) -> None:  # type: ignore[no-untyped-def]
    whole = sample(prompts, model, tokenizer)
    assert len(whole) == 20
    for shards in (2, 3, 7):
        parts = [
            sample(prompts, model, tokenizer, shard=shard, shards=shards)
            for shard in reversed(range(shards))
        ]
        joined = pd.concat(parts).sort_values(["prompt_id", "candidate"], ignore_index=True)
        pd.testing.assert_frame_equal(joined, whole)


def test_another_seed_and_another_policy_sample_anew(prompts, model, tokenizer) -> None:  # type: ignore[no-untyped-def]
    whole = sample(prompts, model, tokenizer)
    for change in ({"seed": 2}, {"policy": "base/base"}):
        other = sample(prompts, model, tokenizer, **change)
        assert (other["response"] != whole["response"]).any()


@pytest.mark.parametrize(
    "sampling",
    [
        FREE,
        SamplingRule(temperature=0.7, top_k=3, max_new_tokens=5),
        SamplingRule(temperature=1.3, top_p=0.8, max_new_tokens=5),
    ],
    ids=["free", "top_k", "top_p"],
)
def test_logprobs_are_those_of_the_sampling_rule(prompts, model, tokenizer, sampling) -> None:  # type: ignore[no-untyped-def]
    """Against probabilities computed token by token; frequencies agree with them too."""
    table = sample(prompts, model, tokenizer, sampling=sampling, candidates=300, batch_size=300)
    assert np.isfinite(table["logprob"]).all()
    shortest = table[(table["prompt"] == "d") & (table["n_tokens"] == 1)]
    logits = model(torch.tensor([[WORDS.index("d")]])).logits[:, -1].float()
    logprobs = warpers(sampling)(torch.tensor([[WORDS.index("d")]]), logits).log_softmax(-1)[0]
    assert np.allclose(shortest["logprob"], logprobs[0].item(), atol=1e-5)
    share = len(shortest) / 300
    expected = logprobs[0].exp().item()
    assert abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / 300)


def test_logprobs_do_not_depend_on_the_batch(model) -> None:  # type: ignore[no-untyped-def]
    pairs = [([2, 3], [4, 5, 0]), ([4], [0]), ([5, 6, 7], [8, 9, 2, 3, 0])]
    together, mask = response_logprobs(model, 1, pairs)
    for row, pair in enumerate(pairs):
        alone, _ = response_logprobs(model, 1, [pair])
        size = len(pair[1])
        assert torch.allclose(together[row, :size], alone[0], atol=1e-5)
        assert mask[row].sum() == size


def test_a_prompt_without_room_is_refused(prompts, model, tokenizer) -> None:  # type: ignore[no-untyped-def]
    long = SamplingRule(max_new_tokens=14)
    with pytest.raises(InputError, match=r"2 prompts .* \('g h a b' \(4\), 'a b c' \(3\)\)"):
        sample(prompts, model, tokenizer, sampling=long)


def test_more_shards_than_batches_are_refused(prompts, model, tokenizer) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="8 shards asked of 7 batches"):
        sample(prompts, model, tokenizer, shards=8)


def test_equal_texts_are_scored_once(prompts, model, tokenizer) -> None:  # type: ignore[no-untyped-def]
    table = sample(prompts, model, tokenizer)
    seen: list[tuple[str, str]] = []

    def score(asked: list[str], answered: list[str]) -> np.ndarray:
        seen.extend(zip(asked, answered, strict=True))
        return np.array([float(len(text)) for text in answered])

    scores = annotate(table, "length", score)
    assert len(seen) == len(set(seen)) < len(table)
    assert (scores["length"] == table["response"].str.len()).all()


def test_a_reward_that_is_not_finite_names_its_row(prompts, model, tokenizer) -> None:  # type: ignore[no-untyped-def]
    table = sample(prompts, model, tokenizer)
    with pytest.raises(InputError, match=r"'broken'.*prompt_id"):
        annotate(table, "broken", lambda asked, answered: np.full(len(asked), np.nan))


def test_what_the_limit_ended_is_cut_back_to_its_last_sentence_and_counted() -> None:
    """A word in five ends a sentence; tokens and log-probabilities stay those that were drawn."""
    words = ["<eos>", "<pad>", "a", "b", "c.", "d"]
    inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>"
    )
    torch.manual_seed(0)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 16, "vocab_size": len(words)}
    model = GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, **sizes)).eval()
    prompts = pd.DataFrame({"prompt_id": ["1"], "prompt": ["a b"], "split": ["test"]})
    tables = [
        sample(prompts, model, tokenizer, candidates=60, batch_size=60,
               sampling=SamplingRule(max_new_tokens=4, trim=trim))
        for trim in (None, "sentence")
    ]  # fmt: skip
    drawn, kept = tables
    same = [name for name in drawn if name != "response"]
    pd.testing.assert_frame_equal(drawn[same], kept[same])
    assert counts(drawn)["trimmed"] == 0
    by_hand = [
        text[: text.rindex("c.") + 2] if cut and "c." in text else text
        for text, cut in zip(drawn["response"], drawn["truncated"], strict=True)
    ]
    assert kept["response"].tolist() == by_hand
    changed = (kept["response"] != drawn["response"]).sum()
    assert counts(kept)["trimmed"] == changed
    assert 5 < changed < 55
    ended = ~drawn["truncated"] & drawn["response"].str.contains(r"c\. ")
    assert ended.any(), "one that ended by itself stays whole"
