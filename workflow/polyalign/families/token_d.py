"""`token-d`: token-level guidance: λ·r steers the sampling itself."""

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.families.options import LamOptions, lam_policies
from polyalign.settings import Count


class Settings(LamOptions):
    """Draw every few tokens among the likeliest continuations with weights exp(λ·r).

    Every continuation is scored by every reward that has a weight, so this costs far more than
    map-d. docs/decoding.md says which distribution it draws from.
    """

    interval: Count = Field(default=1, description="Guide at every so many tokens.")
    top_k: Count = Field(default=10, description="Likeliest continuations that are scored.")
    stop: list[str] = Field(
        default=[],
        description="Texts before which a response ends, besides the end token and "
        "`sampling.max_new_tokens`.",
    )


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette and per λ."""
    return lam_policies("token-d", settings)


FAMILY = Family("sample", "polyalign.sampling.guided:engine", Settings, policies)
