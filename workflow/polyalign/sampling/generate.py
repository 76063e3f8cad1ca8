"""Sampling responses in batches; a shard is some whole batches, and every run is repeatable."""

from collections.abc import Callable, Mapping, Sequence
from operator import ne
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from polyalign.data.keys import KEY, batch_seed
from polyalign.errors import InputError
from polyalign.models.encoding import check_lengths, max_positions, prompt_ids, render
from polyalign.models.endings import end_text, end_tokens
from polyalign.models.logprobs import response_kl, response_logprobs
from polyalign.models.sources import fingerprint
from polyalign.sampling.engines import Engine, Response, trimmed
from polyalign.settings import CHAT, SamplingRule

READ_AT_ONCE = 64
"""Responses that the models read at once."""


Pair = tuple[list[int], list[int]]
"""A prompt and a response, as token ids."""


def generate(
    prompts: pd.DataFrame,
    engine: Engine,
    model: PreTrainedModel,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    policy: str,
    template: str,
    sampling: SamplingRule,
    candidates: int,
    batch_size: int,
    seed: int,
    shard: int = 0,
    shards: int = 1,
    guided: bool = False,
) -> pd.DataFrame:
    """Sample `candidates` responses to each prompt, as far as they are in this shard.

    All (prompt, candidate) pairs of the policy are sorted by length and cut into batches. Each
    batch has its own seed, and a shard is every `shards`-th batch, so the number and the order of
    the shards change nothing.

    Args:
        prompts: `prompt_id`, `prompt`, `split`; one row per prompt.
        engine: draws the responses of a batch.
        model: the model that the engine draws from.
        base: the base model, for `logprob_base` and `kl` (may be `model` itself).
        tokenizer: the tokenizer of both.
        policy: `family/variant`; the seeds depend on it.
        template: text around a prompt, with `{prompt}`, or `chat`.
        sampling: the sampling rule of p0, for the log-probabilities.
        candidates: responses per prompt.
        batch_size: responses sampled at once.
        seed: the study's seed.
        shard: index of this shard.
        shards: number of shards.
        guided: whether the engine draws from another distribution than that of `model`, which is
            then the base model.

    Returns:
        One row per response: `prompt_id`, `candidate`, `prompt`, `response`, `split`, `n_tokens`
        (end token included), `truncated` (the token limit ended it), `end_token` (the token that
        ended it, as text; empty if there is none), `logprob`, `logprob_base` (nats, sums over the
        tokens). Its `attrs["trimmed"]` is the number of texts that `sampling.trim` made shorter.

    Raises:
        InputError: if prompts leave no room for a response, a shard would be empty, or a batch
            does not fit the memory.
    """
    encoded = [prompt_ids(tokenizer, template, text) for text in prompts["prompt"]]
    check_lengths(
        prompts["prompt"].tolist(), encoded, source=policy,
        positions=max_positions(model), new_tokens=sampling.max_new_tokens,
    )  # fmt: skip
    ends = end_tokens(model.generation_config, tokenizer)
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
    parts, tokens, shortened = [], 0, 0
    numbers = tqdm(range(shard, len(batches), shards), unit="batch", mininterval=5)
    for number in numbers:
        places = [place for *_, place in batches[number]]
        asked = [encoded[place] for place in places]
        texts = [prompts["prompt"].iloc[place] for place in places]
        try:
            responses = engine(texts, asked, batch_seed(seed, policy, number))
            read = _read(model, base, tokenizer, asked, responses, sampling, guided)
        except torch.cuda.OutOfMemoryError as fault:
            # Half a batch would have another seed, and so other responses.
            raise InputError(
                f"{policy}: a batch of {len(asked)} responses does not fit the GPU's memory; "
                "expected a smaller one; lower sampling.batch_size"
            ) from fault
        tokens += sum(len(response.ids) for response in responses)
        seconds = max(numbers.format_dict["elapsed"], 1e-3)
        numbers.set_postfix_str(f"{tokens / seconds:.0f} tokens/s", refresh=False)
        kept = [trimmed(response, sampling.trim).text for response in responses]
        shortened += sum(map(ne, kept, (response.text for response in responses)))
        part = pd.DataFrame(
            {
                "prompt_id": [prompt_id for _, prompt_id, _, _ in batches[number]],
                "candidate": [candidate for _, _, candidate, _ in batches[number]],
                "prompt": texts,
                "response": kept,
                "split": prompts["split"].iloc[places].tolist(),
                "n_tokens": [len(response.ids) for response in responses],
                "truncated": [response.truncated for response in responses],
                "end_token": [end_text(response.ids, ends, tokenizer) for response in responses],
                **read,
            }
        )
        parts.append(part)
    samples = pd.concat(parts).sort_values(KEY).reset_index(drop=True)
    samples.attrs["trimmed"] = shortened
    return samples


def counts(samples: pd.DataFrame) -> dict[str, int]:
    """The number of responses, of empty ones, of those that the token limit ended, and of trimmed.

    Args:
        samples: as `generate` returns them.
    """
    return {
        "responses": len(samples),
        "empty": int((samples["response"] == "").sum()),
        "truncated": int(samples["truncated"].sum()),
        "trimmed": samples.attrs["trimmed"],
    }


def _read(
    model: PreTrainedModel,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: list[list[int]],
    responses: list[Response],
    sampling: SamplingRule,
    guided: bool,
) -> dict[str, np.ndarray]:
    """The columns `logprob`, `logprob_base` and `kl` of the responses, float64."""
    pairs = [(ids, response.ids) for ids, response in zip(asked, responses, strict=True)]
    # Rows of similar length together: little of a part is padding.
    order = sorted(range(len(pairs)), key=lambda row: len(pairs[row][0]) + len(pairs[row][1]))
    pad = tokenizer.pad_token_id

    def in_parts(numbers: Callable[[list[Pair]], Sequence[torch.Tensor]]) -> list[np.ndarray]:
        parts = [order[at : at + READ_AT_ONCE] for at in range(0, len(order), READ_AT_ONCE)]
        read = [numbers([pairs[row] for row in rows]) for rows in parts]
        back = np.argsort(order)
        return [torch.cat(one).numpy()[back] for one in zip(*read, strict=True)]

    def logprobs(some: list[Pair]) -> list[torch.Tensor]:
        return [response_logprobs(base, pad, some, sampling)[0].double().sum(-1)]

    known = [response.logprob for response in responses if response.logprob is not None]
    spent = [response.kl for response in responses if response.kl is not None]
    if base is not model:
        own, reference, kl = in_parts(lambda some: response_kl(model, base, pad, some, sampling))
        own = np.array(known) if len(known) == len(pairs) else own
    else:
        all_known = len(known) == len(pairs)
        (reference,) = in_parts(logprobs) if guided or not all_known else (np.array(known),)
        own = np.array(known) if all_known else reference
        kl = np.array(spent) if len(spent) == len(pairs) else own - reference
    return {"logprob": own, "logprob_base": reference, "kl": kl}


def sampling_spec(
    sampling: Mapping[str, Any],
    template: str,
    base: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """The `sampling` part of a table's `spec`: how p0 samples, its template and its base model.

    Args:
        sampling: the sampling rule.
        template: text around a prompt.
        base: `source`, `revision` and `dtype` of the base model.
        tokenizer: whose chat template is part of the specification where it is used: `rendered` is
            what the model reads of the prompt `{prompt}`.
    """
    rendered = {"rendered": render(tokenizer, template, "{prompt}")} if template == CHAT else {}
    named = {key: base[key] for key in ("source", "revision", "dtype")}
    model = {**named, "content": fingerprint(named["source"], named["revision"])}
    return {**sampling, "template": template, **rendered, "base": model}
