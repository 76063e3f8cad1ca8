"""`map-d`: choose among the base model's candidates with λ, from a palette or given directly."""

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.families.options import LamOptions, lam_policies
from polyalign.settings import Count


class Settings(LamOptions):
    """Choose one of the candidates of a prompt with weights exp(λ·r)."""

    draws: Count = Field(default=1, description="Independent draws a test prompt.")


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette and per λ."""
    return lam_policies("map-d", settings)


FAMILY = Family("select", "polyalign.sampling.select:map_d", Settings, policies)
