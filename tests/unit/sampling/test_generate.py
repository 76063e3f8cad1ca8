"""Generation, annotation and log-probabilities with a tiny random model."""

from copy import deepcopy
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from polyalign.data.keys import prompt_id
from polyalign.errors import InputError
from polyalign.models.logprobs import response_kl, response_logprobs, warpers
from polyalign.rewards import Score
from polyalign.rewards.annotate import annotate
from polyalign.sampling.drawing import DrawingEngine, sampler
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
    engine = sampler(model, tokenizer, options["sampling"])
    assert isinstance(engine, DrawingEngine)
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


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_that_an_engine_knows_are_those_of_the_plain_forward(  # type: ignore[no-untyped-def]
    prompts, model, tokenizer, temperature
) -> None:
    """Of the policy as drawn, and of the base model: one text at a time, token by token."""
    torch.manual_seed(7)
    base = GPT2LMHeadModel(model.config)
    for weight in base.parameters():
        weight.data *= 5
    base.eval()
    sampling = SamplingRule(temperature=temperature, max_new_tokens=5)
    table = generate(
        prompts, sampler(model, tokenizer, sampling), model, base, tokenizer, policy="dpo/x",
        template="{prompt}", sampling=sampling, candidates=40, batch_size=90, seed=1,
    )  # fmt: skip
    assert table["n_tokens"].nunique() > 3
    np.testing.assert_allclose(
        table["kl"].mean(), (table["logprob"] - table["logprob_base"]).mean(), rtol=0.2
    )
    for of, name in ((model, "logprob"), (base, "logprob_base")):
        expected = []
        for row in table.itertuples():
            ids = tokenizer(row.prompt)["input_ids"]
            answer = [0][: not row.truncated]
            answer = [WORDS.index(word) for word in row.response.split()] + answer
            if len(answer) != row.n_tokens:  # a padding token is no text
                expected.append(getattr(row, name))
                continue
            with torch.inference_mode():
                logits = of(torch.tensor([ids + answer])).logits[0, len(ids) - 1 : -1]
            logs = warpers(sampling)(None, logits).double().log_softmax(-1)
            expected.append(logs.gather(1, torch.tensor(answer)[:, None]).sum().item())
        np.testing.assert_allclose(table[name], expected, atol=1e-4)
        assert (table[name] != expected).sum() > 50, "most rows were compared"
    one = table[table["n_tokens"] == table["n_tokens"].max()].iloc[0]
    ids = tokenizer(one["prompt"])["input_ids"]
    answer = [WORDS.index(word) for word in one["response"].split()]
    own, p0 = (
        warpers(sampling)(None, of(torch.tensor([ids + answer])).logits[0, len(ids) - 1 :])
        .double()
        .log_softmax(-1)[: one["n_tokens"]]
        for of in (model, base)
    )
    by_hand = (own.exp() * (own - p0)).sum().item()
    assert one["kl"] == pytest.approx(by_hand, abs=1e-4)


def responses(tokens: int) -> list[list[int]]:
    """All responses of at most so many tokens, as ids; the first word ends one."""
    words = range(1, len(WORDS))
    return [
        [*begun, last]
        for size in range(tokens)
        for begun in product(words, repeat=size)
        for last in range(len(WORDS))
        if last == 0 or size == tokens - 1
    ]


@pytest.fixture
def base(model):  # type: ignore[no-untyped-def]
    """A base model whose logits are others at each place."""
    base = deepcopy(model)
    base.lm_head = torch.nn.Linear(16, len(WORDS), bias=False)
    torch.manual_seed(5)
    base.lm_head.weight.data = 0.4 * model.lm_head.weight + 0.3 * torch.randn(len(WORDS), 16)
    return base


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_kl_of_next_tokens_has_the_kl_of_responses_as_its_mean(  # type: ignore[no-untyped-def]
    model, base, temperature
) -> None:
    """Over all responses, each with its probability."""
    rule = SamplingRule(temperature=temperature, max_new_tokens=3)
    pairs = [([4, 2], response) for response in responses(3)]
    own, reference, kl = response_kl(model, base, 1, pairs, rule)
    chances, ratio = own.exp(), own - reference
    assert chances.sum().item() == pytest.approx(1.0, abs=1e-5)
    expected = (chances * ratio).sum().item()
    assert expected > 0.1
    assert (chances * kl).sum().item() == pytest.approx(expected, abs=1e-5)
    spread = [(chances * (one - expected) ** 2).sum().item() for one in (kl, ratio)]
    assert spread[0] < 0.7 * spread[1]
    for of, found in ((model, own), (base, reference)):
        alone = response_logprobs(of, 1, pairs, rule)[0].sum(-1)
        assert torch.allclose(alone.double(), found)


def test_the_kl_is_that_before_top_k_and_top_p_cut(model, base) -> None:  # type: ignore[no-untyped-def]
    """Which keep other tokens of the base model than of the policy: cut, the KL is infinite."""
    pairs = [([4, 2], response) for response in responses(2)]
    whole, cut = (
        response_kl(model, base, 1, pairs, SamplingRule(temperature=0.7, max_new_tokens=2, **some))
        for some in ({}, {"top_k": 4, "top_p": 0.9})
    )
    assert torch.equal(whole[2], cut[2])
    assert torch.isfinite(cut[2]).all()
    rule = SamplingRule(temperature=0.7, max_new_tokens=2, top_k=4, top_p=0.9)
    for of, found in ((model, cut[0]), (base, cut[1])):
        alone = response_logprobs(of, 1, pairs, rule)[0].double().sum(-1)
        assert torch.equal(alone, found)
        assert torch.isinf(found).any()
    drawn = torch.isfinite(cut[0])
    assert torch.isinf(cut[1][drawn]).any()


def test_a_token_that_the_policy_never_draws_costs_nothing(model, base) -> None:  # type: ignore[no-untyped-def]
    never = deepcopy(model)
    never.lm_head = torch.nn.Linear(16, len(WORDS))
    never.lm_head.weight.data = model.lm_head.weight.data
    never.lm_head.bias.data = torch.tensor([0.0, -torch.inf, *[0.0] * 8])
    pairs = [([4, 2], response) for response in responses(2) if 1 not in response]
    own, reference, kl = response_kl(never, base, 1, pairs, FREE)
    chances = own.exp()
    assert chances.sum().item() == pytest.approx(1.0, abs=1e-5)
    expected = (chances * (own - reference)).sum().item()
    assert (chances * kl).sum().item() == pytest.approx(expected, abs=1e-5)


def test_a_guided_policy_is_compared_with_its_base_model(prompts, model, tokenizer) -> None:  # type: ignore[no-untyped-def]
    """The model of such a policy is the base model itself, and what is drawn is not."""
    engine = sampler(model, tokenizer, SamplingRule(temperature=0.5, max_new_tokens=5))
    options = {"policy": "token-d/x", "template": "{prompt}", "sampling": FREE, "candidates": 5}
    tables = [
        generate(
            prompts, engine, model, model, tokenizer, batch_size=9, seed=1, guided=guided, **options
        )
        for guided in (True, False)
    ]
    assert tables[0]["logprob"].equals(tables[1]["logprob"])
    assert tables[1]["logprob_base"].equals(tables[1]["logprob"])
    gaps = tables[0]["logprob"] - tables[0]["logprob_base"]
    assert (gaps.abs() > 0.01).all()
    assert tables[0]["kl"].equals(gaps)
    assert (tables[1]["kl"] == 0).all()
    engines = TransformersEngine(model, tokenizer, FREE), sampler(model, tokenizer, FREE)
    slow, fast = (
        generate(prompts, one, model, model, tokenizer, batch_size=90, seed=1, **options)
        for one in engines
    )
    assert slow.columns.equals(fast.columns)
    assert np.isfinite(slow["logprob"]).all()


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

    class Length(Score):
        def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
            seen.extend(zip(prompts, responses, strict=True))
            return np.array([float(len(text)) for text in responses])

    scores = annotate(table, "length", Length())
    assert len(seen) == len(set(seen)) < len(table)
    assert (scores["length"] == table["response"].str.len()).all()


def test_a_reward_that_is_not_finite_names_its_row(prompts, model, tokenizer) -> None:  # type: ignore[no-untyped-def]
    class Broken(Score):
        def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
            return np.full(len(prompts), np.nan)

    table = sample(prompts, model, tokenizer)
    with pytest.raises(InputError, match=r"'broken'.*prompt_id"):
        annotate(table, "broken", Broken())


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
