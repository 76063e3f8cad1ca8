"""`best-of`: best of K by λ·r, as a baseline."""

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.settings import Names, Strict


class Settings(Strict):
    """Take the candidate with the largest λ·r (best of K), for comparison. This spends all the KL
    that choosing among the candidates can spend.

    Reference: Stiennon, Ouyang, Wu, Ziegler, Lowe, Voss, Radford, Amodei and Christiano: Learning
    to summarize from human feedback. arXiv 2009.01325, 2020.
    """

    palettes: Names = Field(
        description="Palettes whose λ weighs the rewards; each becomes a policy with its name."
    )


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette, with the palette's name."""
    return [Policy("best-of", name, palette=name) for name in settings.palettes]


FAMILY = Family("select", "polyalign.sampling.select:best_of_palette", Settings, policies)
