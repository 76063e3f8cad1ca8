"""Trade-offs between the raised values in quantiles of the base model: one scale for all values.

As the figure `pareto`, with each level as the share of the base model's rewards on test prompts
that are below it, in per cent. Black lines are the exact fronts within so many nats of the base
model, grey points are random λ, coloured points are policies with 95 % intervals. Arrows are dashed
where a palette raises a single value.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from polyalign.plots import FigureSpec
from polyalign.plots.data import FigureData
from polyalign.plots.points import highest_levels
from polyalign.plots.tradeoffs import draw_pairs, part_shown, traded

FIGURE = FigureSpec(needs=("levels", "palettes", "random", "fronts", "pool"), shows=("chosen",))


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    draw_pairs(data, output, partial(percent, data), "{} (% of base)")


def finding(data: FigureData) -> str:
    """The highest levels of the values that the fronts trade, in quantiles."""
    highest = highest_levels(
        data, traded(data), lambda value, level: f"{percent(data, value, level):.1f} %"
    )
    return f"{highest} {part_shown(data)}".strip()


def percent(data: FigureData, value: str, levels: Any) -> Any:
    """Per cent of the base model's rewards on test prompts below levels, ties half; their shape."""
    import numpy as np

    ordered = np.sort(data.pool_rows[value].to_numpy())
    sides = [np.searchsorted(ordered, levels, side) for side in ("left", "right")]
    return 50 * (sides[0] + sides[1]) / len(ordered)
