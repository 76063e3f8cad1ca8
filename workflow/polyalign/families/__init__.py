"""Families of policies: one module a family, found by its file name (`map_d.py` is `map-d`).

A module holds `Settings` (its section in the config), `variants` (the policies that it makes, and
what each needs), and one of `train` (the policy is a model), `decode` (the policy chooses among the
candidates of the base model) and `engine` (the policy samples from the base model in a way of its
own). A dry run imports all of it, so torch is imported in functions.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

NAMES = sorted(
    file.stem.replace("_", "-")
    for file in Path(__file__).parent.glob("*.py")
    if not file.stem.startswith("_")
)


@dataclass(frozen=True)
class Variant:
    """One policy of a family: the settings of its job and the things that it is made from.

    Attributes:
        settings: what the config says of it, JSON-ready.
        palette: the palette whose λ it realises, if any.
        preferences: names of the preference data sets that it is trained on.
        policies: the policies (`family/variant`) whose models it is made from.
        values: values that it names apart from a palette's.
        candidates: whether it is trained on the base model's candidates and their rewards.
    """

    settings: dict[str, Any]
    palette: str | None = None
    preferences: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    candidates: bool = False


@dataclass(frozen=True)
class Ingredients:
    """What a family's `train` may use; a part that its `Variant` does not ask for is empty.

    Attributes:
        settings: the variant's settings.
        model: `source`, `revision`, `dtype` and `device` of the base model.
        template: text around a prompt.
        sampling: how p0 samples.
        seed: the study's seed.
        palette: the solved palette.
        prompts: prompts of the `fit` split.
        values: value → settings of its reward function, for the values of the palette.
        preferences: name → arguments of `polyalign.preferences.read_pairs` for the training pairs.
        held_out: the same for the test pairs.
        policies: `family/variant` → folder of its model.
        candidates: rewards table of the base model's candidates, prompts of the `fit` split.
        work: folder for checkpoints.
        parts: as in `polyalign.job.Job`.
    """

    settings: dict[str, Any]
    model: dict[str, Any]
    template: str
    sampling: dict[str, Any]
    seed: int
    palette: dict[str, Any]
    prompts: list[str]
    values: dict[str, dict[str, Any]]
    preferences: dict[str, dict[str, Any]]
    held_out: dict[str, dict[str, Any]]
    policies: dict[str, Path]
    candidates: "pd.DataFrame | None"
    work: Path
    parts: int = 1


def module(family: str) -> ModuleType:
    """The module of a family, by the family's name in the config."""
    return import_module(f"polyalign.families.{family.replace('-', '_')}")


def makes_model(family: str) -> bool:
    """Whether the policies of the family are models."""
    return hasattr(module(family), "train")


def guides(family: str) -> bool:
    """Whether the policies of the family sample from the base model in a way of their own."""
    return hasattr(module(family), "engine")


def chooses(family: str) -> bool:
    """Whether the policies of the family choose among the candidates of the base model."""
    return hasattr(module(family), "decode")
