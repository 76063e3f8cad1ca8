"""The study as its workflow makes it: one box a rule, one arrow where a file is handed on.

From left to right in the order of the work; the report, which takes in everything, stands at the
end.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.plots import theme
from polyalign.plots.data import FigureData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS = ("jobs",)
SWEEPS = 12  # passes of ordering by the neighbours' places
STAGES = (  # colours by what a rule does, the first that fits
    (("train", "base_model", "reward_model"), theme.COLOURS[1]),
    (("generate", "annotate", "merge", "decode", "import"), theme.COLOURS[0]),
    (("solve", "explore"), theme.COLOURS[2]),
    (("levels", "winrate", "tables", "families", "mixing"), theme.COLOURS[3]),
    (("plot", "overview", "report"), theme.COLOURS[4]),
)


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    places = layout(data.jobs)
    columns = 1 + max(x for x, _ in places.values())
    tallest = max(sum(1 for x, _ in places.values() if x == column) for column in range(columns))
    height = max(2.2, 0.34 * tallest + 0.3)
    with theme.sheet(output, 1, 1, width=theme.PAGE, height=height) as (_, panels):
        axes = panels[0, 0]
        axes.set_axis_off()
        axes.set(xlim=(-0.5, columns - 0.5), ylim=(-0.6, tallest - 0.4))
        for start, end in data.jobs:
            _arrow(axes, places[start], places[end])
        for name, (x, y) in places.items():
            text = name.replace("_", "\n", 1) if len(name) > 9 else name
            box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour_of(name)}
            look = {"ha": "center", "va": "center", "fontsize": 5.6, "linespacing": 0.9}
            axes.text(x, y, text, bbox=box, zorder=3, **look)


def layout(edges: Sequence[tuple[str, str]]) -> dict[str, tuple[int, float]]:
    """Places of rules: the column is the longest way to a rule, its row near its neighbours'.

    Ordering rows by the mean place of neighbours, to and fro, is the barycentre method of Sugiyama,
    Tagawa and Toda (IEEE Trans. SMC 11, 1981).
    """
    names = list(dict.fromkeys(name for edge in edges for name in edge))
    column = dict.fromkeys(names, 0)
    for _ in names:
        for start, end in edges:
            column[end] = max(column[end], column[start] + 1)
    layers = [[n for n in names if column[n] == x] for x in range(max(column.values()) + 1)]
    tallest = max(map(len, layers))
    row: dict[str, float] = {}

    def spread(layer: list[str]) -> None:
        gap = tallest / len(layer)
        row.update({name: gap * (i + 0.5) - 0.5 for i, name in enumerate(layer)})

    for layer in layers:
        spread(layer)
    near: dict[str, list[str]] = {name: [] for name in names}
    for start, end in edges:
        near[start].append(end)
        near[end].append(start)
    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            means = {n: sum(row[other] for other in near[n]) / max(len(near[n]), 1) for n in layer}
            layer.sort(key=lambda name, means=means: means[name])  # type: ignore[misc]
            spread(layer)
    return {name: (column[name], row[name]) for name in names}


def colour_of(rule: str) -> str:
    """Colour of a rule's box."""
    for starts, colour in STAGES:
        if rule.startswith(starts):
            return colour
    return theme.GREY


def _arrow(axes: "Axes", start: tuple[int, float], end: tuple[int, float]) -> None:
    axes.annotate(
        "",
        (end[0] - 0.36, end[1]),
        (start[0] + 0.36, start[1]),
        arrowprops={
            "arrowstyle": "-|>,head_length=0.25,head_width=0.12",
            "color": theme.SOFT,
            "linewidth": 0.5,
            "connectionstyle": "arc3,rad=0.05",
            "shrinkA": 0,
            "shrinkB": 0,
        },
        zorder=1,
    )
