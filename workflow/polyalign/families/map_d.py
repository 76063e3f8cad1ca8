"""`map-d`: choose among the base model's candidates with λ, from a palette or given directly."""

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.families.options import LamOptions, lam_policies
from polyalign.settings import Count


class Settings(LamOptions):
    """Draw one of the base model's candidates of each prompt with weights exp(λ·r).

    Reference: Wang, Le, Ahmed, Diao, Zhou, Baracaldo, Ding and Anwar: MAP: multi-human-value
    alignment palette. arXiv 2410.19198, 2024.
    """

    draws: Count = Field(default=1, description="Independent draws per test prompt.")


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette and per λ."""
    return lam_policies("map-d", settings)


FAMILY = Family("select", "polyalign.sampling.select:map_d", Settings, policies, colour=0)
