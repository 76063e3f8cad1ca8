"""A training that diverges ends at once, and leaves no model."""

import math
from typing import Any

import torch

REMEDY = "the training diverged; expected finite numbers: lower learning_rate"


def check_number(name: str, value: float, step: int) -> None:
    """Raise FloatingPointError unless what a step measured is finite.

    Args:
        name: what it is (`loss`).
        value: the number.
        step: of the optimiser, from 1.
    """
    if not math.isfinite(value):
        raise FloatingPointError(f"{name} is {value} at step {step}: {REMEDY}")


def check_weights(model: Any, step: int) -> None:
    """Raise FloatingPointError unless all weights after `step` steps are finite."""
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise FloatingPointError(f"weight {name} is not finite after step {step}: {REMEDY}")
