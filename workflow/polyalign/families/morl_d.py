"""`morl-d`: decode with random λ, as a baseline for `map-d`."""

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.families.options import RandomLam
from polyalign.settings import Count


class Settings(RandomLam):
    """Draw one of the candidates as map-d does, with random λ, for comparison. The direction of λ
    is uniform, and its sum is uniform between 0 and the cap.

    The λ of a draw depends only on the seed, its number, the cap and the values, so more draws
    leave the first ones as they were.

    Reference: Roijers, Vamplew, Whiteson and Dazeley: A survey of multi-objective sequential
    decision-making. Journal of Artificial Intelligence Research 48, 2013.
    """

    draws: Count = Field(default=1, description="Independent draws per test prompt.")


def policies(settings: Settings) -> list[Policy]:
    """One policy per random λ: `draw-1`, `draw-2`, …."""
    common = settings.model_dump(include={"cap", "values", "draws"})
    return [
        Policy("morl-d", name, common, values=tuple(settings.values or ()))
        for name in settings.names
    ]


FAMILY = Family("select", "polyalign.sampling.select:morl_d", Settings, policies, colour=5)
