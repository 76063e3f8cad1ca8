"""Another λ: selection among existing candidates, compared with generating them again.

Decodes the test split of the sandbox's pool for 100 random λ, each with its exact expectation. The
baseline does what is necessary without a pool: it samples the candidates of every test prompt
again, scores them with every value, and selects. Its time is measured on a few prompts and
extrapolated to all of them and to 100 λ, as the table says. Needs the finished sandbox study. Run
as

    OMP_NUM_THREADS=1 python benchmarks/decode.py [--lambdas 100] [--prompts 20]
"""

import argparse
import time
from pathlib import Path

import pandas as pd

from polyalign import rewards as reward_kinds
from polyalign.data.tables import read_table
from polyalign.plan.resources import responses_at_once
from polyalign.sampling.select import random_lam, resample
from polyalign.study import load

STUDY = Path("results/sandbox")


def decode_all(pool: pd.DataFrame, names: list[str], count: int) -> float:
    """CPU seconds for `count` random λ."""
    began = time.process_time()
    for seed in range(count):
        resample(pool, random_lam(names, 2.0, seed), draws=1, seed=seed)
    return time.process_time() - began


def generate_all(pool: pd.DataFrame, names: list[str], prompts: int) -> tuple[float, int]:
    """CPU seconds for one λ on some test prompts without a pool, and candidates per prompt."""
    from polyalign.models.load import load_causal_lm, load_tokenizer
    from polyalign.sampling.drawing import sampler
    from polyalign.sampling.generate import generate

    study = load(STUDY / "config.json")
    sampling, source = study.sampling, study.model.source
    model, tokenizer = load_causal_lm(source), load_tokenizer(source)
    engine = sampler(model, tokenizer, sampling)
    rewards = {name: reward_kinds.load(study.scorer(name)) for name in names}
    asked = pool[pool["split"] == "test"].drop_duplicates("prompt_id").head(prompts)
    began = time.process_time()
    samples = generate(
        asked, engine, model, model, tokenizer, policy="base/again", sampling=sampling, seed=1,
        template=study.prompts.template, candidates=sampling.candidates,
        batch_size=responses_at_once(study),
    )  # fmt: skip
    for name, score in rewards.items():
        samples[name] = score(samples["prompt"].tolist(), samples["response"].tolist())
    resample(samples, random_lam(names, 2.0, 0), draws=1, seed=0)
    return time.process_time() - began, sampling.candidates


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lambdas", type=int, default=100)
    parser.add_argument("--prompts", type=int, default=20, help="of the baseline")
    options = parser.parse_args()
    pool = read_table(STUDY / "policies/base/pool/rewards.parquet")
    names = list(load(STUDY / "config.json").values)
    prompts = pool[pool["split"] == "test"]["prompt_id"].nunique()
    ours = decode_all(pool, names, options.lambdas)
    seconds, candidates = generate_all(pool, names, options.prompts)
    baseline = seconds * prompts / options.prompts * options.lambdas
    print(f"{options.lambdas} λ, {prompts} prompts, {candidates} candidates, {len(names)} values")
    print(f"selecting from the pool       {ours:10.2f} s CPU in all, measured")
    print(
        f"generating and scoring again  {baseline:10.0f} s CPU in all, from {seconds:.1f} s "
        f"measured for 1 λ on {options.prompts} prompts"
    )
    print(f"ratio                         {baseline / ours:10.0f}")


if __name__ == "__main__":
    main()
