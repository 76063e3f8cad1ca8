"""Tokens per second of the sandbox's base model by batch size, and of transformers' `generate`.

The seed of a batch depends on the batch, so each size draws other responses. Tokens per second
count the tokens that were kept, end tokens included. The log-probabilities of the responses are
known then; after `generate` they would take another pass. Run as

    OMP_NUM_THREADS=1 python benchmarks/generate.py [--sizes 1 8 64 256] [--responses 256]
"""

import argparse
import resource
import time
from pathlib import Path

from polyalign.data.tables import read_table
from polyalign.models.encoding import prompt_ids
from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.sampling.drawing import sampler
from polyalign.sampling.engines import Engine, TransformersEngine
from polyalign.study import load

STUDY = Path("results/sandbox")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--responses", type=int, default=256, help="at most, of each size")
    options = parser.parse_args()
    study = load(STUDY / "config.json")
    tokenizer = load_tokenizer(study.model.source)
    model = load_causal_lm(study.model.source)
    ours = sampler(model, tokenizer, study.sampling)
    theirs = TransformersEngine(model, tokenizer, study.sampling)
    prompts = read_table(STUDY / "prompts.parquet")["prompt"].tolist()
    encoded = sorted(
        (prompt_ids(tokenizer, study.prompts.template, text) for text in prompts), key=len
    )

    def speed(engine: Engine, count: int, size: int) -> float:
        """Tokens per CPU second of `count` responses in batches of `size`."""
        tokens, began = 0, time.process_time()
        for start in range(0, count, size):
            batch = encoded[start : min(start + size, count)]
            tokens += sum(len(response.ids) for response in engine([""] * len(batch), batch, start))
        return tokens / (time.process_time() - began)

    for engine in (ours, theirs):
        engine(prompts[:2], encoded[:2], 0)
    print(f"{'batch':>6}{'responses':>11}{'tokens / CPU s':>16}{'generate':>10}{'peak MB':>9}")
    for size in options.sizes:
        # Single responses are slow: fewer of them tell as much.
        count = min(options.responses, 32 * size, len(encoded))
        rates = [speed(engine, count, size) for engine in (ours, theirs)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{size:>6}{count:>11}{rates[0]:>16.0f}{rates[1]:>10.0f}{peak:>9.0f}")


if __name__ == "__main__":
    main()
