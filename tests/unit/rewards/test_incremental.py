"""Rewards with a key-value cache are those of reading every text in full."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from polyalign import rewards
from polyalign.errors import InputError
from polyalign.rewards import SharedEncoding, shared_prefix
from polyalign.rewards.classifier_texts import ClassifierTexts
from polyalign.rewards.incremental import supports_prefix_cache
from polyalign.sampling.guided import full_rescoring

WORDS = ["<eos>", "<pad>", *"abcdefgh", "ab", "abc"]
PROMPTS = ["a b", "c", "d e f g"]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def folders(request, tmp_path_factory) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """A language model and a classifier of one architecture."""
    inner = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="h")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>"
    )
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1, "num_labels": 2}
    if request.param == "gpt2":
        sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40}
        config = GPT2Config(vocab_size=len(WORDS), initializer_range=0.3, **sizes, **ids)
        kinds = (GPT2LMHeadModel, GPT2ForSequenceClassification)
    else:
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        config = LlamaConfig(
            vocab_size=len(WORDS), max_position_embeddings=40, initializer_range=0.3,
            **sizes, **heads, **ids,
        )  # fmt: skip
        kinds = (LlamaForCausalLM, LlamaForSequenceClassification)
    torch.manual_seed(0)
    made = {}
    for kind in kinds:
        folder: Path = tmp_path_factory.mktemp(kind.__name__)
        kind(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        made["lm" if kind is kinds[0] else "classifier"] = str(folder)
    return made


def steps() -> list[tuple[list[int], list[list[str]]]]:
    """Texts that grow, end at different times, and in which a token changes after the end."""
    return [
        ([0, 1, 2], [["", "a", "b"], ["a", "h"], ["c"]]),
        ([0, 1, 2], [["b a", "b", "b c"], ["h a", "h b"], ["c d", "c"]]),
        ([0, 2], [["b c d", "b c"], ["c d e", "c d f", "c d g", "c d"]]),
        ([0, 2], [["b c d a", "b c d e f"], ["c ab", "c ab d"]]),
        ([2], [["c abc", "c abc d", "c abc d e f g h"]]),
        ([2], [["c abc d e", "c abc d"]]),
    ]


CLASSIFIER = {"kind": "sequence_classifier", "index": 1, "template": "{prompt} {response}"}
SPECS = [
    {**CLASSIFIER},
    {**CLASSIFIER, "append_eos": True},
    {**CLASSIFIER, "template": "{response}", "output": "log_probability"},
    {**CLASSIFIER, "max_length": 5},
    {"kind": "log_likelihood"},
    {"kind": "log_likelihood", "max_length": 3},
]


@pytest.mark.parametrize("spec", SPECS)
def test_incremental_scores_equal_full_rescoring(
    folders: dict[str, str], spec: dict[str, str]
) -> None:
    model = folders["lm" if spec["kind"] == "log_likelihood" else "classifier"]
    scorer = rewards.load({**spec, "model": model})
    incremental = scorer.incremental(SharedEncoding())
    assert incremental is not None
    full = full_rescoring(scorer)
    spread = []
    with torch.inference_mode():
        for rows, texts in steps():
            asked = [PROMPTS[row] for row in rows]
            found, expected = incremental(rows, asked, texts), full(rows, asked, texts)
            for one, other in zip(found, expected, strict=True):
                assert np.allclose(one, other, atol=1e-4)
                spread += list(other)
    assert np.std(spread) > 0.05


@pytest.mark.parametrize("kind", ["sequence_classifier", "log_likelihood"])
def test_a_negated_reward_is_negated_step_by_step(folders: dict[str, str], kind: str) -> None:
    spec = {"kind": kind, "model": folders["lm" if kind == "log_likelihood" else "classifier"]}
    if kind == "sequence_classifier":
        spec = {**CLASSIFIER, **spec}
    plain, negated = (
        rewards.load({**spec, "sign": sign}).incremental(SharedEncoding()) for sign in (1, -1)
    )
    assert plain is not None
    assert negated is not None
    rows, texts = steps()[0]
    asked = [PROMPTS[row] for row in rows]
    ends = [["" for _ in several] for several in texts]
    with torch.inference_mode():
        for one, other in zip(
            plain(rows, asked, texts, ends), negated(rows, asked, texts, ends), strict=True
        ):
            assert np.array_equal(one, -other)
            assert np.any(one != 0)


def answered() -> tuple[list[str], list[str]]:
    """Prompts and responses of several lengths, an empty one too, in no order."""
    rng = np.random.default_rng(0)
    long = [" ".join(rng.choice(WORDS[2:], size)) for size in (13, 14, 15)]
    prompts = [long[number] for number in rng.integers(0, 3, 40)]
    responses = [" ".join(rng.choice(WORDS[2:], size)) for size in rng.integers(0, 12, 40)]
    return prompts, responses


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.get("template") != "{response}"])
def test_a_prompt_is_read_once_for_all_its_responses(
    folders: dict[str, str], spec: dict[str, str]
) -> None:
    model = folders["lm" if spec["kind"] == "log_likelihood" else "classifier"]
    scorer: Any = rewards.load({**spec, "model": model, "batch_size": 16})
    read: list[int] = []
    reader = getattr(scorer, "reader", scorer)
    reader.model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append([*args, *kwargs.values()][0].numel()),
        with_kwargs=True,
    )
    shared = scorer(*answered())
    tokens, read[:] = sum(read), []
    reader.shares_prefix = False
    np.testing.assert_allclose(shared, scorer(*answered()), atol=1e-5)
    assert np.std(shared) > 0.05
    # Texts of five tokens are shorter than the padded prefix.
    assert tokens < 0.75 * sum(read) or spec.get("max_length") == 5


def test_texts_with_shared_prefixes_are_read_in_parts_if_memory_is_short(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer: Any = rewards.load({**CLASSIFIER, "model": folders["classifier"]})
    whole = scorer(*answered())
    forward = shared_prefix._Reader._forward

    def short(self: Any, rows: Any, *args: Any, **kwargs: Any) -> Any:
        if len(rows) > 8:
            raise torch.OutOfMemoryError("full")
        return forward(self, rows, *args, **kwargs)

    monkeypatch.setattr(shared_prefix._Reader, "_forward", short)
    assert np.array_equal(scorer(*answered()), whole)
    monkeypatch.setattr(
        shared_prefix._Reader, "_forward", lambda self, *_, **__: short(self, range(9))
    )
    with pytest.raises(InputError, match="a text of 3 tokens does not fit"):
        scorer(["a b"], ["c"])


@pytest.mark.parametrize("spec", SPECS[:2] + SPECS[4:])
def test_batches_of_a_gpu_give_the_same_scores(
    folders: dict[str, str], spec: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, prefixes of several lengths are in one batch, and few are kept."""
    model = folders["lm" if spec["kind"] == "log_likelihood" else "classifier"]
    scorer: Any = rewards.load({**spec, "model": model, "batch_size": 2})
    prompts, responses = answered()
    prompts = [*prompts, *PROMPTS]
    responses = [*responses, "a", "b c", ""]
    exact = scorer(prompts, responses)
    monkeypatch.setattr(shared_prefix, "is_batch_invariant", lambda device: False)
    np.testing.assert_allclose(scorer(prompts, responses), exact, atol=1e-5)


def test_windows_and_other_layers_have_no_prefix_cache(folders: dict[str, str]) -> None:
    model = rewards.load({"kind": "log_likelihood", "model": folders["lm"]}).model  # type: ignore[attr-defined]
    assert supports_prefix_cache(model)
    model.config.layer_types = ["full_attention", "sliding_attention"]
    assert not supports_prefix_cache(model)


def test_on_a_gpu_prefixes_are_read_separately_if_that_saves_half() -> None:
    twice, once = [([1], [2]), ([1], [3])], [([1], [2]), ([2], [3])]
    gpu, processor = torch.device("cuda"), torch.device("cpu")
    assert shared_prefix.worth_sharing(twice, gpu)
    assert not shared_prefix.worth_sharing(once, gpu)
    assert shared_prefix.worth_sharing(once, processor)


def test_a_pair_of_texts_and_other_kinds_read_whole_texts_alone(folders: dict[str, str]) -> None:
    pair = {"kind": "sequence_classifier", "model": folders["classifier"], "index": 0, "pair": True}
    embedding = {"kind": "embedding_similarity", "model": folders["lm"]}
    for spec in (pair, embedding, {"kind": "ngram_diversity"}):
        assert rewards.load(spec).incremental(SharedEncoding()) is None


def test_rewards_that_encode_alike_encode_once_and_others_separately(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    encode = ClassifierTexts.encode

    def counted(self, prompts, responses):  # type: ignore[no-untyped-def]
        encoded.append(self.spec.index)
        return encode(self, prompts, responses)

    monkeypatch.setattr(ClassifierTexts, "encode", counted)
    model = folders["classifier"]
    specs = [{**CLASSIFIER}, {**CLASSIFIER, "index": 0}, {**CLASSIFIER, "max_length": 5}]
    scorers = [rewards.load({**spec, "model": model}) for spec in specs]
    encoding = SharedEncoding()
    incremental: list[Any] = [scorer.incremental(encoding) for scorer in scorers]
    encoded.clear()
    with torch.inference_mode():
        for rows, texts in steps():
            asked = [PROMPTS[row] for row in rows]
            found = [score(rows, asked, texts) for score in incremental]
            assert encoded == [1, 1]
            for scorer, ours in zip(scorers, found, strict=True):
                full = full_rescoring(scorer)(rows, asked, texts)
                assert np.allclose(np.concatenate(ours), np.concatenate(full), atol=1e-4)
            encoded.clear()
