"""`rloo`: reinforcement learning (REINFORCE leave-one-out, or GRPO) with a palette's reward λ·r."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from polyalign.families import Ingredients
from polyalign.families._palettes import PaletteOptions, lam_and_rewards, variants
from polyalign.settings import Count
from polyalign.train.options import training

__all__ = ["Settings", "train", "variants"]


class Settings(PaletteOptions):
    """Train a model towards p0 exp(λ·r) on the prompts of the study."""

    algorithm: Literal["rloo", "grpo"] = Field(
        default="rloo",
        description="rloo has the KL in the reward, and p0 exp(λ·r) as its optimum; grpo has it in "
        "the loss, and an optimum near that.",
    )
    steps: Count = Field(default=500, description="Optimisation steps.")
    batch_size: Count = Field(
        default=128, description="Responses in one step; a multiple of generations."
    )
    generations: int = Field(default=4, ge=2, description="Responses to one prompt in a step.")

    @model_validator(mode="after")
    def _whole_prompts(self) -> Self:
        if self.batch_size % self.generations:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of generations {self.generations}; "
                "expected whole prompts in a step; change one of the two"
            )
        return self


def train(made_from: Ingredients, output: Path) -> dict[str, Any]:
    """Train the policy's model into `output`; returns what the record shall say."""
    from polyalign.logprobs import Sampling
    from polyalign.train.rloo import train_rloo

    settings, model = made_from.settings, made_from.model
    lam, rewards = lam_and_rewards(made_from)
    return train_rloo(
        model["source"],
        made_from.prompts,
        rewards,
        lam,
        output,
        work=made_from.work,
        template=made_from.template,
        sampling=Sampling(**made_from.sampling),
        training=training(
            settings, made_from.seed, model["dtype"], model["device"], parts=made_from.parts
        ),
        steps=settings["steps"],
        generations=settings["generations"],
        algorithm=settings["algorithm"],
        revision=model["revision"],
    )
