"""The network of PPO and its advantages."""

from typing import Any

import torch
from torch import nn

from polyalign.models.encoding import text_config
from polyalign.train.responses import (
    Responses,
    by_length,
    response_logits,
    spread,
    token_entropies,
    token_logprobs,
)


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

    def forward(self, batch: Responses, entropy: bool = False) -> tuple[torch.Tensor, ...]:
        """Log-probabilities of the tokens, values before them and, if asked, entropies, (b, T)."""

        def read(part: Responses) -> tuple[torch.Tensor, ...]:
            logits, output = response_logits(self.policy, part, output_hidden_states=True)
            every = spread(logits, self.temperature)
            hidden = output.hidden_states[-1][:, -part.tokens.shape[1] - 1 : -1].detach().float()
            values = self.centre + self.scale * self.value_head(hidden).squeeze(-1)
            found = token_logprobs(every, part), values
            return (*found, token_entropies(every)) if entropy else found

        return by_length(read, batch, text_config(self.policy).vocab_size)

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
