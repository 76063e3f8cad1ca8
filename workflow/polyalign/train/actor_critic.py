"""The parts of PPO that are not its loop: responses in a batch, the network, the advantages."""

import inspect
from dataclasses import dataclass, fields
from typing import Any

import torch
from peft import PeftModel
from torch import nn


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
    mask = attention[:, before:].float()
    none = torch.zeros_like(mask)
    parts = (ids, attention, ids[:, before:], mask, none, none, none)
    return Responses(*(part.to(device) for part in parts))


def response_logits(model: Any, batch: Responses, **options: Any) -> tuple[torch.Tensor, Any]:
    """Logits (b, T, V) of the responses' tokens, and the model's whole output.

    The logits of the prompts are not computed where a model can leave them out. The model must
    count positions from the first token that is not padding (`loading.count_positions`).
    """
    length = batch.tokens.shape[1]
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    if "logits_to_keep" in inspect.signature(plain.forward).parameters:
        options["logits_to_keep"] = length + 1
    output = model(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False, **options)
    return output.logits[:, -length - 1 : -1], output


def token_logprobs(
    logits: torch.Tensor, batch: Responses, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the tokens and entropies (nats), each (b, T), of logits (b, T, V)."""
    every = (logits.float() / temperature).log_softmax(-1)
    free = every.detach()
    return every.gather(-1, batch.tokens.unsqueeze(-1)).squeeze(-1), -(free.exp() * free).sum(-1)


class ActorCritic(nn.Module):
    """A policy with a value head on its last hidden states.

    The head has no gradient into the policy. Its values are in units of the rewards of the first
    rollout (`centre`, `scale`), so that its learning rate means the same for every reward.
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, policy: Any, temperature: float) -> None:
        super().__init__()
        self.policy = policy
        self.temperature = temperature
        width = policy.config.get_text_config().hidden_size
        out = nn.Linear(width, 1)
        nn.init.zeros_(out.weight)
        self.value_head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), out)
        self.register_buffer("centre", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(0.0))

    def forward(self, batch: Responses) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-probabilities of the tokens, entropies, and values before them, each (b, T)."""
        logits, output = response_logits(self.policy, batch, output_hidden_states=True)
        logprobs, entropy = token_logprobs(logits, batch, self.temperature)
        hidden = output.hidden_states[-1][:, -batch.tokens.shape[1] - 1 : -1].detach().float()
        return logprobs, entropy, self.centre + self.scale * self.value_head(hidden).squeeze(-1)

    def trained(self) -> dict[str, torch.Tensor]:
        """The weights that training changes, tied ones once, and the units of the values."""
        weights = {name: w for name, w in self.named_parameters() if w.requires_grad}
        return {**weights, "centre": self.centre, "scale": self.scale}


def advantages(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gae_lambda: float
) -> torch.Tensor:
    """Generalised advantage estimates without discount (Schulman et al. 2016, arXiv 1506.02438).

    A_t = Σ_{s ≥ t} gae_lambda^(s − t) δ_s with δ_s = r_s + V_{s+1} − V_s, and V = 0 after the end.

    Args:
        rewards: (b, T), of each token.
        values: (b, T), of the critic before each token.
        mask: (b, T), 1 where there is a token.
        gae_lambda: in [0, 1].

    Returns:
        (b, T), 0 where there is no token.
    """
    values = values * mask
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = (rewards + following - values) * mask
    result = torch.zeros_like(deltas)
    running = torch.zeros_like(deltas[:, 0])
    for place in reversed(range(deltas.shape[1])):
        running = deltas[:, place] + gae_lambda * running
        result[:, place] = running
    return result * mask
