"""Scoring responses: annotation compared with one text at a time, with the same classifier.

Both score the same responses of the sandbox's pool, in their order, with its `helpful` reward
model. Annotation scores equal texts once and reads a prompt once for all its candidates; the
baseline calls the tokenizer and the model of transformers once per response. `again` is annotation
with the cache that the first call filled. The rounds alternate, and the table has the median of
each. Needs the finished sandbox study. Run as

    OMP_NUM_THREADS=2 python benchmarks/annotate.py [--responses 2000] [--rounds 5]
"""

import argparse
import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from polyalign import rewards
from polyalign.data.keys import KEY
from polyalign.data.tables import read_table
from polyalign.rewards.annotate import annotate
from polyalign.rewards.score_cache import ScoreCache
from polyalign.study import load

STUDY = Path("results/sandbox")


@torch.inference_mode()
def one_by_one(
    tokenizer: Any, model: Any, spec: dict[str, Any], samples: pd.DataFrame
) -> np.ndarray:
    """Scores (n,) of the responses, one call of tokenizer and model each."""
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
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    shards = sorted((STUDY / "policies/base/pool/shards").glob("samples_*.parquet"))
    samples = pd.concat([read_table(path) for path in shards], ignore_index=True)
    samples = samples.sort_values(KEY).head(options.responses).reset_index(drop=True)
    spec = load(STUDY / "config.json").scorer("helpful")
    score = rewards.load(spec)
    score(["warm"], ["up"])
    plain = (
        AutoTokenizer.from_pretrained(spec["model"]),
        AutoModelForSequenceClassification.from_pretrained(spec["model"]).eval(),
    )
    one_by_one(*plain, spec, samples.head(2))
    scores: dict[str, np.ndarray] = {}
    times: dict[str, list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            cache = ScoreCache(Path(folder), "spec", {})

            def annotated(cache: ScoreCache = cache) -> np.ndarray:
                with contextlib.redirect_stdout(None):
                    return annotate(samples, "helpful", score, cache)["helpful"].to_numpy()

            for name, make in {
                "annotation": annotated,
                "again": annotated,
                "one at a time": lambda: one_by_one(*plain, spec, samples),
            }.items():
                wall, cpu = time.perf_counter(), time.process_time()
                scores[name] = make()
                took = time.perf_counter() - wall, time.process_time() - cpu
                times.setdefault(name, []).append(took)
    texts = len(samples.drop_duplicates(["prompt", "response"]))
    print(f"{len(samples)} responses, {texts} different, {torch.get_num_threads()} threads")
    print(f"{'':16}{'seconds':>9}{'ratio':>7}{'CPU s':>8}{'ratio':>7}{'largest difference':>20}")
    medians = {name: np.median(each, axis=0) for name, each in times.items()}
    best, least = medians["annotation"]
    for name, (wall, cpu) in medians.items():
        gap = np.abs(scores[name] - scores["annotation"]).max()
        print(f"{name:16}{wall:9.2f}{wall / best:7.2f}{cpu:8.2f}{cpu / least:7.2f}{gap:20.1e}")


if __name__ == "__main__":
    main()
