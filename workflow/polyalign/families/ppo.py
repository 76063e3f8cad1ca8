"""`ppo`: reinforcement learning (proximal policy optimisation) with a palette's reward λ·r."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from polyalign.families import Family, Policy
from polyalign.families.options import PaletteOptions, palette_policies
from polyalign.settings import Count, Positive, Share


class Settings(PaletteOptions):
    """Train a model towards p0 exp(λ·r) on the prompts of the study, with a critic beside it."""

    steps: Count = Field(
        default=500, description="Optimisation steps; a multiple of minibatches × passes."
    )
    batch_size: Count = Field(default=128, description="Responses in one step.")
    minibatches: Count = Field(
        default=2, description="New responses are sampled for this many steps at once."
    )
    passes: Count = Field(default=2, description="And each of them is used this often.")
    clip: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2,
        description="A token's probability, relative to when it was sampled, counts to 1 ± this.",
    )
    gae_lambda: Share = Field(
        default=1.0,
        description="1 judges a token by the rewards after it alone (no bias), less also by the "
        "critic (less noise).",
    )
    value_learning_rate: Positive = Field(
        default=1.0e-3, description="Peak step size of the critic."
    )

    @model_validator(mode="after")
    def _whole_rollouts(self) -> Self:
        if self.steps % (self.minibatches * self.passes):
            raise ValueError(
                f"steps {self.steps} is no multiple of minibatches {self.minibatches} × passes "
                f"{self.passes}; expected whole rollouts; change one of the three"
            )
        return self


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette, with the palette's name."""
    return palette_policies("ppo", settings)


FAMILY = Family("train", "polyalign.train.ppo:train", Settings, policies)
