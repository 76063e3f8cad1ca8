"""Scoring responses: annotation against one text at a time, with the same classifier.

Both sides score the same responses of the sandbox's pool, in their order, with its `helpful` reward
model. Annotation scores equal texts once, in batches sorted by length; the baseline calls tokenizer
and model for one response after another, as transformers gives them. `again` is annotation with the
cache that the first call filled. Needs the finished sandbox study. Run as

    OMP_NUM_THREADS=2 python benchmarks/annotate.py [--responses 2000]
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from polyalign import values
from polyalign.annotate import annotate
from polyalign.cache import ScoreCache
from polyalign.config import load
from polyalign.config.study import scorer
from polyalign.tables import KEY, read_table

STUDY = Path("results/sandbox")


@torch.inference_mode()
def one_by_one(spec: dict[str, Any], samples: pd.DataFrame) -> np.ndarray:
    """Scores (n,) of the responses, one call of tokenizer and model each."""
    tokenizer = AutoTokenizer.from_pretrained(spec["model"])
    model = AutoModelForSequenceClassification.from_pretrained(spec["model"]).eval()
    scores = []
    for prompt, response in zip(samples["prompt"], samples["response"], strict=True):
        text = spec["template"].format(prompt=prompt, response=response) + tokenizer.eos_token
        logits = model(**tokenizer(text, return_tensors="pt")).logits
        scores.append(logits[0, spec["index"]].item())
    return np.array(scores)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=int, default=2000)
    options = parser.parse_args()
    shards = sorted((STUDY / "policies/base/pool/shards").glob("samples_*.parquet"))
    samples = pd.concat([read_table(path) for path in shards], ignore_index=True)
    samples = samples.sort_values(KEY).head(options.responses).reset_index(drop=True)
    spec = scorer(load(STUDY / "config.json"), "helpful")
    score = values.load(spec)
    score(["warm"], ["up"])
    one_by_one(spec, samples.head(2))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = ScoreCache(Path(folder), "spec", {})
        for name, make in {
            "annotation": lambda: annotate(samples, "helpful", score, cache)["helpful"],
            "again": lambda: annotate(samples, "helpful", score, cache)["helpful"],
            "one at a time": lambda: one_by_one(spec, samples),
        }.items():
            wall, cpu = time.perf_counter(), time.process_time()
            scores = np.asarray(make())
            found[name] = scores, time.perf_counter() - wall, time.process_time() - cpu
    texts = len(samples.drop_duplicates(["prompt", "response"]))
    print(f"{len(samples)} responses, {texts} different, {torch.get_num_threads()} threads")
    print(f"{'':16}{'seconds':>9}{'ratio':>7}{'CPU s':>8}{'ratio':>7}{'largest difference':>20}")
    ours, best, least = found["annotation"]
    for name, (scores, wall, cpu) in found.items():
        gap = np.abs(scores - ours).max()
        print(f"{name:16}{wall:9.2f}{wall / best:7.2f}{cpu:8.2f}{cpu / least:7.2f}{gap:20.1e}")


if __name__ == "__main__":
    main()
