"""`map-d`: decode with a palette's λ by choosing among the candidates of the base model."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from polyalign.families import Variant
from polyalign.settings import Count, Names, Strict

if TYPE_CHECKING:
    import pandas as pd

    from polyalign.decode import Decoded


class Settings(Strict):
    """Choose one of the candidates of a prompt with weights exp(λ·r)."""

    palettes: Names = Field(description="Palettes to decode; each becomes a policy of its name.")
    draws: Count = Field(default=1, description="Independent draws a test prompt.")


def variants(settings: Settings) -> dict[str, Variant]:
    """One policy a palette, of the palette's name."""
    return {
        name: Variant(settings={"draws": settings.draws}, palette=name)
        for name in settings.palettes
    }


def decode(pool: "pd.DataFrame", palette: dict[str, Any], *, draws: int, seed: int) -> "Decoded":
    """Draws among the pool's candidates with the palette's λ."""
    from polyalign.decode import resample

    lam = dict(zip(palette["values"], palette["lam"], strict=True))
    return resample(pool, lam, draws=draws, seed=seed)
