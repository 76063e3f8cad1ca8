"""The parts of PPO that are not its loop: responses in a batch, the network, the advantages."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn


@dataclass
class Responses:
    """b responses, padded on the right to T tokens; prompt and response together to W.

    Attributes:
        ids: (b, W), token ids of prompt and response.
        attention: (b, W), 1 where there is a token.
        at: (b, T), places in `ids` whose logits foretell the tokens of the response.
        tokens: (b, T), the response, its end token included.
        mask: (b, T), 1 where there is a token of the response.
        logprobs: (b, T), of the tokens under the policy that sampled them, in nats.
        advantages: (b, T).
        returns: (b, T), what the critic shall foretell.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    at: torch.Tensor
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
    """Sampled token ids as a batch; what is judged later is 0."""
    b, longest = len(prompts), max(len(ids) for ids in responses)
    pairs = list(zip(prompts, responses, strict=True))
    width = max(len(prompt) + len(response) for prompt, response in pairs)
    ids = torch.full((b, width), pad)
    attention = torch.zeros((b, width), dtype=torch.long)
    at, tokens = (torch.zeros((b, longest), dtype=torch.long) for _ in range(2))
    mask = torch.zeros((b, longest))
    for row, (prompt, response) in enumerate(pairs):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor(prompt + response)
        attention[row, :end] = 1
        at[row, : len(response)] = torch.arange(len(prompt) - 1, end - 1)
        tokens[row, : len(response)] = torch.tensor(response)
        mask[row, : len(response)] = 1
    none = torch.zeros_like(mask)
    parts = (ids, attention, at, tokens, mask, none, none, none)
    return Responses(*(part.to(device) for part in parts))


def token_logprobs(
    logits: torch.Tensor, batch: Responses, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the tokens and entropies (nats), each (b, T), of logits (b, W, V)."""
    judged = logits.gather(1, batch.at.unsqueeze(-1).expand(-1, -1, logits.shape[-1])).float()
    every = (judged / temperature).log_softmax(-1)
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
        output = self.policy(
            input_ids=batch.ids,
            attention_mask=batch.attention,
            output_hidden_states=True,
            use_cache=False,
        )
        logprobs, entropy = token_logprobs(output.logits, batch, self.temperature)
        hidden = output.hidden_states[-1].detach().float()
        hidden = hidden.gather(1, batch.at.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
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
        values: (b, T), foretold before each token.
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
