"""Scoring responses, against a loop over length-sorted batches and `transformers.pipeline`.

Each row scores K candidates of some prompts with a small causal model: as a reward model (one
logit), and as a language model (mean log-probability of the response; no pipeline has it). Models
and texts are random; responses have 8 to 40 tokens. CPU seconds, which other jobs on the machine
hardly change: the median of alternating rounds, and how many times the seconds of annotation. The
last column is the largest difference of any score. Run as

    OMP_NUM_THREADS=1 python benchmarks/annotate.py [--rounds 3] [--hidden 128] [--layers 4]
"""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    pipeline,
)
from transformers.utils import logging

from polyalign import rewards
from polyalign.rewards.annotate import annotate

WORDS = ["<eos>", "<pad>", *(f"w{number}" for number in range(1000))]
TEXTS = {12: 768, 128: 384, 1024: 64}
"""Tokens of a prompt → texts that a row scores."""
BATCH = 64


def make(folder: Path, kind: Any, hidden: int, layers: int) -> str:
    """Folder with a random model and its tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=hidden, intermediate_size=4 * hidden,
        num_hidden_layers=layers, num_attention_heads=4, max_position_embeddings=2048, num_labels=1,
        bos_token_id=0, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    kind(config).save_pretrained(folder)
    inner = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, "w0"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>", model_max_length=2048
    ).save_pretrained(folder)
    return str(folder)


def samples(tokens: int, candidates: int) -> pd.DataFrame:
    """As many prompts of that many tokens, with that many candidates, as make `TEXTS` texts."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in range(max(1, TEXTS[tokens] // candidates)):
        asked = " ".join(rng.choice(WORDS[2:], tokens))
        for candidate in range(candidates):
            answer = " ".join(rng.choice(WORDS[2:], rng.integers(8, 41)))
            rows.append((f"{prompt:04}", candidate, asked, answer))
    return pd.DataFrame(rows, columns=["prompt_id", "candidate", "prompt", "response"])


@torch.inference_mode()
def sorted_loop(scorer: Any, table: pd.DataFrame) -> np.ndarray:
    """What one would write: length-sorted batches, padded, on the model's own forward."""
    loaded = getattr(scorer, "reader", scorer)
    tokenizer, model = loaded.tokenizer, loaded.model
    prompts, responses = table["prompt"].tolist(), table["response"].tolist()
    before = tokenizer(prompts)["input_ids"]
    after = tokenizer([f" {text}" for text in responses])["input_ids"]
    ids = [one + other for one, other in zip(before, after, strict=True)]
    likelihood = scorer.spec.kind == "log_likelihood"
    if likelihood:
        ids = [[*row, tokenizer.eos_token_id] for row in ids]
    scores = np.empty(len(ids))
    order = np.argsort([len(row) for row in ids])
    for rows in np.array_split(order, -(-len(order) // BATCH)):
        batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
        logits = model(**batch).logits
        if not likelihood:
            scores[rows] = logits[:, 0]
            continue
        logs = logits[:, :-1].log_softmax(-1)
        logs = logs.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
        for place, row in enumerate(rows):
            scores[row] = logs[place, len(before[row]) - 1 : len(ids[row]) - 1].mean()
    return scores


def piped(pipe: Any, table: pd.DataFrame) -> np.ndarray:
    """The pipeline for text classification on the texts in their order."""
    texts = (table["prompt"] + " " + table["response"]).tolist()
    return np.array([found["score"] for found in pipe(texts, batch_size=BATCH)])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--tokens", type=int, nargs="+", default=[12, 128, 1024])
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 12, 64])
    options = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        size = options.hidden, options.layers
        classifier = make(Path(scratch) / "rm", LlamaForSequenceClassification, *size)
        common = {"device": "cpu", "batch_size": BATCH, "max_length": 2048}
        reward: Any = rewards.load(
            {
                "kind": "sequence_classifier", "model": classifier, **common,
                "template": "{prompt} {response}", "index": 0,
            }
        )  # fmt: skip
        likelihood: Any = rewards.load(
            {
                "kind": "log_likelihood", **common, "template": "{prompt}",
                "model": make(Path(scratch) / "lm", LlamaForCausalLM, *size),
            }
        )  # fmt: skip
        pipe: Any = pipeline(
            "text-classification", model=classifier, function_to_apply="none", device="cpu"
        )
    weights = sum(weight.numel() for weight in reward.reader.model.parameters())
    print(f"{torch.get_num_threads()} threads, {weights:,} parameters")
    print(f"{'':10}{'tokens':>7}{'K':>4}{'texts':>7}{'annotation':>12}{'sorted loop':>18}"
          f"{'pipeline':>18}{'difference':>12}")  # fmt: skip
    for scorer in (reward, likelihood):
        for tokens in options.tokens:
            for candidates in options.candidates:
                table = samples(tokens, candidates)

                def annotated(scorer: Any = scorer, table: Any = table) -> np.ndarray:
                    with contextlib.redirect_stdout(None):
                        return annotate(table, "v", scorer)["v"].to_numpy()

                ways: dict[str, Callable[[], np.ndarray]] = {
                    "annotation": annotated,
                    "sorted loop": lambda s=scorer, t=table: sorted_loop(s, t),  # type: ignore[misc]
                }
                if scorer is reward:
                    ways["pipeline"] = lambda t=table: piped(pipe, t)  # type: ignore[misc]
                seconds, gap = measure(ways, options.rounds)
                least = seconds["annotation"]
                line = (
                    f"{scorer.spec.kind[:10]:10}{tokens:7}{candidates:4}{len(table):7}{least:12.3f}"
                )
                for name in ("sorted loop", "pipeline"):
                    took = seconds.get(name)
                    line += f"{took:11.3f} ({took / least:4.2f})" if took else f"{'–':>18}"
                print(f"{line}{gap:12.0e}", flush=True)


def measure(
    ways: dict[str, Callable[[], np.ndarray]], rounds: int
) -> tuple[dict[str, float], float]:
    """Median CPU seconds of each way, in alternating rounds, and the largest difference."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    gap = 0.0
    for _ in range(rounds):
        scores = []
        for name, score in ways.items():
            began = time.process_time()
            scores.append(score())
            seconds[name].append(time.process_time() - began)
        gap = max(gap, float(np.ptp(scores, axis=0).max()))
    return {name: float(np.median(each)) for name, each in seconds.items()}, gap


if __name__ == "__main__":
    main()
