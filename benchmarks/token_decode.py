"""Token-level decoding: GuidedEngine, compared with encoding the whole text at each token.

The baseline decodes one response after another without a key-value cache: at each token it runs the
language model over prompt and response, and has every reward score the continuations as whole texts
(all continuations of the step in one call). Both draw with the same uniform numbers, so they must
give the same responses. `whole batch` is the baseline with all texts of a batch together, still
without a cache: the effect of batching alone. If the study has a value model, value-d is compared
with the base model, both drawn by the same engine. Needs the finished sandbox study. Run as

    OMP_NUM_THREADS=1 python benchmarks/token_decode.py [--prompts 32] [--interval 1] [--top-k 10]
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch

from polyalign import rewards as reward_kinds
from polyalign.models.encoding import prompt_ids
from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.models.value_model import load_value_model
from polyalign.sampling.drawing import uniforms
from polyalign.sampling.engines import Response, left_padded
from polyalign.sampling.guided import GuidedEngine, full_rescoring
from polyalign.settings import SamplingRule
from polyalign.study import load

TOKENS = 48
STUDY = Path("results/sandbox")
VALUES = STUDY / "models/value/pool"
ROUNDS = 5


@torch.inference_mode()
def reencoded(
    engine: Any, prompts: Sequence[str], encoded: Sequence[list[int]], uniform: torch.Tensor
) -> list[Response]:
    """What `engine` (a GuidedEngine) draws, with every text encoded again at every token.

    Args:
        engine: gives the model, the rewards and the rule of choice.
        prompts: b prompts.
        encoded: the b prompts as the model reads them.
        uniform: the numbers (tokens, b) that the draws are made with.
    """
    limit = engine.sampling.max_new_tokens
    rescored = {name: full_rescoring(score) for name, score in engine.rewards.items()}
    drawn: list[list[int]] = [[] for _ in encoded]
    logprob, alive = [0.0] * len(encoded), list(range(len(encoded)))
    responses: dict[int, Response] = {}
    for step in range(limit):
        texts = [[*encoded[row], *drawn[row]] for row in alive]
        batch = left_padded(engine.tokenizer, texts).to(engine.model.device)
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        logits = engine.model(**batch, position_ids=positions, use_cache=False).logits[:, -1]
        new = engine.choose(
            logits.float(),
            alive,
            prompts,
            drawn,
            uniform[step, alive],
            rescored if step % engine.interval == 0 else {},
        )
        for place, row in enumerate(list(alive)):
            drawn[row].append(new.tokens[place])
            logprob[row] += new.logprob[place]
            text = engine.tokenizer.decode(drawn[row], skip_special_tokens=True)
            ended = new.tokens[place] in engine.ends or any(stop in text for stop in engine.stop)
            if ended or step == limit - 1:
                said = engine.texts([drawn[row]])[0]
                responses[row] = Response(drawn[row], said, not ended, logprob[row])
        alive = [row for row in alive if row not in responses]
        if not alive:
            break
    return [responses[row] for row in range(len(encoded))]


def sandbox_engine(interval: int, top_k: int) -> GuidedEngine:
    """The sandbox's base model guided by the palette hhh-60; responses end at 48 tokens alone."""
    study = load(STUDY / "config.json")
    palette = json.loads((STUDY / "palettes/hhh-60.json").read_text())
    lam = dict(zip(palette["values"], palette["lam_train"], strict=True))
    rewards = {name: reward_kinds.load(study.scorer(name)) for name in lam if lam[name] > 0}
    model, tokenizer = load_causal_lm(study.model.source), load_tokenizer(study.model.source)
    engine = GuidedEngine(
        model, tokenizer, SamplingRule(max_new_tokens=TOKENS), rewards, lam,
        interval=interval, top_k=top_k, stop=(),
    )  # fmt: skip
    engine.ends = []
    return engine


def plain_engine(model: Any, guided: GuidedEngine) -> GuidedEngine:
    """An engine that draws from a model as it is, with the sampling rule of `guided`."""
    engine = GuidedEngine(
        model, guided.tokenizer, guided.sampling, {}, {}, interval=1, top_k=1, stop=()
    )
    engine.ends = []
    return engine


def print_value_d(guided: GuidedEngine, prompts: list[str], encoded: list[list[int]]) -> None:
    """Compare value-d at the palette of `guided` with the base model: medians of runs in turn."""
    tilted = load_value_model(VALUES, guided.model).merged(guided.model, guided.lam)
    base, value = plain_engine(guided.model, guided), plain_engine(tilted, guided)
    seconds, ratios = [], []
    for _ in range(ROUNDS):
        of_base = timed(lambda: base(prompts, encoded, 1))[1]
        seconds.append(of_base)
        ratios.append(timed(lambda: value(prompts, encoded, 1))[1] / of_base)
    per_token = median(seconds) / (len(prompts) * TOKENS)
    print(f"base {1e6 * per_token:.0f} µs/token, value-d {median(ratios):.2f} times that")


def timed(make: Callable[[], list[Response]]) -> tuple[list[Response], float]:
    """What `make` gives, and its CPU seconds, which other jobs on the machine hardly change."""
    began = time.process_time()
    return make(), time.process_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=32, help="responses (default: %(default)s)")
    parser.add_argument("--one-by-one", type=int, default=4, help="of these, in the baseline")
    parser.add_argument("--interval", type=int, default=1)
    parser.add_argument("--top-k", type=int, default=10, help="as in token-d")
    options = parser.parse_args()
    engine = sandbox_engine(options.interval, options.top_k)
    prompts = pd.read_parquet(STUDY / "prompts.parquet")["prompt"].tolist()[: options.prompts]
    template = load(STUDY / "config.json").prompts.template
    encoded = [prompt_ids(engine.tokenizer, template, prompt) for prompt in prompts]
    uniform = uniforms(1, TOKENS, len(prompts))
    engine(prompts[:2], encoded[:2], 1)
    ours, seconds = timed(lambda: engine(prompts, encoded, 1))
    few = range(options.one_by_one)
    single, single_seconds = timed(
        lambda: [
            reencoded(engine, [prompts[row]], [encoded[row]], uniform[:, [row]])[0] for row in few
        ]
    )
    batch, batch_seconds = timed(lambda: reencoded(engine, prompts, encoded, uniform))
    each = seconds / len(prompts)
    if VALUES.is_dir():
        print_value_d(engine, prompts, encoded)
    print(f"{options.prompts} responses of {TOKENS} tokens, {len(engine.rewards)} rewards")
    print(f"{'':24}{'s/response':>14}{'ratio':>8}{'same responses':>16}")
    for name, found, cost in (
        ("GuidedEngine", ours, each),
        ("re-encoded, one by one", single, single_seconds / len(single)),
        ("re-encoded, whole batch", batch, batch_seconds / len(batch)),
    ):
        same = sum(a.ids == b.ids for a, b in zip(found, ours, strict=False))
        print(f"{name:24}{cost:14.3f}{cost / each:8.1f}{same:>10} of {len(found)}")


if __name__ == "__main__":
    main()
