"""What the families share that train towards a palette's λ."""

from typing import Any

from pydantic import Field

from polyalign.families import Ingredients, Variant
from polyalign.settings import Names
from polyalign.train.options import Options


class PaletteOptions(Options):
    """How a model is trained for each of some palettes."""

    palettes: Names = Field(description="Palettes to train for; each becomes a policy of its name.")


def variants(settings: PaletteOptions) -> dict[str, Variant]:
    """One policy a palette, of the palette's name."""
    training = settings.model_dump(exclude={"palettes"})
    return {name: Variant(settings=training, palette=name) for name in settings.palettes}


def lam_and_rewards(made_from: Ingredients) -> tuple[dict[str, float], dict[str, Any]]:
    """The λ above 0 that training aims at, and the reward functions of their values."""
    from polyalign import values
    from polyalign.train.common import take_own_gpu

    take_own_gpu()
    palette = made_from.palette
    lam = dict(zip(palette["values"], palette["lam_train"], strict=True))
    rewards = {
        name: values.load(spec) for name, spec in made_from.values.items() if lam.get(name, 0) > 0
    }
    return {name: lam[name] for name in rewards}, rewards
