"""`token-d`: token-level guidance: λ·r, a palette's or one's own, steers the sampling itself."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from polyalign.families._lam import LamOptions, lam_of, variants
from polyalign.settings import Count

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from polyalign.guide import GuidedEngine
    from polyalign.logprobs import Sampling


__all__ = ["Settings", "engine", "variants"]


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

    It draws fresh responses, so a palette's λ is the one for an endless pool (`lam_train`).

    Args:
        model: the base model.
        tokenizer: its tokenizer.
        sampling: how p0 samples.
        palette: the solved palette; empty where the settings have `lam`.
        values: value → settings of its reward function, for the values that λ weighs.
        settings: the variant's settings.
    """
    from polyalign import values as kinds
    from polyalign.guide import GuidedEngine

    lam = settings.get("lam") or lam_of(palette, "lam_train")
    guidance = {name: setting for name, setting in settings.items() if name != "lam"}
    rewards = {name: kinds.load(values[name]) for name, weight in lam.items() if weight > 0}
    return GuidedEngine(model, tokenizer, sampling, rewards, lam, **guidance)
