"""Responses in a batch, and their log-probabilities: what RLOO, GRPO and PPO read."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import pad as filled

from polyalign.models.logprobs import rows_at_once

ROWS = 32
"""Responses that a CPU reads at once: fewer cost more calls, more have more padding."""


@dataclass
class Responses:
    """b responses, padded on the right to T tokens, after prompts padded on the left to P.

    Attributes:
        ids: (b, P + T), token ids of prompt and response.
        attention: (b, P + T), 1 where there is a token.
        tokens: (b, T), the response, its end token included.
        mask: (b, T), 1 where there is a token of the response.
        logprobs: (b, T), of the tokens under the policy that sampled them, in nats.
        advantages: (b, T).
        returns: (b, T), targets of the values.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    tokens: torch.Tensor
    mask: torch.Tensor
    logprobs: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor

    def __getitem__(self, rows: torch.Tensor) -> "Responses":
        """Some of the responses."""
        return Responses(*(getattr(self, field.name)[rows] for field in fields(self)))

    def narrowed(self) -> "Responses":
        """The same responses without the columns in which all of them have padding."""
        width, after = self.ids.shape[1], self.tokens.shape[1]
        used = self.attention.any(0).nonzero()[:, 0]
        start, end = min(int(used[0]), width - after), max(int(used[-1]) + 1, width - after + 1)
        whole, part = slice(start, end), slice(0, end - width + after)
        return Responses(
            *(getattr(self, name)[:, whole] for name in ("ids", "attention")),
            *(getattr(self, field.name)[:, part] for field in fields(self)[2:]),
        )


def padded(
    prompts: list[list[int]], responses: list[list[int]], pad: int, device: torch.device
) -> Responses:
    """Sampled token ids as a batch; log-probabilities, advantages and returns are still 0."""
    before, after = max(map(len, prompts)), max(map(len, responses))
    ids = torch.full((len(prompts), before + after), pad)
    attention = torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        start, end = before - len(prompt), before + len(response)
        ids[row, start:end] = torch.tensor(prompt + response)
        attention[row, start:end] = 1
    return sampled(ids.to(device), attention.to(device), after)


def sampled(ids: torch.Tensor, attention: torch.Tensor, length: int) -> Responses:
    """Responses in the last `length` columns of `ids`; what a policy says of them is still 0."""
    mask = attention[:, -length:].float()
    none = torch.zeros_like(mask)
    return Responses(ids, attention, ids[:, -length:], mask, none, none, none)


def by_length(
    read: Callable[[Responses], tuple[torch.Tensor, ...]], batch: Responses, vocabulary: int
) -> tuple[torch.Tensor, ...]:
    """`read(batch)`, of which each number depends on its own response alone.

    Padding costs a CPU as much as text does. So there responses of about the same length are read
    together, without the padding that the longest of the batch asks for.

    Args:
        read: gives tensors (b, T) for b responses of T tokens; called with some of them.
        batch: all of them.
        vocabulary: tokens that a model has logits of; many leave room for fewer responses.

    Returns:
        The tensors (b, T) of the batch, with their gradient; 0 where there is no token.
    """
    length = batch.tokens.shape[1]
    device = batch.ids.device
    on_cpu = device.type == "cpu"
    rows = min(ROWS, rows_at_once(vocabulary, length, device)) if on_cpu else len(batch.ids)
    order = batch.attention.sum(1).argsort(stable=True)
    found = []
    for some in order.split(rows):
        part = batch[some].narrowed()
        none, width = part.mask == 0, length - part.tokens.shape[1]
        # Not a product: a token that a model excludes has an infinite log-probability.
        found.append([filled(each.masked_fill(none, 0), (0, width)) for each in read(part)])
    places = order.argsort()
    return tuple(torch.cat(each)[places] for each in zip(*found, strict=True))


def response_logits(model: Any, batch: Responses, **options: Any) -> tuple[torch.Tensor, Any]:
    """Logits (b, T, V) of the responses' tokens, and the model's whole output.

    The logits of the prompts are not computed where a model can leave them out. The model must
    count positions from the first token that is not padding (`loading.count_positions`).
    """
    length = batch.tokens.shape[1]
    plain = getattr(model, "module", model)  # of several processes
    plain = plain.get_base_model() if isinstance(plain, PeftModel) else plain
    if "logits_to_keep" in inspect.signature(plain.forward).parameters:
        options["logits_to_keep"] = length + 1
    output = model(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False, **options)
    return output.logits[:, -length - 1 : -1], output


def spread(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probabilities (b, T, V), in nats, of all tokens, from logits (b, T, V)."""
    logits = logits.float()
    return (logits if temperature == 1 else logits / temperature).log_softmax(-1)


def token_logprobs(every: torch.Tensor, batch: Responses) -> torch.Tensor:
    """Log-probabilities (b, T) of the tokens, of those of all tokens (b, T, V)."""
    return every.gather(-1, batch.tokens.unsqueeze(-1)).squeeze(-1)


def token_entropies(every: torch.Tensor) -> torch.Tensor:
    """Entropies (b, T), in nats and without gradient, of log-probabilities (b, T, V)."""
    free = every.detach()
    return -(free.exp() * free).sum(-1)
