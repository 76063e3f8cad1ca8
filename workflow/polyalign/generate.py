"""Sampling responses: batched, sharded by whole batches, exactly repeatable."""

from typing import Any, cast

import pandas as pd
import torch
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from polyalign.errors import InputError
from polyalign.logprobs import Sampling, response_logprobs
from polyalign.seeds import batch_seed
from polyalign.tables import KEY


def generate(
    prompts: pd.DataFrame,
    model: PreTrainedModel,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    policy: str,
    template: str,
    sampling: Sampling,
    candidates: int,
    batch_size: int,
    seed: int,
    shard: int = 0,
    shards: int = 1,
) -> pd.DataFrame:
    """Sample `candidates` responses to each prompt; this shard's part of them.

    All (prompt, candidate) pairs of the policy are sorted by length and cut into batches. A batch
    has its own seed, and a shard is every `shards`-th batch, so the number and the order of the
    shards change nothing.

    Args:
        prompts: `prompt_id`, `prompt`, `split`; one row a prompt.
        model: the policy's model.
        base: the base model, for `logprob_base` (may be `model` itself).
        tokenizer: the tokenizer of both.
        policy: `family/variant`, a part of the seed.
        template: text around a prompt, with `{prompt}`.
        sampling: the sampling rule, for generation and log-probabilities alike.
        candidates: responses a prompt.
        batch_size: responses sampled at once.
        seed: the study's seed.
        shard: index of this shard.
        shards: number of shards.

    Returns:
        One row a response: `prompt_id`, `candidate`, `prompt`, `response`, `split`, `n_tokens`
        (end token included), `logprob`, `logprob_base` (nats, sums over the tokens).

    Raises:
        InputError: if a prompt leaves no room for the response, or a shard would be empty.
    """
    encoded = [tokenizer(template.format(prompt=text))["input_ids"] for text in prompts["prompt"]]
    _check_lengths(prompts, encoded, model, sampling.max_new_tokens)
    rows = [
        (len(ids), prompt_id, candidate, place)
        for place, (prompt_id, ids) in enumerate(zip(prompts["prompt_id"], encoded, strict=True))
        for candidate in range(candidates)
    ]
    rows.sort()
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    if shards > len(batches):
        raise InputError(
            f"{policy}: {shards} shards asked of {len(batches)} batches of {batch_size}; "
            "lower sampling.shards or sampling.batch_size"
        )
    records = []
    for number in tqdm(range(shard, len(batches), shards), unit="batch", mininterval=5):
        torch.manual_seed(batch_seed(seed, policy, number))
        asked = [encoded[place] for *_, place in batches[number]]
        responses = _sample(model, tokenizer, asked, sampling)
        pairs = list(zip(asked, responses, strict=True))
        own = _sums(model, tokenizer, pairs, sampling)
        reference = own if base is model else _sums(base, tokenizer, pairs, sampling)
        texts = tokenizer.batch_decode(responses, skip_special_tokens=True)
        for row, (_, prompt_id, candidate, place) in enumerate(batches[number]):
            records.append(
                {
                    "prompt_id": prompt_id,
                    "candidate": candidate,
                    "prompt": prompts["prompt"].iloc[place],
                    "response": texts[row].strip(),
                    "split": prompts["split"].iloc[place],
                    "n_tokens": len(responses[row]),
                    "logprob": own[row],
                    "logprob_base": reference[row],
                }
            )
    return pd.DataFrame(records).sort_values(KEY).reset_index(drop=True)


def _check_lengths(
    prompts: pd.DataFrame, encoded: list[list[int]], model: PreTrainedModel, new_tokens: int
) -> None:
    positions = getattr(model.config, "max_position_embeddings", None)
    longest = max(range(len(encoded)), key=lambda place: len(encoded[place]))
    if positions is not None and len(encoded[longest]) + new_tokens > positions:
        raise InputError(
            f"prompt {prompts['prompt_id'].iloc[longest]} has {len(encoded[longest])} tokens, "
            f"which with sampling.max_new_tokens {new_tokens} exceeds the model's {positions} "
            "positions; "
            "leave out such prompts or lower max_new_tokens"
        )


def _sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    sampling: Sampling,
) -> list[list[int]]:
    """Sampled token ids a prompt, up to and including the end token."""
    tokenizer.padding_side = "left"
    batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(model.device)
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    # A fresh configuration: a hub model's own may carry sampling rules that p0 does not have.
    rule = GenerationConfig(
        do_sample=True,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.inference_mode():
        output = cast(Any, model).generate(**batch, generation_config=rule)
    width = batch["input_ids"].shape[1]
    responses = []
    for ids in output[:, width:].tolist():
        end = next((place for place, token in enumerate(ids) if token in ends), len(ids) - 1)
        responses.append(ids[: end + 1])
    return responses


def _sums(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[tuple[list[int], list[int]]],
    sampling: Sampling,
) -> list[float]:
    logprobs, _ = response_logprobs(model, tokenizer.pad_token_id, pairs, sampling)
    sums: list[float] = logprobs.double().sum(-1).tolist()
    return sums
