"""A model's own generation_config changes nothing of what is sampled, but where a response ends."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.sampling.drawing import DrawingEngine, drawn_at
from polyalign.sampling.engines import TransformersEngine
from polyalign.sampling.guided import GuidedEngine
from polyalign.settings import SamplingRule

WORDS = ["<eos>", "<turn>", "<pad>", *"abcdefgh"]
# Every field that changes what `generate` draws, as models ship them.
NASTY = {
    "do_sample": False, "temperature": 0.1, "top_k": 1, "top_p": 0.1, "min_p": 0.9,
    "typical_p": 0.2, "epsilon_cutoff": 0.1, "eta_cutoff": 0.1, "top_h": 0.2,
    "repetition_penalty": 1.5, "encoder_repetition_penalty": 1.5, "no_repeat_ngram_size": 1,
    "encoder_no_repeat_ngram_size": 1, "bad_words_ids": [[3], [4, 5]],
    "sequence_bias": [[[6], 5.0]], "suppress_tokens": [5, 7], "begin_suppress_tokens": [6],
    "forced_bos_token_id": 4, "forced_eos_token_id": 0, "min_new_tokens": 4, "min_length": 9,
    "exponential_decay_length_penalty": [1, 3.0], "guidance_scale": 3.0,
    "num_beams": 3, "length_penalty": 2.0, "early_stopping": True, "num_return_sequences": 2,
    "max_length": 3, "max_time": 0.001, "stop_strings": ["a"], "renormalize_logits": True,
    "watermarking_config": {"greenlist_ratio": 0.3, "bias": 4.0},
    "prompt_lookup_num_tokens": 2, "a_field_of_the_future": 1,
}  # fmt: skip
# Some are only read without beams, so each is also there alone. No greedy model has two responses.
ALONE = {name: {name: value} for name, value in NASTY.items()}
ALONE["num_return_sequences"]["do_sample"] = True


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    folder: Path = tmp_path_factory.mktemp("plain")
    inner = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="a")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>"
    ).save_pretrained(folder)
    torch.manual_seed(1)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    config = GPT2Config(vocab_size=len(WORDS), initializer_range=0.4, **sizes)
    GPT2LMHeadModel(config).save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 0]}))
    return folder


def with_fields(plain: Path, folder: Path, fields: dict) -> Path:  # type: ignore[type-arg]
    """The same model, whose generation_config has more fields."""
    for file in plain.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    own = {"eos_token_id": [1, 0], **fields}
    (folder / "generation_config.json").write_text(json.dumps(own))
    return folder


def drawn(folder: Path, count: int = 64, kind=TransformersEngine, **rule) -> list:  # type: ignore[no-untyped-def,type-arg]
    model, tokenizer = load_causal_lm(str(folder), device="cpu"), load_tokenizer(str(folder))
    engine = kind(model, tokenizer, SamplingRule(**{"max_new_tokens": 6, **rule}))
    return engine(["b c"] * count, [[4, 5]] * count, 3)


@pytest.mark.parametrize("fields", [*ALONE.values(), NASTY], ids=[*ALONE, "all"])
def test_the_fields_of_the_model_change_no_response(plain, tmp_path, fields) -> None:  # type: ignore[no-untyped-def]
    expected = drawn(plain)
    assert len({tuple(response.ids) for response in expected}) > 30
    assert drawn(with_fields(plain, tmp_path, fields)) == expected


def test_a_number_chooses_the_place_whose_part_of_the_sum_it_lies_in() -> None:
    """Weights 0, 0, 1, 0, 2, 0: those of 0 are never chosen, nor with the least and largest."""
    sums = torch.tensor([[0, 0, 1, 1, 3, 3]], dtype=torch.float64).expand(5, -1)
    uniform = torch.tensor([0, 0.333, 0.334, 0.999, 1 - 2**-53], dtype=torch.float64)
    assert drawn_at(sums, uniform)[:, 0].tolist() == [2, 2, 4, 4, 4]


@pytest.mark.parametrize("kind", [DrawingEngine, TransformersEngine])
@pytest.mark.parametrize("rule", [{}, {"temperature": 0.7}, {"top_k": 3}, {"top_p": 0.6}], ids=str)
def test_tokens_are_as_frequent_as_the_rule_says(plain, tmp_path, rule, kind) -> None:  # type: ignore[no-untyped-def]
    """Against the model's own softmax, with the study's rule written out here."""
    n = 4000
    found = drawn(with_fields(plain, tmp_path, NASTY), n, kind, max_new_tokens=1, **rule)
    counts = Counter(response.ids[0] for response in found)
    with torch.inference_mode():
        logits = load_causal_lm(str(plain), device="cpu")(torch.tensor([[4, 5]])).logits[0, -1]
    p = (logits.double() / rule.get("temperature", 1.0)).softmax(-1).numpy()
    order = np.argsort(-p)
    if "top_k" in rule:
        p[order[rule["top_k"] :]] = 0
    if "top_p" in rule:
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= rule["top_p"]]] = 0
    p /= p.sum()
    assert set(counts) <= set(np.flatnonzero(p).tolist())
    seen = p > 0
    shares = np.array([counts[token] for token in range(len(WORDS))]) / n
    chi2 = (n * (shares[seen] - p[seen]) ** 2 / p[seen]).sum()
    degrees = seen.sum() - 1
    assert chi2 < degrees + 4 * np.sqrt(2 * degrees)


@pytest.mark.parametrize("kind", [DrawingEngine, TransformersEngine])
def test_responses_end_with_each_token_that_the_model_or_its_tokenizer_names(
    plain, tmp_path, kind
) -> None:  # type: ignore[no-untyped-def]
    for ends in ([1, 0], [1], 1):
        folder = tmp_path / str(ends)
        folder.mkdir()
        responses = drawn(with_fields(plain, folder, {"eos_token_id": ends}), kind=kind)
        last = {response.ids[-1] for response in responses if not response.truncated}
        assert last == {0, 1}
        assert all(not {0, 1} & set(response.ids[:-1]) for response in responses)
        assert all(response.ids[-1] not in (0, 1) for response in responses if response.truncated)


def test_guided_sampling_does_not_read_them_either(plain, tmp_path) -> None:  # type: ignore[no-untyped-def]
    responses = []
    for folder in (plain, with_fields(plain, tmp_path, NASTY)):
        model, tokenizer = load_causal_lm(str(folder), device="cpu"), load_tokenizer(str(folder))
        engine = GuidedEngine(
            model, tokenizer, SamplingRule(max_new_tokens=6), {}, {}, interval=1, top_k=5, stop=[]
        )
        responses.append(engine(["b c"] * 64, [[4, 5]] * 64, 3))
    assert responses[0] == responses[1]
