"""`ppo`: reinforcement learning (proximal policy optimisation) with a palette's reward λ·r."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from polyalign.families import Family, Policy
from polyalign.families.options import Rewarded, Steered, rewarded_policies
from polyalign.settings import Count, Positive, Share


class Ppo(Steered):
    """How one policy is trained."""

    steps: Count = Field(
        default=500,
        description="Optimisation steps, with `adapt` at most; a multiple of minibatches × passes.",
    )
    batch_size: Count = Field(default=128, description="Responses in one step.")
    minibatches: Count = Field(
        default=2,
        description="Minibatches per rollout: responses are sampled for this many steps at once.",
    )
    passes: Count = Field(
        default=2, description="Optimisation epochs per rollout: how often each response is used."
    )
    clip: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2,
        description="Clip range of the probability ratio: it counts from 1 - clip to 1 + clip.",
    )
    gae_lambda: Share = Field(
        default=1.0,
        description="λ of GAE: 1 is unbiased; a smaller one also uses the critic and has less "
        "variance.",
    )
    value_learning_rate: Positive = Field(
        default=1.0e-3, description="Peak step size of the critic."
    )

    @property
    def rollout_steps(self) -> int:
        """Optimisation steps on one rollout."""
        return self.minibatches * self.passes

    @model_validator(mode="after")
    def _whole_rollouts(self) -> Self:
        if self.steps % self.rollout_steps:
            raise ValueError(
                f"steps {self.steps} is not a multiple of minibatches {self.minibatches} × passes "
                f"{self.passes}; expected whole rollouts; change one of the three"
            )
        return self


class Settings(Ppo, Rewarded):
    """Train a model towards p0 exp(λ·r) by reinforcement learning with a critic (PPO). The reward
    is λ·r with the palette's λ for training, minus the KL to the base model with β = 1; λ moves
    while training (`adapt`). Advantages are estimated by GAE.

    Reference: Schulman, Wolski, Dhariwal, Radford and Klimov: Proximal policy optimization
    algorithms. arXiv 1707.06347, 2017.
    """


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette, with the palette's name, and one per random λ."""
    return rewarded_policies("ppo", settings)


FAMILY = Family("train", "polyalign.train.ppo:train", Settings, policies, colour=4)
