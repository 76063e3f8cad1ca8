"""`ppo`: reinforcement learning (proximal policy optimisation) with a palette's reward λ·r."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from polyalign.families import Family, Policy
from polyalign.families.options import Palettes, TrainingOptions, palette_policies
from polyalign.settings import Count, Positive, Share


class Ppo(TrainingOptions):
    """How one policy is trained."""

    steps: Count = Field(
        default=500, description="Optimisation steps; a multiple of minibatches × passes."
    )
    batch_size: Count = Field(default=128, description="Responses in one step.")
    minibatches: Count = Field(
        default=2, description="Steps that the responses of one rollout are divided into."
    )
    passes: Count = Field(default=2, description="Passes over the responses of one rollout.")
    clip: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2,
        description="Clip range: the ratio of a token's probability to that when it was sampled "
        "counts up to 1 ± this.",
    )
    gae_lambda: Share = Field(
        default=1.0,
        description="λ of generalised advantage estimation: 1 is unbiased; smaller values use the "
        "critic and reduce variance.",
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


class Settings(Ppo, Palettes):
    """Train a model towards p0 exp(λ·r) on the prompts of the study, with a critic beside it."""


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette, with the palette's name."""
    return palette_policies("ppo", settings)


FAMILY = Family("train", "polyalign.train.ppo:train", Settings, policies)
