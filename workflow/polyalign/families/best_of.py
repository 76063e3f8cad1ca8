"""`best-of`: best of K by λ·r, as a baseline."""

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.settings import Names, Strict


class Settings(Strict):
    """Choose the candidate of largest λ·r: best of K, a reference that spends all of its KL."""

    palettes: Names = Field(
        description="Palettes whose λ weighs the rewards; each becomes a policy of its name."
    )


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette, with the palette's name."""
    return [Policy("best-of", name, palette=name) for name in settings.palettes]


FAMILY = Family("select", "polyalign.sampling.select:best_of_palette", Settings, policies)
