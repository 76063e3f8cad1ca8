"""Trade-offs between the raised values, two by two: policies beside the exact fronts.

One panel per pair of values. Black lines are the exact fronts: the best levels that any policy
within so many nats of the base model reaches by choosing among its samples, found on fit prompts
and measured on test prompts. Grey points are random λ. Coloured points are policies with 95 %
intervals. An arrow goes from the base model, the star, to each policy that realises a palette; it
is dashed where the palette raises a single value.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.plots import FigureSpec
from polyalign.plots.data import FigureData
from polyalign.plots.points import highest_levels
from polyalign.plots.tradeoffs import draw_pairs, part_shown, traded

if TYPE_CHECKING:
    import numpy as np

FIGURE = FigureSpec(needs=("levels", "palettes", "random", "fronts"), shows=("chosen",))


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""

    def raw(value: str, levels: "np.ndarray") -> "np.ndarray":
        return levels

    draw_pairs(data, output, raw, "level: {}")


def finding(data: FigureData) -> str:
    """The highest levels of the values that the fronts trade."""
    return f"{highest_levels(data, traded(data))} {part_shown(data)}".strip()
