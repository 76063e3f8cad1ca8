"""`best-of`: of a prompt's candidates the one that a palette's λ likes best, as a reference."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from polyalign.families import Variant
from polyalign.settings import Names, Strict

if TYPE_CHECKING:
    import pandas as pd

    from polyalign.decode import Decoded


class Settings(Strict):
    """Choose the candidate of largest λ·r: best of K, a reference that spends all of its KL."""

    palettes: Names = Field(
        description="Palettes whose λ weighs the rewards; each becomes a policy of its name."
    )


def variants(settings: Settings) -> dict[str, Variant]:
    """One policy a palette, of the palette's name."""
    return {name: Variant(settings={}, palette=name) for name in settings.palettes}


def decode(pool: "pd.DataFrame", palette: dict[str, Any], *, seed: int) -> "Decoded":
    """The best of the pool's candidates by the palette's λ."""
    from polyalign.decode import best_of

    return best_of(pool, dict(zip(palette["values"], palette["lam"], strict=True)), seed=seed)
