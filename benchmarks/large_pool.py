"""A pool with many candidates for some prompts of a finished study, for benchmarks.

Made with the study's base model, sampling rule and reward functions. The sandbox takes some ten
minutes of one core for 240 prompts × 256 candidates. Run as

    OMP_NUM_THREADS=1 python benchmarks/large_pool.py POOL.parquet [--study results/sandbox]
        [--prompts 240] [--candidates 256]
"""

import argparse
from functools import reduce
from pathlib import Path

import pandas as pd

from polyalign import rewards
from polyalign.data.keys import KEY
from polyalign.models.encoding import pad_with_known
from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.rewards.annotate import annotate
from polyalign.sampling.drawing import sampler
from polyalign.sampling.generate import generate
from polyalign.study import Study, load


def large_pool(study: Study, prompts: pd.DataFrame, candidates: int) -> pd.DataFrame:
    """Responses of the base model with a column for each value.

    Args:
        study: a finished study; its base model and reward models are there.
        prompts: `prompt_id`, `prompt`, `split`.
        candidates: responses per prompt.
    """
    model = load_causal_lm(study.model.source, revision=study.model.revision)
    tokenizer = load_tokenizer(study.model.source, revision=study.model.revision)
    pad_with_known(tokenizer, model)
    samples = generate(
        prompts,
        sampler(model, tokenizer, study.sampling),
        model,
        model,
        tokenizer,
        sampling=study.sampling,
        policy="base/large",
        template=study.prompts.template,
        candidates=candidates,
        batch_size=256,
        seed=study.seed,
    )
    scores = []
    for value in study.values:
        spec = study.scorer(value)
        entry = rewards.spec_of(spec)
        score, reads = rewards.deferred(spec), entry.reads_prompt()
        scores.append(annotate(samples, value, score, reads_prompt=reads, at_once=entry.AT_ONCE))
    return reduce(lambda left, right: left.merge(right, on=KEY), scores, samples)


def main() -> None:
    """Write the pool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path, help="the Parquet file to write")
    parser.add_argument("--study", type=Path, default=Path("results/sandbox"))
    parser.add_argument("--prompts", type=int, default=240, help="(default: %(default)s)")
    parser.add_argument("--candidates", type=int, default=256, help="(default: %(default)s)")
    options = parser.parse_args()
    # Prompt ids are hashes, so the first ones are a random choice, in both splits.
    prompts = pd.read_parquet(options.study / "prompts.parquet").sort_values("prompt_id")
    study = load(options.study / "config.json")
    large_pool(study, prompts.head(options.prompts), options.candidates).to_parquet(options.pool)


if __name__ == "__main__":
    main()
