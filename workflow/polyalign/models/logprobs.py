"""Exact log-probabilities of responses under a model with its sampling rule."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import (
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from polyalign.models.encoding import prompt_ids, text_config
from polyalign.settings import CHAT, SamplingRule

# Logits that are computed together; a log-probability takes some four copies of them. On a CPU more
# are no faster, and would take most of a job's memory where the vocabulary is large.
LOGITS_AT_ONCE = {"cpu": 2**25, "cuda": 2**27}


def warpers(rule: SamplingRule) -> LogitsProcessorList:
    """The same changes to the logits that `generate` makes."""
    changes = LogitsProcessorList()
    if rule.temperature != 1.0:
        changes.append(TemperatureLogitsWarper(rule.temperature))
    if rule.top_k:
        changes.append(TopKLogitsWarper(rule.top_k))
    if rule.top_p < 1.0:
        changes.append(TopPLogitsWarper(rule.top_p))
    return changes


def encode_responses(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    prompts: Sequence[str],
    responses: Sequence[str],
    ends: Sequence[int | None],
) -> list[tuple[list[int], list[int]]]:
    """Token ids of n rendered prompts, and of their responses with their end tokens, if any.

    A response follows a template after a space; a chat template opens the answer itself.

    Args:
        tokenizer: encodes them.
        template: text around a prompt, with `{prompt}`, or `chat`.
        prompts: n prompts.
        responses: n responses.
        ends: id of the token that ends each response; None where a limit cut it.
    """
    if not prompts:
        return []
    known = {prompt: prompt_ids(tokenizer, template, prompt) for prompt in dict.fromkeys(prompts)}
    texts = [response if template == CHAT else f" {response}" for response in responses]
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [
        (known[prompt], ids if end is None else [*ids, end])
        for prompt, ids, end in zip(prompts, encoded, ends, strict=True)
    ]


def rows_at_once(vocabulary: int, width: int, device: torch.device) -> int:
    """How many texts of `width` tokens have their logits computed together."""
    logits = LOGITS_AT_ONCE["cuda" if device.type == "cuda" else "cpu"]
    return max(1, logits // (width * vocabulary))


@torch.inference_mode()
def response_logprobs(
    model: PreTrainedModel,
    pad_token_id: int,
    pairs: list[tuple[list[int], list[int]]],
    sampling: SamplingRule | None = None,
    width: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each response token, in nats.

    Args:
        model: a causal language model.
        pad_token_id: what shorter sequences are filled with (on the right, masked).
        pairs: b pairs of prompt ids and response ids.
        sampling: the sampling rule that the probabilities belong to (None: the model's own).
        width: tokens to pad prompt and response to; default: those of the longest.

    Returns:
        Log-probabilities and mask, each float32 (b, longest response). A token that the sampling
        rule excludes has -inf.
    """
    b, longest = len(pairs), max(len(response) for _, response in pairs)
    width = width or max(len(prompt) + len(response) for prompt, response in pairs)
    ids = torch.full((b, width), pad_token_id)
    attention = torch.zeros((b, width), dtype=torch.long)
    mask = torch.zeros((b, longest))
    position = torch.zeros((b, longest), dtype=torch.long)
    for row, (prompt, response) in enumerate(pairs):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor(prompt + response)
        attention[row, :end] = 1
        mask[row, : len(response)] = 1
        position[row, : len(response)] = torch.arange(len(prompt) - 1, end - 1)
    changes = warpers(sampling) if sampling else LogitsProcessorList()
    at_once = rows_at_once(text_config(model).vocab_size, width, model.device)
    chunks = []
    for rows in torch.arange(b).split(at_once):
        logits = model(
            input_ids=ids[rows].to(model.device), attention_mask=attention[rows].to(model.device)
        ).logits
        at = position[rows].to(model.device)
        logits = logits.gather(1, at.unsqueeze(-1).expand(-1, -1, logits.shape[-1])).float()
        # None of these rules looks at the ids that came before.
        flat: Any = changes(cast(Any, ids[rows]), cast(Any, logits.flatten(0, 1)))
        flat = flat.log_softmax(-1).view_as(logits)
        tokens = ids[rows].to(model.device).gather(1, (at + 1).clamp(max=width - 1))
        chunks.append(flat.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).cpu())
    # Padding may hold -inf under a sampling rule; times a mask of 0 it would be NaN.
    return torch.cat(chunks).masked_fill(mask == 0, 0.0), mask
