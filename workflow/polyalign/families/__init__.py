"""Families of policies: one module each, found by its file name (`map_d.py` is `map-d`).

A module declares what a config may ask for: its section (`Settings`), the policies that a section
makes, and the function that makes one of them. It imports nothing but settings, so a dry run is
cheap; the function is named as `module:function` and is imported by the job alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from polyalign.settings import Strict


@dataclass(frozen=True)
class Policy:
    """A policy: its name, the settings of its job, and what it is made from.

    Attributes:
        family: policies made the same way, such as `rloo`; `base` for the base model.
        variant: which of its family, such as a palette's name.
        settings: the settings of this one policy, JSON-ready.
        palette: the palette whose λ it realises, if any.
        preferences: names of the preference data sets that it is trained on.
        parts: names of the policies whose models it is made of.
        start: name of the policy whose model its training starts from, if not the base model.
        values: values that it names apart from those of a palette.
        uses_pool: whether it is trained on the base model's candidates and their rewards.
        seed: of its training and of its answers, if not that of the study.
        repeats: name of the policy that it is made like, with another seed.
        reads: what a row of its batches is, if it is trained on texts: a pair of responses, a
            prompt with all its candidates, or one candidate.
    """

    family: str
    variant: str
    settings: dict[str, Any] = field(default_factory=dict)
    palette: str | None = None
    preferences: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    start: str | None = None
    values: tuple[str, ...] = ()
    uses_pool: bool = False
    reads: Literal["pairs", "prompts", "candidates"] = "pairs"
    seed: int | None = None
    repeats: str | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the policies whose models must be there before its own can be made."""
        return (*self.parts, self.start) if self.start else self.parts

    @property
    def name(self) -> str:
        """`family/variant`, the key of a policy in settings, tables and paths."""
        return f"{self.family}/{self.variant}"

    @property
    def is_rewarded(self) -> bool:
        """Whether its training samples responses and scores them (reinforcement learning)."""
        return bool(self.palette or self.values) and not self.uses_pool

    @classmethod
    def parse(cls, name: str) -> "Policy":
        """The policy of this name, without settings.

        Raises:
            ValueError: if `name` is not `family/variant`.
        """
        family, slash, variant = name.partition("/")
        if not (family and slash and variant) or "/" in variant:
            raise ValueError(f"{name!r} is not the name of a policy; expected family/variant")
        return cls(family, variant)


BASE = Policy("base", "base")
"""The base model, as a reference sample of the test prompts."""

VALUE = Policy("value", "pool")
"""The model of soft values that the study learns from the pool (polyalign.models.value_model)."""

POOL = Policy("base", "pool")
"""The base model's candidates, among which policies choose and on which λ is fitted."""


@dataclass(frozen=True)
class Family:
    """A family of policies.

    Attributes:
        kind: how its policies answer: `train` makes a model, `select` chooses among the base
            model's candidates, `sample` samples from the base model in its own way.
        runs: `module:function` that makes one policy; see the function's signature in
            polyalign.train.inputs, polyalign.sampling.select and polyalign.sampling.guided.
        settings: the family's section in the config. Its docstring says in the report and in
            docs/config.md what the family is; the line `Reference:` in it is its citation.
        policies: the policies that a section makes.
        colour: place of its colour and marker in polyalign.plots.theme, so that it looks the same
            in every study; None takes the first place that no other family of the study has.
        learns: whether its policies sample with the study's value model, `VALUE`, which the
            family's section says how to train.
    """

    kind: Literal["train", "select", "sample"]
    runs: str
    settings: type[Strict]
    policies: Callable[[Any], list[Policy]]
    colour: int | None = None
    learns: bool = False

    @property
    def module(self) -> str:
        """The module that makes the family's policies."""
        return self.runs.partition(":")[0]

    def implementation(self) -> Callable[..., Any]:
        """The function that makes one policy; this imports what it needs, maybe torch."""
        module, _, name = self.runs.partition(":")
        function: Callable[..., Any] = getattr(import_module(module), name)
        return function


def _module_name(family: str) -> str:
    return family.replace("-", "_")


NAMES = sorted(
    file.stem.replace("_", "-")
    for file in Path(__file__).parent.glob("*.py")
    if file.stem not in ("__init__", "options")
)
"""The families that there are."""


def family(name: str) -> Family:
    """The declaration of the family `name`, one of `NAMES`."""
    declared: Family = import_module(f"polyalign.families.{_module_name(name)}").FAMILY
    return declared
