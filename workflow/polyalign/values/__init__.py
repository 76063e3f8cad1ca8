"""Rewards: one module a kind, found by its file name.

A module holds `Spec` (its entry in the config) and `Scorer(spec)`, which loads what it needs once
and is then called with lists of prompts and responses. A dry run imports the module for its `Spec`,
so torch is imported inside `Scorer`.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from polyalign.errors import InputError

KINDS = sorted(
    file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_")
)


class Score(Protocol):
    """A reward function: prompts and responses of n samples → rewards (n,), float64."""

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray: ...


def module(kind: str) -> ModuleType:
    """The module of a kind of reward.

    Raises:
        InputError: if there is no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"no kind of reward '{kind}'; there are {', '.join(KINDS)}")
    return import_module(f"polyalign.values.{kind}")


def load(spec: dict[str, Any]) -> Score:
    """The reward function that a value's entry in the config describes, ready to be called."""
    kind = module(spec["kind"])
    score: Score = kind.Scorer(kind.Spec(**spec))
    return score
