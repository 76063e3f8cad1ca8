"""`morl-d`: decode with random λ, which no palette asked for, as a reference for `map-d`."""

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.settings import Count, Names, Positive, Strict


class Settings(Strict):
    """Choose among the candidates with weights exp(λ·r) for random λ.

    λ has a uniform direction and a sum that is uniform up to the cap. The λ of a draw depends on
    the seed, its number, the cap and the values alone, so more draws leave the first ones as they
    were.
    """

    count: Count = Field(default=10, description="Random λ; they become `draw-1`, `draw-2`, ….")
    cap: Positive = Field(default=6.0, description="Largest sum of λ, in 1 / the rewards' units.")
    values: Names | None = Field(
        default=None, description="Values that get a weight (default: all of the study)."
    )
    draws: Count = Field(default=1, description="Independent draws a test prompt.")


def policies(settings: Settings) -> list[Policy]:
    """One policy per random λ: `draw-1`, `draw-2`, …."""
    common = settings.model_dump(include={"cap", "values", "draws"})
    return [
        Policy("morl-d", f"draw-{number}", common, values=tuple(settings.values or ()))
        for number in range(1, settings.count + 1)
    ]


FAMILY = Family("select", "polyalign.sampling.select:morl_d", Settings, policies)
