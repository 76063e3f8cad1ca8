"""Radar of levels, in quantiles of the base model: what each policy changed in all values.

One panel per family. The axis of a value is the share of the base model's rewards that are below
the policy's mean reward on test prompts, so values of any unit share one scale. Grey is the base
model, whose mean need not be its median. Palettes that raise one value are dashed; palettes that
raise several, and policies without a palette, are solid. The centre is not zero: the rings say
where the scale starts.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, variant_of

if TYPE_CHECKING:
    from matplotlib.projections.polar import PolarAxes

FIGURE = FigureSpec(needs=("levels", "palettes"))
ACROSS = 2  # panels in a row
RING = 10  # per cent between two rings


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    families = data.families or ["base"]
    columns = min(len(families), ACROSS)
    rows = -(-len(families) // columns)
    width = theme.PAGE if columns > 1 else theme.COLUMN
    limits = ring_limits(data)
    shared = theme.series_styles(variant_of(name) for name in data.policies if name != BASE.name)
    options = {"subplot_kw": {"projection": "polar"}}
    height = rows * 3.3
    with theme.sheet(output, rows, columns, width=width, height=height, **options) as (_, panels):
        for axes, family in zip(panels.flat, families, strict=False):
            _panel(axes, data, family, shared, limits)
        for axes in panels.flat[len(families) :]:
            axes.remove()


def percent(data: FigureData, policy: str) -> list[float]:
    """Levels of a policy in per cent of the base model's distribution, in the values' order."""
    return [100 * data.levels[policy]["base_quantile"][value] for value in data.labels]


def ring_limits(data: FigureData) -> tuple[int, int]:
    """Innermost and outermost ring in per cent: the data's range and at least one ring around."""
    every = [level for policy in data.policies for level in percent(data, policy)]
    low = RING * (math.floor(min(every) / RING) - 1)
    high = RING * math.ceil(max(every) / RING)
    return max(low, 0), min(max(high, low + 2 * RING), 100)


def finding(data: FigureData) -> str:
    """The largest rise and the largest fall of a level in quantiles of the base model."""
    base = dict(zip(data.labels, percent(data, BASE.name), strict=True))
    moves = {
        (name, value): (level - base[value], level)
        for name in data.policies
        if name != BASE.name
        for value, level in zip(data.labels, percent(data, name), strict=True)
    }
    if not moves:
        return ""
    parts = []
    for what, (name, value) in (
        ("rise", max(moves, key=moves.__getitem__)),
        ("fall", min(moves, key=moves.__getitem__)),
    ):
        move, level = moves[name, value]
        if move > 0 if what == "rise" else move < 0:
            parts.append(
                f"Largest {what}: {data.labels[value]} of {name}, from {base[value]:.1f} % to "
                f"{level:.1f} %."
            )
    return " ".join(parts)


def _panel(
    axes: "PolarAxes",
    data: FigureData,
    family: str,
    styles: dict[str, theme.Style],
    limits: tuple[int, int],
) -> None:
    values = list(data.labels)
    angles = [2 * math.pi * i / len(values) for i in range(len(values))]
    base = percent(data, BASE.name)
    axes.fill([*angles, 0], [*base, base[0]], color=theme.LIGHT, zorder=1)
    axes.plot([*angles, 0], [*base, base[0]], color=theme.GREY, linewidth=0.8, label="base model")
    for name in data.of(family):
        if name == BASE.name:
            continue
        levels = percent(data, name)
        style = styles[variant_of(name)]
        axes.plot(
            [*angles, 0],
            [*levels, levels[0]],
            color=style.colour,
            linestyle=theme.DASHED if data.raises_one(name) else "-",
            marker=style.marker,
            markersize=3.5,
            label=data.variant(name),
        )
    _frame(axes, angles, [data.labels[value] for value in values], limits)
    axes.set_title(family, pad=14)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, columnspacing=1.2)


def _frame(
    axes: "PolarAxes", angles: list[float], labels: list[str], limits: tuple[int, int]
) -> None:
    """First value at the top, clockwise; rings in per cent; labels that do not touch the circle."""
    from matplotlib.patheffects import withStroke

    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_ylim(*limits)
    rings = range(limits[0] + RING, limits[1] + 1, RING)
    axes.set_yticks(list(rings), [])
    halo = [withStroke(linewidth=1.5, foreground="white")]
    for ring in rings[:-1]:
        text = axes.text(math.pi / len(angles), ring, f"{ring} %", fontsize=6, zorder=6)
        text.set(ha="center", va="center", color=theme.GREY, path_effects=halo)
    axes.set_xticks(angles, labels)
    for angle, text in zip(angles, axes.get_xticklabels(), strict=True):
        side = math.sin(angle)
        text.set_horizontalalignment(
            "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
        )
    axes.tick_params(axis="x", pad=1)
    axes.spines["polar"].set(color=theme.LIGHT, linewidth=0.6)
    theme.grid(axes)
