"""Rewards: one module a kind, found by its file name.

A module holds `Spec` (its entry in the config) and `Scorer(spec)`, which loads what it needs once
and is then called with lists of prompts and responses. A Scorer may have `follow()`, which gives
the rewards of texts that grow token by token at a lower price (see `_follow`). A dry run imports
the module for its `Spec`, so torch is imported inside `Scorer`.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from polyalign.errors import InputError

KINDS = sorted(
    file.stem for file in (Path(__file__).parent / "kinds").glob("*.py") if file.stem != "__init__"
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
    return import_module(f"polyalign.rewards.kinds.{kind}")


def load(spec: dict[str, Any]) -> Score:
    """The reward function that a value's entry in the config describes, ready to be called."""
    kind = module(spec["kind"])
    score: Score = kind.Scorer(kind.Spec(**spec))
    return score


def deferred(spec: dict[str, Any]) -> Score:
    """`load`, put off to the first call: a job that finds all scores in the cache loads nothing."""
    loaded: Callable[[], Score] = cache(lambda: load(spec))
    return lambda prompts, responses: loaded()(prompts, responses)


def reads_prompt(spec: dict[str, Any]) -> bool:
    """Whether a value scores prompt and response, or the response alone: its scope."""
    asked: bool = module(spec["kind"]).Spec(**spec).reads_prompt()
    return asked


def user_code(spec: dict[str, Any]) -> str:
    """The user's own code that a value's entry runs, with hashes (empty for most kinds).

    Raises:
        InputError: if it is not there.
    """
    local = getattr(module(spec["kind"]), "local_code", None)
    return str(local(spec["function"])) if local else ""


def identity(spec: dict[str, Any]) -> dict[str, Any]:
    """What the scores of a value's entry depend on: its settings and the content of its model."""
    settings: dict[str, Any] = module(spec["kind"]).Spec(**spec).identity()
    return settings
