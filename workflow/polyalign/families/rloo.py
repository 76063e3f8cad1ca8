"""`rloo`: reinforcement learning (REINFORCE leave-one-out, or GRPO) with a palette's reward λ·r."""

from typing import Literal, Self

from pydantic import Field, model_validator

from polyalign.families import Family, Policy
from polyalign.families.options import Rewarded, Steered, rewarded_policies
from polyalign.settings import Count


class Rloo(Steered):
    """How one policy is trained."""

    algorithm: Literal["rloo", "grpo"] = Field(
        default="rloo",
        description="rloo has the KL in the reward; its optimum is p0 exp(λ·r). grpo has the KL in "
        "the loss; its optimum is near that.",
    )
    steps: Count = Field(
        default=500,
        description="Optimisation steps, with `adapt` at most; a multiple of passes.",
    )
    batch_size: Count = Field(
        default=128, description="Responses in one step; a multiple of generations."
    )
    generations: int = Field(default=4, ge=2, description="Responses to one prompt in a step.")
    passes: Count = Field(
        default=1, description="Steps on the same responses: how often each is used."
    )

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        if self.batch_size % self.generations:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of generations "
                f"{self.generations}; expected whole prompts in a step; change one of the two"
            )
        if self.steps % self.passes:
            raise ValueError(
                f"steps {self.steps} is not a multiple of passes {self.passes}; expected to use "
                "all responses alike; change one of the two"
            )
        return self


class Settings(Rloo, Rewarded):
    """Train a model towards p0 exp(λ·r) by reinforcement learning: REINFORCE leave-one-out (RLOO),
    or GRPO. The reward is λ·r with the palette's λ for training, minus the KL to the base model
    with β = 1; λ moves while training (`adapt`). RLOO has this KL in the reward, GRPO in the loss.

    Reference: Ahmadian, Cremer, Gallé, Fadaee, Kreutzer, Pietquin, Üstün and Hooker: Back to
    basics: revisiting REINFORCE style optimization for learning from human feedback in LLMs.
    arXiv 2402.14740, 2024.
    Reference, with algorithm grpo: Shao, Wang, Zhu, Xu, Song, Bi, Zhang, Zhang, Li, Wu and Guo:
    DeepSeekMath: pushing the limits of mathematical reasoning in open language models.
    arXiv 2402.03300, 2024.
    """


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette, with the palette's name, and one per random λ."""
    return rewarded_policies("rloo", settings)


FAMILY = Family("train", "polyalign.train.rloo:train", Settings, policies, colour=1)
