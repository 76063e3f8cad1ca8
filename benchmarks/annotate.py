"""Scoring responses: annotation against one text at a time, with the same classifier.

Both sides score the same responses of the sandbox's pool with its `helpful` reward model: batches
sorted by length and padded on the right, and single texts without padding. `again` is annotation
with the cache that the first call filled. Needs the finished sandbox study. Run as

    OMP_NUM_THREADS=1 python benchmarks/annotate.py [--responses 2000]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from polyalign import values
from polyalign.annotate import annotate
from polyalign.cache import ScoreCache
from polyalign.config import load
from polyalign.config.study import scorer
from polyalign.tables import read_table

STUDY = Path("results/sandbox")


def distinct(count: int) -> pd.DataFrame:
    """So many samples of the base model, no text twice."""
    shards = sorted((STUDY / "policies/base/pool/shards").glob("samples_*.parquet"))
    samples = pd.concat([read_table(path) for path in shards], ignore_index=True)
    return samples.drop_duplicates(["prompt", "response"]).head(count).reset_index(drop=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=int, default=2000)
    options = parser.parse_args()
    samples = distinct(options.responses)
    spec = scorer(load(STUDY / "config.json"), "helpful")
    batched, single = values.load(spec), values.load({**spec, "batch_size": 1})
    batched(["warm"], ["up"])
    with tempfile.TemporaryDirectory() as folder:
        times, scores = {}, {}
        for name, score in (("annotation", batched), ("again", batched)):
            began = time.process_time()
            table = annotate(samples, "helpful", score, ScoreCache(Path(folder), "spec", {}))
            times[name], scores[name] = time.process_time() - began, table["helpful"].to_numpy()
    began = time.process_time()
    one = [
        single([prompt], [response])[0]
        for prompt, response in zip(samples["prompt"], samples["response"], strict=True)
    ]
    times["one at a time"], scores["one at a time"] = time.process_time() - began, np.array(one)
    print(f"{len(samples)} responses")
    print(f"{'':16}{'CPU s':>8}{'ratio':>8}{'largest difference':>20}")
    for name, seconds in times.items():
        gap = np.abs(scores[name] - scores["annotation"]).max()
        print(f"{name:16}{seconds:8.2f}{seconds / times['annotation']:8.2f}{gap:20.1e}")


if __name__ == "__main__":
    main()
