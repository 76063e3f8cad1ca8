"""`token-d`: token-level guidance: λ·r steers the sampling itself."""

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.families.options import LamOptions, lam_policies
from polyalign.settings import Count


class Settings(LamOptions):
    """Guide the base model's sampling, token by token. Every `interval` tokens, the next token is
    drawn among the `top_k` likeliest with weights p0 exp(λ·r). Here r are the rewards of the text
    so far, and λ is the palette's λ for training.

    Every continuation is scored by every reward that has a weight, so this costs far more than
    map-d. docs/decoding.md says which distribution it draws from.

    Reference: Khanov, Burapacheep and Li: ARGS: alignment as reward-guided search.
    arXiv 2402.01694, 2024.
    """

    interval: Count = Field(
        default=1, description="Tokens from one guided token to the next; 1 guides every token."
    )
    top_k: Count = Field(default=10, description="How many of the likeliest tokens are scored.")
    stop: list[str] = Field(
        default=[],
        description="Texts before which a response ends, besides the end token and "
        "`sampling.max_new_tokens`.",
    )


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette and per λ."""
    return lam_policies("token-d", settings)


FAMILY = Family("sample", "polyalign.sampling.guided:engine", Settings, policies, colour=6)
