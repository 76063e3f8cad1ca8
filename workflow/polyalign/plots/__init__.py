"""Figures: one module of `polyalign.plots.figures` each, with `FIGURE`, `draw` and `finding`.

A module's docstring is its figure's caption in the report; `finding(data)` adds in one or two
sentences what was measured. The plan asks a module for `FIGURE` before any job runs, so its top
level imports neither matplotlib nor pandas.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal


@dataclass(frozen=True)
class FigureSpec:
    """What a figure is drawn from.

    Attributes:
        needs: names of the tables that it reads (`polyalign.plots.data.load`).
        shows: further attributes of `FigureData` that it reads.
        of_a_policy: whether it shows one policy, whose name its own then ends in.
        palettes: which palettes it cannot be drawn without, if any: some that have a solution, or
            some that a policy realises.
    """

    needs: tuple[str, ...]
    shows: tuple[str, ...] = ()
    of_a_policy: bool = False
    palettes: Literal["", "solved", "realised"] = ""


FOLDER = Path(__file__).parent / "figures"


def names() -> list[str]:
    """The figures that there are."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__")


def module(name: str) -> ModuleType:
    """The module of a figure; a figure of one policy may have the policy's name behind a slash."""
    return import_module(f"polyalign.plots.figures.{name.partition('/')[0]}")


def figure(name: str) -> FigureSpec:
    """The declaration of a figure, named as for `module`."""
    declared: FigureSpec = module(name).FIGURE
    return declared
