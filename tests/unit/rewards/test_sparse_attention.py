"""Models with sparse attention score long texts as freshly loaded ones do, one at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BigBirdConfig,
    BigBirdForSequenceClassification,
    BigBirdModel,
    BigBirdPegasusConfig,
    BigBirdPegasusForSequenceClassification,
    LongformerConfig,
    LongformerForSequenceClassification,
    PreTrainedTokenizerFast,
)

from polyalign import rewards

WORDS = ["<eos>", "<pad>", "<s>", *"abcdefghijklmnop"]
SIZES: dict[str, Any] = {
    "vocab_size": len(WORDS), "max_position_embeddings": 170, "pad_token_id": 1,
    "bos_token_id": 2, "eos_token_id": 0, "num_labels": 2,
}  # fmt: skip
ENCODER: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "initializer_range": 0.4, "sep_token_id": 0,
}  # fmt: skip
SEQ2SEQ: dict[str, Any] = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "init_std": 0.4,
    "decoder_start_token_id": 2,
}  # fmt: skip
# Texts of more than (5 + 2) · 4 = 28 tokens are read with block-sparse attention.
BLOCKS: dict[str, Any] = {"block_size": 4, "num_random_blocks": 1, "attention_type": "block_sparse"}
CLASSIFIERS = {
    "big_bird": (BigBirdForSequenceClassification, BigBirdConfig(**SIZES, **ENCODER, **BLOCKS)),
    "bigbird_pegasus": (
        BigBirdPegasusForSequenceClassification,
        BigBirdPegasusConfig(**SIZES, **SEQ2SEQ, **BLOCKS),
    ),
    "longformer": (
        LongformerForSequenceClassification,
        LongformerConfig(**SIZES, **ENCODER, attention_window=[8, 8]),
    ),
}


def saved(folder: Path, kind: Any, config: Any) -> str:
    """A folder with a random model and a tokenizer of single words."""
    inner = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>", model_max_length=160
    )
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def texts(*lengths: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS[3:], length)) for length in lengths]


def ids(text: str) -> torch.Tensor:
    return torch.tensor([[WORDS.index(word) for word in text.split()]])


@torch.inference_mode()
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier(name: str, tmp_path: Path) -> None:
    kind, config = CLASSIFIERS[name]
    model = saved(tmp_path, kind, config)
    # With the end token the third and the fourth have 28 and 29 tokens; long and short alternate.
    prompts, responses = texts(3, 70, 20, 20, 3, 9), texts(2, 30, 7, 8, 5, 100)
    expected = []
    for pair in zip(prompts, responses, strict=True):
        fresh = kind.from_pretrained(model).eval()
        expected.append(float(fresh(input_ids=ids(" ".join([*pair, "<eos>"]))).logits[0, 1]))
    spec = {"kind": "sequence_classifier", "model": model, "index": 1, "append_eos": True}
    scorer = rewards.load(
        {**spec, "template": "{prompt} {response}", "device": "cpu", "batch_size": 4}
    )
    np.testing.assert_allclose(scorer(prompts, responses), expected, atol=1e-4)
    np.testing.assert_allclose(scorer(prompts[1:2], responses[1:2]), expected[1], atol=1e-4)


@torch.inference_mode()
def test_an_embedding(tmp_path: Path) -> None:
    model = saved(tmp_path, BigBirdModel, CLASSIFIERS["big_bird"][1])
    prompts, responses = texts(3, 28, 60), texts(70, 29, 28)
    found = rewards.load({"kind": "embedding_similarity", "model": model, "device": "cpu"})

    def embedding(text: str) -> torch.Tensor:
        fresh = BigBirdModel.from_pretrained(model).eval()
        return fresh(input_ids=ids(text)).last_hidden_state[0].mean(0)

    pairs = [map(embedding, pair) for pair in zip(prompts, responses, strict=True)]
    expected = [float(torch.cosine_similarity(*pair, dim=0)) for pair in pairs]
    np.testing.assert_allclose(found(prompts, responses), expected, atol=1e-5)
