"""`ppo`: reinforcement learning (proximal policy optimisation) with a palette's reward λ·r."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from polyalign.families import Ingredients
from polyalign.families._palettes import PaletteOptions, lam_and_rewards, variants
from polyalign.settings import Count, Positive, Share
from polyalign.train.options import training

__all__ = ["Settings", "train", "variants"]


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


def train(made_from: Ingredients, output: Path) -> dict[str, Any]:
    """Train the policy's model into `output`; returns what the record shall say."""
    from polyalign.logprobs import Sampling
    from polyalign.train.ppo import Ppo, train_ppo

    settings, model = made_from.settings, made_from.model
    lam, rewards = lam_and_rewards(made_from)
    own = ("minibatches", "passes", "clip", "gae_lambda", "value_learning_rate")
    return train_ppo(
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
        ppo=Ppo(**{name: settings[name] for name in own}),
        revision=model["revision"],
    )
