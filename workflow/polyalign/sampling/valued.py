"""Guidance by learnt soft values: p0(v) exp(V(x, yv, λ) − V(x, y, λ)), one pass per token.

The value model gives log p0 plus that difference as its own log-probabilities (see
`polyalign.models.value_model`), so a policy of λ is sampled like any model. With the exact soft
value the factors telescope over the response, and what is sampled is p_λ ∝ p0 exp(λ·r) exactly.
"""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from polyalign.models.value_model import ValueModel, load_value_model
from polyalign.palettes.record import lam_of
from polyalign.sampling.drawing import DrawingEngine
from polyalign.settings import SamplingRule


def engine(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sampling: SamplingRule,
    palette: dict[str, Any],
    *,
    settings: dict[str, Any],
    value_model: str,
) -> DrawingEngine:
    """The engine that samples a policy of the family value-d: no reward guides it.

    Args:
        model: the base model.
        tokenizer: its tokenizer.
        sampling: the sampling rule of p0; what it excludes, it excludes of the tilted model.
        palette: the solved palette, whose λ for training is taken; empty if the settings have
            `lam`.
        settings: the policy's settings: maybe `lam`.
        value_model: folder of the study's value model.

    Raises:
        InputError: if the value model cannot be read, or does not know a value that λ weighs.
    """
    lam: dict[str, float] = settings.get("lam") or lam_of(palette, "lam_train")
    return tilted_engine(load_value_model(value_model, model), model, tokenizer, sampling, lam)


def tilted_engine(
    learnt: ValueModel,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sampling: SamplingRule,
    lam: Mapping[str, float],
) -> DrawingEngine:
    """The engine of one λ. It holds a copy of the base model with the weights W(λ).

    Args:
        learnt: the value model.
        model, tokenizer, sampling: as in `engine`.
        lam: value → weight λ ≥ 0.

    Raises:
        InputError: if λ weighs a value that the value model does not know.
    """
    tilted = learnt.merged(model, lam)
    return DrawingEngine(tilted, tokenizer, sampling)
