"""Levels of two values against each other, by family.

One panel per pair of the values that the palettes raise, in the order of `evaluation.values`; one
point per policy, coloured by family, with 95 % bootstrap intervals clustered by prompt, and a cross
at the mean of a family. The star and the dashed lines are the base model's levels. The shaded band
below them is the slack times the standard deviation of the base model's rewards. The key says how
many policies of each family are navigable by levels: in this band or above it in all chosen values,
with Wilson's 95 % interval of their share over policies.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, interval
from polyalign.plots.figures.winrate_scatter import efficiencies, navigable, part_shown, value_pairs
from polyalign.plots.points import (
    family_means,
    highest_levels,
    interval_point,
    key_height,
    number_policies,
    policy_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = FigureSpec(needs=("levels", "palettes", "families"), shows=("compared_first",))
ACROSS = 3


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    pairs = value_pairs(data)
    numbers = number_policies(data.policies)
    with theme.tiles(output, len(pairs), ACROSS, foot=key_height(data, 1)) as (figure, panels):
        for axes, (across, up) in zip(panels, pairs, strict=True):
            _panel(axes, data, across, up, numbers)
        policy_legend(figure, data, numbers, notes=efficiencies(data, "level_"), means=True)


def finding(data: FigureData) -> str:
    """The highest levels, and how many policies of each family are navigable."""
    values = dict.fromkeys(value for pair in value_pairs(data) for value in pair)
    parts = (highest_levels(data, values), navigable(data, "level_"), part_shown(data))
    return " ".join(filter(None, parts))


def _panel(axes: "Axes", data: FigureData, across: str, up: str, numbers: dict[str, str]) -> None:
    theme.grid(axes)
    start = tuple(float(data.levels[BASE.name]["mean"][value]) for value in (across, up))
    bands = data.tables["families"].iloc[0]
    look: dict[str, Any] = {"color": theme.LIGHT, "alpha": 0.6, "linewidth": 0, "zorder": 0}
    if f"{across}_band" in bands:
        axes.axvspan(start[0] - float(bands[f"{across}_band"]), start[0], **look)
    if f"{up}_band" in bands:
        axes.axhspan(start[1] - float(bands[f"{up}_band"]), start[1], **look)
    axes.axvline(start[0], color=theme.GREY, linewidth=0.7, linestyle="--")
    axes.axhline(start[1], color=theme.GREY, linewidth=0.7, linestyle="--")
    axes.plot(*start, marker="*", color="black", markersize=9, linestyle="", zorder=4)
    styles = theme.family_styles(data.families)
    places = {}
    for name, number in numbers.items():
        x, y = (interval(data.levels[name], value, "mean") for value in (across, up))
        interval_point(axes, x, y, styles[family_of(name)], number)
        places[name] = (x[0], y[0])
    family_means(axes, places, styles)
    axes.margins(0.08)
    axes.set_xlabel(f"level: {data.axis(across)}")
    axes.set_ylabel(f"level: {data.axis(up)}")
