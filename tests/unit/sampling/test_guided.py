"""Token-level guidance, against enumeration and against encoding every text at every token."""

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedTokenizerFast,
)

from polyalign.errors import InputError
from polyalign.families import token_d
from polyalign.rewards import Score
from polyalign.sampling.drawing import sampler, uniforms
from polyalign.sampling.engines import Response, TransformersEngine
from polyalign.sampling.generate import generate
from polyalign.sampling.guided import GuidedEngine, engine
from polyalign.settings import SamplingRule

WORDS = ["<eos>", "<pad>", *"abcd"]
WEIGHT = 1.3


class Function(Score):
    """A reward from a plain function."""

    def __init__(self, function: Callable[[list[str], list[str]], np.ndarray]) -> None:
        self.function = function

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        return self.function(prompts, responses)


def rule(tokens: int, top_k: int = 0) -> SamplingRule:
    return SamplingRule(top_k=top_k, max_new_tokens=tokens)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="a")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>")


def language_model(*, endless: bool) -> GPT2LMHeadModel:
    """A random model that never pads, and never ends a response if `endless`."""
    torch.manual_seed(3)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    config = GPT2Config(
        vocab_size=len(WORDS), bos_token_id=0, eos_token_id=0, tie_word_embeddings=False, **sizes
    )
    model = GPT2LMHeadModel(config).eval()
    for weight in model.parameters():
        weight.data *= 4
    bias = torch.zeros(len(WORDS))
    bias[[0, 1] if endless else [1]] = -1e4
    head = torch.nn.Linear(16, len(WORDS))
    head.weight.data, head.bias.data = model.lm_head.weight.data, bias
    model.lm_head = head
    return model


def reward(prompts: list[str], responses: list[str]) -> np.ndarray:
    """Depends on prompt, order and length."""
    return np.array(
        [
            text.count("a") - 0.7 * text.startswith("b") + 0.4 * (prompt[0] in text)
            for prompt, text in zip(prompts, responses, strict=True)
        ]
    )


@torch.inference_mode()
def enumerated(model: GPT2LMHeadModel, prompt: list[int], tokens: int) -> dict[str, float]:
    """Log-probability of every response of an endless model, by its text."""
    found = {}
    for ids in product(range(2, len(WORDS)), repeat=tokens):
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0].double().log_softmax(-1)
        places = range(len(prompt) - 1, len(prompt) - 1 + tokens)
        total = sum(float(logits[place, token]) for place, token in zip(places, ids, strict=True))
        found[" ".join(WORDS[token] for token in ids)] = total
    assert np.exp(list(found.values())).sum() == pytest.approx(1.0)
    return found


def ids_of(prompt: str) -> list[int]:
    return [WORDS.index(word) for word in prompt.split()]


def soft_value(logp: dict[str, float]):  # type: ignore[no-untyped-def]
    """Score of a text: log E_p0[exp(WEIGHT · reward)] over the responses that begin with it."""

    def score(prompts: list[str], texts: list[str]) -> np.ndarray:
        values = []
        for prompt, text in zip(prompts, texts, strict=True):
            whole = [response for response in logp if response.startswith(text)]
            logs = np.array([logp[response] for response in whole])
            gains = WEIGHT * reward([prompt] * len(whole), whole)
            values.append(np.logaddexp.reduce(logs + gains) - np.logaddexp.reduce(logs))
        return np.array(values)

    return score


def sampled(model, tokenizer, score, weight, prompt, **options) -> list[Response]:  # type: ignore[no-untyped-def]
    settings = {"sampling": rule(3), "interval": 1, "top_k": 100, **options}
    sampling, rewards = settings.pop("sampling"), {"v": Function(score)}
    guided = GuidedEngine(model, tokenizer, sampling, rewards, {"v": weight}, stop=(), **settings)
    return guided([prompt] * 3000, [ids_of(prompt)] * 3000, 1)


def check_distribution(responses: list[Response], expected: dict[str, float]) -> None:
    """Every log-probability is the expected one, and the frequencies follow them."""
    for text, logprob in {(response.text, response.logprob) for response in responses}:
        assert logprob == pytest.approx(expected[text], abs=1e-4)
    counts = Counter(response.text for response in responses)
    chi2 = sum(
        (counts[text] - len(responses) * np.exp(log)) ** 2 / (len(responses) * np.exp(log))
        for text, log in expected.items()
        if len(responses) * np.exp(log) >= 5
    )
    assert chi2 < len(expected) + 5 * np.sqrt(2 * len(expected))


def test_with_the_soft_value_it_samples_the_aligned_policy(tokenizer) -> None:  # type: ignore[no-untyped-def]
    model = language_model(endless=True)
    logp = enumerated(model, ids_of("c b"), 3)
    texts = list(logp)
    tilted = np.array(list(logp.values())) + WEIGHT * reward(["c b"] * len(texts), texts)
    target = dict(zip(texts, tilted - np.logaddexp.reduce(tilted), strict=True))
    responses = sampled(model, tokenizer, soft_value(logp), 1.0, "c b")
    check_distribution(responses, target)

    def begun(table: dict[str, float], text: str) -> float:
        """Log-probability that a response begins so."""
        return float(
            np.logaddexp.reduce([log for one, log in table.items() if one[: len(text)] == text])
        )

    for response in {response.text: response for response in responses}.values():
        words, spent = response.text.split(), 0.0
        for at in range(3):
            before = " ".join(words[:at])
            for word in "abcd":
                after = f"{before} {word}".strip()
                own, base = (begun(table, after) - begun(table, before) for table in (target, logp))
                spent += np.exp(own) * (own - base)
        assert response.kl == pytest.approx(spent, abs=1e-4)


def test_only_the_tokens_that_are_guided_spend_kl(tokenizer) -> None:  # type: ignore[no-untyped-def]
    model = language_model(endless=True)
    logits = model(torch.tensor([ids_of("c b")])).logits[0, -1, 2:].double()
    base = logits.log_softmax(-1).detach().numpy()
    own = base + WEIGHT * reward(["c b"] * 4, list("abcd"))
    own -= np.logaddexp.reduce(own)
    spent = (np.exp(own) * (own - base)).sum()
    once = sampled(model, tokenizer, reward, WEIGHT, "c b", interval=3)
    np.testing.assert_allclose([response.kl for response in once], spent, atol=1e-4)
    assert {len(response.ids) for response in once} == {3}
    few = sampled(model, tokenizer, reward, WEIGHT, "c b", top_k=1, sampling=rule(1))
    assert {round(response.kl or 0, 4) for response in few} == {round(-float(base.max()), 4)}


def test_the_table_has_what_the_engine_knows_of_the_kl(tokenizer) -> None:  # type: ignore[no-untyped-def]
    model = language_model(endless=True)
    rewards = {"v": Function(reward)}
    guided = GuidedEngine(
        model, tokenizer, rule(3), rewards, {"v": WEIGHT}, interval=1, top_k=100, stop=()
    )
    prompts = pd.DataFrame({"prompt_id": ["1"], "prompt": ["c b"], "split": ["test"]})
    table = generate(
        prompts, guided, model, model, tokenizer, policy="token-d/x", template="{prompt}",
        sampling=rule(3), candidates=400, batch_size=400, seed=1, guided=True,
    )  # fmt: skip
    ratio = table["logprob"] - table["logprob_base"]
    assert table["kl"].mean() == pytest.approx(ratio.mean(), abs=4 * (ratio - table["kl"]).sem())
    assert table["kl"].std() < ratio.std() / 2


def test_a_reward_at_the_end_alone_tilts_the_last_token(tokenizer) -> None:  # type: ignore[no-untyped-def]
    model = language_model(endless=True)
    logp = enumerated(model, ids_of("c b"), 3)

    def at_the_end(prompts: list[str], texts: list[str]) -> np.ndarray:
        return reward(prompts, texts) * np.array([len(text.split()) == 3 for text in texts])

    target = {}
    for text, log in logp.items():
        siblings = [f"{text[:-1]}{last}" for last in "abcd"]
        gains = WEIGHT * reward(["c b"] * 4, siblings)
        logs = np.array([logp[sibling] for sibling in siblings])
        before = np.logaddexp.reduce(logs)
        own = WEIGHT * reward(["c b"], [text])[0]
        target[text] = log + own - np.logaddexp.reduce(logs + gains) + before
    check_distribution(sampled(model, tokenizer, at_the_end, WEIGHT, "c b"), target)


def test_one_token_is_exact_with_any_reward_and_its_end(tokenizer) -> None:  # type: ignore[no-untyped-def]
    model = language_model(endless=False)
    logits = model(torch.tensor([ids_of("d a")])).logits[0, -1].double().log_softmax(-1)
    texts = ["", *"abcd"]
    logs = logits[[0, 2, 3, 4, 5]].detach().numpy() + WEIGHT * reward(["d a"] * 5, texts)
    target = dict(zip(texts, logs - np.logaddexp.reduce(logs), strict=True))
    responses = sampled(model, tokenizer, reward, WEIGHT, "d a", sampling=rule(1))
    check_distribution(responses, target)
    assert {response.text for response in responses if not response.truncated} == {""}


def test_only_the_likeliest_are_drawn_where_it_guides(tokenizer) -> None:  # type: ignore[no-untyped-def]
    model = language_model(endless=True)
    logits = model(torch.tensor([ids_of("c b")])).logits[0, -1]
    likeliest = {WORDS[token] for token in logits.topk(2).indices.tolist()}
    few = sampled(model, tokenizer, reward, WEIGHT, "c b", top_k=2, sampling=rule(1))
    assert {response.text for response in few} == likeliest
    every = sampled(model, tokenizer, reward, WEIGHT, "c b", top_k=2, interval=2)
    assert {response.text.split()[0] for response in every} == likeliest
    assert {response.text.split()[1] for response in every} == set("abcd")


@pytest.mark.parametrize(("interval", "top_k", "stop"), [(1, 3, []), (2, 100, []), (1, 100, ["d"])])
def test_it_equals_encoding_every_text_at_every_token(  # type: ignore[no-untyped-def]
    tokenizer, interval: int, top_k: int, stop: list[str], naive
) -> None:
    """The cache, the padding and the leaving out of ended rows change nothing."""
    model = language_model(endless=False)
    prompts = ["a b c d a", "d", "c b", "a a a", "b"] * 5
    score = Function(reward)
    guided = GuidedEngine(
        model, tokenizer, rule(8), {"v": score, "other": score}, {"v": 0.8, "other": 0.0},
        interval=interval, top_k=top_k, stop=stop,
    )  # fmt: skip
    encoded = [ids_of(prompt) for prompt in prompts]
    found = guided(prompts, encoded, 7)
    expected = naive(guided, prompts, encoded, uniforms(7, 8, len(prompts)))
    alone = [
        naive(guided, [prompt], [encoded[row]], uniforms(7, 8, len(prompts))[:, [row]])[0]
        for row, prompt in enumerate(prompts)
    ]
    for row, (one, two, three) in enumerate(zip(found, expected, alone, strict=True)):
        assert (one.ids, one.text, one.truncated) == (two.ids, two.text, two.truncated)
        assert (one.ids, one.text) == (three.ids, three.text)
        assert one.logprob == pytest.approx(two.logprob, abs=1e-4)
        uniform = uniforms(7, 8, len(prompts))[:, [row]]
        (own,) = guided.draw([prompts[row]], [encoded[row]], uniform)
        assert one.kl == pytest.approx(own.kl, abs=1e-4)
    lengths = {len(response.ids) for response in found}
    assert len(lengths) > 2
    assert {response.truncated for response in found} == {True, False}
    assert not any("d" in response.text for response in found if stop)


def test_without_weights_it_samples_the_base_policy(tokenizer) -> None:  # type: ignore[no-untyped-def]
    model = language_model(endless=True)
    check_distribution(
        sampled(model, tokenizer, reward, 0.0, "c b"), enumerated(model, ids_of("c b"), 3)
    )


def test_bad_rewards_and_weights_are_refused(tokenizer) -> None:  # type: ignore[no-untyped-def]
    model = language_model(endless=True)

    def broken(prompts: list[str], texts: list[str]) -> np.ndarray:
        return np.array([np.nan if text == "a" else 0.0 for text in texts])

    with pytest.raises(InputError, match="'v' is nan for the text 'a'"):
        sampled(model, tokenizer, broken, 1.0, "c b")
    rewards = {"v": Function(reward)}
    with pytest.raises(InputError, match="λ of 'w' is 1, but there is no such"):
        GuidedEngine(model, tokenizer, rule(3), rewards, {"w": 1.0}, interval=1, top_k=2, stop=())


@pytest.fixture(scope="module")
def naive():  # type: ignore[no-untyped-def]
    """The baseline of benchmarks/token_decode.py."""
    import importlib.util

    path = Path(__file__).parents[3] / "benchmarks/token_decode.py"
    spec = importlib.util.spec_from_file_location("token_decode", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reencoded


def test_guidance_takes_lambda_of_ones_own(tokenizer, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    loads = lambda specs: {name: spec["score"] for name, spec in specs.items()}  # noqa: E731
    monkeypatch.setattr("polyalign.sampling.guided.load_all", loads)
    lam = {"v": WEIGHT, "w": 0.0}
    (policy,) = token_d.policies(token_d.Settings(lam={"mine": lam}, top_k=100))
    assert (policy.palette, policy.values) == (None, ("v", "w"))
    values = {"v": {"score": Function(reward)}, "w": {"score": None}}
    model = language_model(endless=True)
    guided = engine(model, tokenizer, rule(3), {}, values=values, settings=policy.settings)
    direct = sampled(model, tokenizer, reward, WEIGHT, "a b")
    assert guided(["a b"] * 3000, [ids_of("a b")] * 3000, 1) == direct


@pytest.mark.parametrize("recurrent", [True, False])
def test_a_cache_that_does_not_work_is_not_used(  # type: ignore[no-untyped-def]
    tokenizer, naive, capsys, recurrent: bool
) -> None:
    """The cache of Mamba cannot drop a text that has ended."""
    torch.manual_seed(0)
    model: Any = language_model(endless=False)
    if recurrent:
        config = MambaConfig(
            vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, state_size=8,
            eos_token_id=0, pad_token_id=1, initializer_range=0.5,
        )  # fmt: skip
        model = MambaForCausalLM(config).eval()
    prompts = ["a b c d a", "d", "c b", "a a a"]
    encoded = [ids_of(prompt) for prompt in prompts]
    guided = GuidedEngine(
        model, tokenizer, rule(6), {"v": Function(reward)}, {"v": 0.8}, interval=1, top_k=3, stop=()
    )
    assert guided.cached is not recurrent
    assert ("not with a key-value cache" in capsys.readouterr().out) is recurrent
    assert isinstance(sampler(model, tokenizer, rule(6)), TransformersEngine) is recurrent
    found = guided(prompts, encoded, 7)
    for row, response in enumerate(found):
        uniform = uniforms(7, 6, len(prompts))[:, [row]]
        (alone,) = naive(guided, [prompts[row]], [encoded[row]], uniform)
        assert response.ids == alone.ids
        assert response.logprob == pytest.approx(alone.logprob, abs=1e-4)
