"""Rewards: one module per kind in `kinds/`, found by its file name.

A module holds `Spec` (its section in the config, a `ValueSpec`) and `Scorer(spec)` (a `Score`),
which loads what it needs once and is then called with lists of prompts and responses. A dry run
imports the module for its `Spec`, so torch is imported inside `Scorer`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from polyalign.errors import InputError

if TYPE_CHECKING:
    from polyalign.rewards.spec import ValueSpec

KINDS = sorted(
    file.stem for file in (Path(__file__).parent / "kinds").glob("*.py") if file.stem != "__init__"
)


class IncrementalScorer(Protocol):
    """Rewards of the continuations of some texts, for one decoding step after another.

    Args:
        rows: numbers of the b texts; a text that is left out once has ended.
        prompts: the prompt of each text.
        texts: the continuations of each text.
        ends: the end token of each continuation, as `EndScore.ended` takes it; None for a reward
            that does not read it.

    Returns:
        For each text the rewards of its continuations, float64.
    """

    def __call__(
        self,
        rows: Sequence[int],
        prompts: Sequence[str],
        texts: Sequence[Sequence[str]],
        ends: Sequence[Sequence[str]] | None = None,
    ) -> list[np.ndarray]: ...


class SharedEncoding:
    """The texts that several rewards encoded last.

    In token-level decoding, rewards that encode alike are asked for the same texts one after
    another, and encoding is a third of their time. So only the first of them encodes.
    """

    def __init__(self) -> None:
        self._latest: dict[Hashable, tuple[list[str], list[str], Any]] = {}

    def encode(
        self,
        rule: Hashable,
        prompts: list[str],
        responses: list[str],
        encode: Callable[[list[str], list[str]], Any],
    ) -> Any:
        """`encode(prompts, responses)`, or what it gave for the same texts just before.

        Args:
            rule: identifies how the texts are encoded.
            prompts: n prompts.
            responses: n responses.
            encode: encodes them by that rule.
        """
        latest = self._latest.get(rule)
        if latest is None or latest[:2] != (prompts, responses):
            latest = self._latest[rule] = prompts, responses, encode(prompts, responses)
        return latest[2]


class Score(ABC):
    """A reward function.

    Attributes:
        was_cut: of each text of the last call, whether its model could not read it whole; empty if
            it could read all of them.
    """

    was_cut: Sequence[bool] = ()

    @abstractmethod
    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Rewards (n,), float64, of n responses to their prompts."""

    def incremental(self, encoding: SharedEncoding) -> IncrementalScorer | None:
        """Cheaper rewards of texts that grow token by token, for one batch of texts.

        Args:
            encoding: shared by the rewards of the batch.

        Returns:
            None if the reward can only read whole texts.
        """
        return None


class EndScore(Score):
    """A reward that also depends on the token that ended a response."""

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """As `ended`, of responses whose end nobody knows."""
        return self.ended(prompts, responses, [None] * len(responses))

    @abstractmethod
    def ended(
        self, prompts: list[str], responses: list[str], ends: Sequence[str | None]
    ) -> np.ndarray:
        """Rewards (n,), float64, of n responses to their prompts.

        Args:
            prompts: n prompts.
            responses: n responses.
            ends: the end token that each response was sampled with, as text; empty where there is
                none, since a limit cut it; None where nobody knows.
        """


class _Changed(Score):
    """A reward function with the other sign, or as a share.

    Args:
        score: the reward function.
        change: what makes values (n,) of its scores (n,).
    """

    def __init__(self, score: Any, change: Callable[[Any], np.ndarray]) -> None:
        self.score, self.change = score, change

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        return self.change(self.score(prompts, responses))

    @property
    def was_cut(self) -> Sequence[bool]:  # type: ignore[override]
        return getattr(self.score, "was_cut", ())

    def incremental(self, encoding: SharedEncoding) -> IncrementalScorer | None:
        inner = self.score.incremental(encoding)
        if inner is None:
            return None

        def changed(*args: Any, **options: Any) -> list[np.ndarray]:
            return [self.change(rewards) for rewards in inner(*args, **options)]

        return changed


class _ChangedEnd(_Changed, EndScore):
    """As `_Changed`, of a reward that reads end tokens."""

    def ended(
        self, prompts: list[str], responses: list[str], ends: Sequence[str | None]
    ) -> np.ndarray:
        return self.change(self.score.ended(prompts, responses, ends))


class _Deferred(Score):
    """A reward function that is loaded at its first call."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec

    @cached_property
    def score(self) -> Any:
        return load(self.spec)

    @property
    def was_cut(self) -> Sequence[bool]:  # type: ignore[override]
        cut: Sequence[bool] = self.score.was_cut
        return cut

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        rewards: np.ndarray = self.score(prompts, responses)
        return rewards


class _DeferredEnd(_Deferred, EndScore):
    """As `_Deferred`, of a reward that reads end tokens."""

    def ended(
        self, prompts: list[str], responses: list[str], ends: Sequence[str | None]
    ) -> np.ndarray:
        rewards: np.ndarray = self.score.ended(prompts, responses, ends)
        return rewards


def module(kind: str) -> ModuleType:
    """The module of a kind of reward.

    Raises:
        InputError: if there is no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"no kind of reward '{kind}'; there are {', '.join(KINDS)}")
    return import_module(f"polyalign.rewards.kinds.{kind}")


def spec_of(spec: dict[str, Any]) -> "ValueSpec":
    """The entry of a value in the config as the `Spec` of its kind."""
    made: ValueSpec = module(spec["kind"]).Spec(**spec)
    return made


def load(spec: dict[str, Any]) -> Score:
    """The reward function that the entry of a value in the config describes, ready to be called."""
    entry = spec_of(spec)
    score: Score = module(spec["kind"]).Scorer(entry)
    if entry.sign == 1 and entry.above is None:
        return score
    made = _ChangedEnd if isinstance(score, EndScore) else _Changed
    return made(score, entry.of_scores)


def deferred(spec: dict[str, Any]) -> Score:
    """As `load`, at the first call: a job that finds all scores in the cache loads nothing."""
    reads_end = issubclass(module(spec["kind"]).Scorer, EndScore)
    return _DeferredEnd(spec) if reads_end else _Deferred(spec)


def score_of(
    score: Score, prompts: list[str], responses: list[str], ends: Sequence[str | None]
) -> np.ndarray:
    """Rewards (n,) of n responses; only a reward that reads end tokens is told of them.

    Args:
        score: a reward function.
        prompts: n prompts.
        responses: n responses.
        ends: their end tokens, as `EndScore.ended` takes them.
    """
    if isinstance(score, EndScore):
        return score.ended(prompts, responses, ends)
    return score(prompts, responses)


def check_weights(lam: Mapping[str, float], rewards: Mapping[str, Any]) -> None:
    """Raise InputError on a λ that is not finite, or not 0 and without a reward."""
    for name, weight in lam.items():
        if not np.isfinite(weight):
            raise InputError(f"λ of '{name}' is {weight}; expected a finite number")
        if weight != 0 and name not in rewards:
            raise InputError(
                f"λ of '{name}' is {weight:g}, but there is no such reward; "
                f"there are {', '.join(sorted(rewards))}"
            )


def check_finite(value: str, rewards: np.ndarray, texts: Sequence[str]) -> None:
    """Raise InputError on the first of the rewards (n,) of n texts that is not finite."""
    bad = np.flatnonzero(~np.isfinite(rewards))
    if bad.size:
        raise InputError(
            f"value '{value}' is {rewards[bad[0]]} for the text {texts[bad[0]]!r}; expected a "
            "finite number: fix the reward, or take the value out of the palette"
        )
