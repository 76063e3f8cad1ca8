"""`token-d`: token-level guidance, where a palette's λ·r steers the sampling itself."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from polyalign.families import Variant
from polyalign.settings import Count, Names, Strict

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from polyalign.guide import GuidedEngine
    from polyalign.logprobs import Sampling


class Settings(Strict):
    """Draw every few tokens among the likeliest continuations with weights exp(λ·r).

    Every continuation is scored by every reward that has a weight, so this costs far more than
    map-d. docs/decoding.md says which distribution it draws from.
    """

    palettes: Names = Field(
        description="Palettes whose λ guides; each becomes a policy of its name."
    )
    interval: Count = Field(default=1, description="Guide at every so many tokens.")
    top_k: Count = Field(default=10, description="Likeliest continuations that are scored.")
    stop: list[str] = Field(
        default=[],
        description="Texts before which a response ends, besides the end token and "
        "`sampling.max_new_tokens`.",
    )


def variants(settings: Settings) -> dict[str, Variant]:
    """One policy a palette, of the palette's name."""
    guidance = settings.model_dump(exclude={"palettes"})
    return {name: Variant(settings=guidance, palette=name) for name in settings.palettes}


def engine(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sampling: "Sampling",
    palette: dict[str, Any],
    *,
    values: dict[str, dict[str, Any]],
    settings: dict[str, Any],
) -> "GuidedEngine":
    """The engine that samples the policy.

    It draws fresh responses, so λ is the one for an endless pool (`lam_train`).

    Args:
        model: the base model.
        tokenizer: its tokenizer.
        sampling: how p0 samples.
        palette: the solved palette.
        values: value → settings of its reward function, for the values of the palette.
        settings: the variant's settings.
    """
    from polyalign import values as kinds
    from polyalign.guide import GuidedEngine

    lam = dict(zip(palette["values"], palette["lam_train"], strict=True))
    rewards = {name: kinds.load(values[name]) for name, weight in lam.items() if weight > 0}
    return GuidedEngine(model, tokenizer, sampling, rewards, lam, **settings)
