"""`map-d`: choose among the base model's candidates with λ, a palette's or one's own."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from polyalign.families._lam import LamOptions, lam_of, variants
from polyalign.settings import Count

if TYPE_CHECKING:
    import pandas as pd

    from polyalign.decode import Decoded


__all__ = ["Settings", "decode", "variants"]


class Settings(LamOptions):
    """Choose one of the candidates of a prompt with weights exp(λ·r)."""

    draws: Count = Field(default=1, description="Independent draws a test prompt.")


def decode(
    pool: "pd.DataFrame",
    palette: dict[str, Any],
    *,
    lam: dict[str, float] | None = None,
    draws: int,
    seed: int,
) -> "Decoded":
    """Draws among the pool's candidates with `lam`, or else the palette's λ."""
    from polyalign.decode import resample

    return resample(pool, lam or lam_of(palette, "lam"), draws=draws, seed=seed)
