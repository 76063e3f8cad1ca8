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
from polyalign.runtime.code import canonical

if TYPE_CHECKING:
    import pandas as pd

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
    """What several rewards made of the same texts last.

    Rewards are asked for the same texts one after another. Some encode alike, and encoding is a
    third of the time of token-level decoding; others share their model. So only the first of them
    does the work.
    """

    def __init__(self) -> None:
        self._latest: dict[Hashable, tuple[list[str], list[str], Any]] = {}
        self._kept: dict[Hashable, Any] = {}

    def once(self, owner: Hashable, make: Callable[[], Any]) -> Any:
        """`make()`, or what it gave when another reward of the batch called it for `owner`."""
        if owner not in self._kept:
            self._kept[owner] = make()
        return self._kept[owner]

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

    def numbers(
        self, prompts: list[str], responses: list[str], ends: Sequence[str | None]
    ) -> "pd.DataFrame":
        """What is kept of n texts, in a column for each number that one reading of a text gives.

        Args:
            prompts: n prompts.
            responses: n responses.
            ends: their end tokens, as `EndScore.ended` takes them.
        """
        import pandas as pd

        scores = score_of(self, prompts, responses, ends)
        return pd.DataFrame({"score": np.asarray(scores, dtype=np.float64)})

    def of_numbers(self, numbers: "pd.DataFrame") -> np.ndarray:
        """Rewards (n,) from the numbers of n texts."""
        return numbers["score"].to_numpy()

    def sharing(self, spec: "ValueSpec") -> "Score":
        """The reward function of another value whose entry has the same `reading`."""
        return self

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

    def numbers(
        self, prompts: list[str], responses: list[str], ends: Sequence[str | None]
    ) -> "pd.DataFrame":
        found: pd.DataFrame = self.score.numbers(prompts, responses, ends)
        return found

    def of_numbers(self, numbers: "pd.DataFrame") -> np.ndarray:
        return self.change(self.score.of_numbers(numbers))

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


class _Deferred(_Changed):
    """A reward function that is loaded at its first call."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec

    @cached_property
    def score(self) -> Any:
        return load(self.spec)

    @staticmethod
    def change(scores: np.ndarray) -> np.ndarray:
        """As they are: the reward function that is loaded changes its sign itself."""
        return scores

    def of_numbers(self, numbers: "pd.DataFrame") -> np.ndarray:
        # From what is kept, so without the model.
        return spec_of(self.spec).of_numbers(numbers)


class _DeferredEnd(_Deferred, _ChangedEnd):
    """As `_Deferred`, of a reward that reads end tokens."""


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
    return load_all({"": spec})[""]


def load_all(specs: Mapping[str, dict[str, Any]]) -> dict[str, Score]:
    """The reward functions of several values.

    Those whose entries have the same `ValueSpec.reading` share one model. A classifier also reads a
    text only once for all of them.

    Args:
        specs: value → its entry in the config.
    """
    readers: dict[str, Score] = {}
    found: dict[str, Score] = {}
    for name, spec in specs.items():
        entry = spec_of(spec)
        rule = canonical(entry.reading())
        if rule in readers:
            score = readers[rule].sharing(entry)
        else:
            score = readers[rule] = module(spec["kind"]).Scorer(entry)
        made = _ChangedEnd if isinstance(score, EndScore) else _Changed
        plain = entry.sign == 1 and entry.above is None
        found[name] = score if plain else made(score, entry.of_scores)
    return found


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
