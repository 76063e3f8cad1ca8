"""Exact log-probabilities of responses under a model with its sampling rule."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

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
    batch = _padded(pad_token_id, pairs, width)
    rule = warpers(sampling or SamplingRule())
    chunks = [_taken(_logs(logits, rule), tokens) for (logits,), tokens in _logits([model], batch)]
    # Padding may hold -inf under a sampling rule; times a mask of 0 it would be NaN.
    return torch.cat(chunks).masked_fill(batch.mask == 0, 0.0), batch.mask


@torch.inference_mode()
def response_kl(
    model: PreTrainedModel,
    base: PreTrainedModel,
    pad_token_id: int,
    pairs: list[tuple[list[int], list[int]]],
    sampling: SamplingRule,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What responses of a policy say of its KL from the base model, without the luck of the tokens.

    After each prefix y of a response, the divergence of the two distributions of the next token is
    a sum over the vocabulary:

        Σ_v π(v | x, y) (log π(v | x, y) − log p0(v | x, y)).

    Its sum over the tokens of a response has the same expectation under π as log π(y|x) −
    log p0(y|x), which is the KL, and a smaller variance: each term is the expectation of that of
    the log-ratio given the prefix (Rao and Blackwell). Reference: Amini, Vieira and Cotterell:
    Better estimation of the Kullback-Leibler divergence between language models. arXiv 2504.10637,
    2025.

    Args:
        model: the policy's model.
        base: the base model.
        pad_token_id: what shorter sequences are filled with (on the right, masked).
        pairs: b pairs of prompt ids and ids of responses that the policy drew.
        sampling: the sampling rule of both.

    Returns:
        Log-probabilities under the policy and under the base model, and the sums of divergences,
        each float64 (b,), in nats. Log-probabilities are those under the rule, -inf for what it
        excludes. The divergences are those before `top_k` and `top_p` cut the distributions, as
        trainers count them: cut, the two seldom keep the same tokens, and the KL is infinite.
    """
    batch = _padded(pad_token_id, pairs)
    rule = warpers(sampling)
    whole = warpers(sampling.model_copy(update={"top_k": 0, "top_p": 1.0}))
    found: list[list[torch.Tensor]] = [[], [], []]
    for both, tokens in _logits([model, base], batch):
        policy, p0 = (_logs(logits, whole) for logits in both)
        spent = policy.exp() * (policy - p0.to(policy.device))
        # A token that the policy never draws costs nothing, whatever the base model says of it.
        spent = spent.masked_fill(policy == -torch.inf, 0.0).sum(-1).cpu()
        cut = (policy, p0) if len(rule) == len(whole) else [_logs(logits, rule) for logits in both]
        for parts, part in zip(found, (*(_taken(one, tokens) for one in cut), spent), strict=True):
            parts.append(part)
    sums = [torch.cat(parts).masked_fill(batch.mask == 0, 0.0).double().sum(-1) for parts in found]
    return sums[0], sums[1], sums[2]


class _Padded(NamedTuple):
    """b prompts with responses, padded on the right: ids and attention (b, width), and for each
    token of a response, up to the longest, whether it is one and where it is predicted."""

    ids: torch.Tensor
    attention: torch.Tensor
    mask: torch.Tensor
    position: torch.Tensor


def _padded(
    pad_token_id: int, pairs: list[tuple[list[int], list[int]]], width: int | None = None
) -> _Padded:
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
    return _Padded(ids, attention, mask, position)


def _logits(
    models: Sequence[PreTrainedModel], batch: _Padded
) -> Iterator[tuple[list[torch.Tensor], torch.Tensor]]:
    """Logits (rows, longest response, vocabulary) of some models, and the tokens (rows, longest
    response) that follow, some rows at a time."""
    ids, width = batch.ids, batch.ids.shape[1]
    vocabulary = text_config(models[0]).vocab_size * len(models)
    at_once = rows_at_once(vocabulary, width, models[0].device)
    for rows in torch.arange(len(ids)).split(at_once):
        found = []
        for model in models:
            device = model.device
            logits = model(
                input_ids=ids[rows].to(device), attention_mask=batch.attention[rows].to(device)
            ).logits
            at = batch.position[rows].to(device)
            found.append(logits.gather(1, at.unsqueeze(-1).expand(-1, -1, logits.shape[-1])))
        after = (batch.position[rows] + 1).clamp(max=width - 1)
        yield found, ids[rows].gather(1, after)


def _logs(logits: torch.Tensor, changes: LogitsProcessorList) -> torch.Tensor:
    """Log-probabilities under a sampling rule, as the logits (rows, n, vocabulary)."""
    # None of the rules looks at the ids that came before.
    flat: Any = changes(cast(Any, None), cast(Any, logits.float().flatten(0, 1)))
    logs: torch.Tensor = flat.log_softmax(-1)
    return logs.view_as(logits)


def _taken(logs: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of tokens (rows, n) in (rows, n, vocabulary)."""
    return logs.gather(-1, tokens.to(logs.device).unsqueeze(-1)).squeeze(-1).cpu()
