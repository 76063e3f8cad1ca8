"""`rloo`: reinforcement learning (REINFORCE leave-one-out) with a palette's reward λ·r."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from polyalign.families import Ingredients, Variant
from polyalign.settings import Count, Names, Positive, Strict


class Settings(Strict):
    """Train a model towards p0 exp(λ·r) on the prompts of the study."""

    palettes: Names = Field(description="Palettes to train for; each becomes a policy of its name.")
    steps: Count = Field(default=500, description="Optimisation steps.")
    batch_size: Count = Field(
        default=128, description="Responses in one step; a multiple of generations."
    )
    generations: int = Field(default=4, ge=2, description="Responses to one prompt in a step.")
    learning_rate: Positive = Field(default=1.0e-6, description="Peak step size of the optimiser.")

    @model_validator(mode="after")
    def _whole_prompts(self) -> Self:
        if self.batch_size % self.generations:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of generations {self.generations}; "
                "expected whole prompts in a step; change one of the two"
            )
        return self


def variants(settings: Settings) -> dict[str, Variant]:
    """One policy a palette, of the palette's name."""
    training = settings.model_dump(exclude={"palettes"})
    return {name: Variant(settings=training, palette=name) for name in settings.palettes}


def train(made_from: Ingredients, output: Path) -> dict[str, Any]:
    """Train the policy's model into `output`; returns what the record shall say."""
    from polyalign import values
    from polyalign.logprobs import Sampling
    from polyalign.train.common import Training
    from polyalign.train.rloo import train_rloo

    settings, palette = made_from.settings, made_from.palette
    lam = dict(zip(palette["values"], palette["lam_train"], strict=True))
    rewards = {
        name: values.load(spec) for name, spec in made_from.values.items() if lam.get(name, 0) > 0
    }
    return train_rloo(
        made_from.model["source"],
        made_from.prompts,
        rewards,
        {name: lam[name] for name in rewards},
        output,
        work=made_from.work,
        template=made_from.template,
        sampling=Sampling(**made_from.sampling),
        training=Training(
            learning_rate=settings["learning_rate"],
            batch_size=settings["batch_size"],
            seed=made_from.seed,
            dtype=made_from.model["dtype"],
        ),
        steps=settings["steps"],
        generations=settings["generations"],
    )
