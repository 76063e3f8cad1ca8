"""The rules of the study's workflow: one box per rule, one arrow where a file is handed on.

The work goes from left to right. Dashed arrows lead back: trained models are sampled, scored and
merged by the same rules as the base model was. An arrow is left out where a longer way implies it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

FIGURE = FigureSpec(needs=("jobs",))
SWEEPS = 12  # passes of ordering by the neighbours' places
STAGES = (  # what rules do, how their names start, and their colour; the first that fits
    ("training", ("train", "base_model", "reward_model", "value_model"), theme.COLOURS[1]),
    ("sampling", ("generate", "annotate", "merge", "decode", "import"), theme.COLOURS[0]),
    ("solving", ("solve", "diagnose", "explore"), theme.COLOURS[2]),
    ("judging", ("levels", "winrate", "tables", "families", "mixing"), theme.COLOURS[3]),
    ("showing", ("plot", "overview", "report"), theme.COLOURS[4]),
    ("data", ("",), theme.GREY),
)


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    edges = forward(data.jobs)
    places = layout(edges)
    columns = 1 + max(x for x, _ in places.values())
    tallest = max(sum(1 for x, _ in places.values() if x == column) for column in range(columns))
    height = max(2.2, 0.36 * tallest + 0.85)
    with theme.sheet(output, 1, 1, width=theme.PAGE, height=height) as (figure, panels):
        axes = panels[0, 0]
        axes.set_axis_off()
        axes.set(xlim=(-0.5, columns - 0.5), ylim=(-0.6, tallest - 0.4))
        boxes = {name: _box(axes, name, place) for name, place in places.items()}
        for start, end in data.jobs:
            back = (start, end) not in edges
            if back or not implied(edges, start, end):
                _arrow(axes, boxes[start], boxes[end], back=back)
        _legend(figure)
        theme.headline(figure, finding(data).rstrip("."))


def implied(edges: Sequence[tuple[str, str]], start: str, end: str) -> bool:
    """Whether a longer way than the edge itself leads from one rule to the other."""
    after = {b for a, b in edges if a == start} - {end}
    while after:
        if end in after:
            return True
        after = {b for a, b in edges if a in after}
    return False


def finding(data: FigureData) -> str:
    """How many rules the study uses."""
    rules = {rule for pair in data.jobs for rule in pair}
    return f"{len(rules)} rules make the study, with {len(data.jobs)} hand-overs between them."


def forward(edges: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges without those that close a circle.

    One rule samples from the base model and from the models trained later, so between rules there
    are circles although there are none between jobs. Edges are taken in the order in which rules
    are met from the sources on; one that leads back is left out.
    """
    kept: list[tuple[str, str]] = []
    ahead: dict[str, set[str]] = {name: {name} for edge in edges for name in edge}
    for start, end in sorted(edges, key=lambda edge: _late(edge[0])):
        if start in ahead[end]:
            continue
        kept.append((start, end))
        for name, seen in ahead.items():
            if start in seen:
                ahead[name] = seen | ahead[end]
    return kept


def _late(rule: str) -> bool:
    """Whether a rule trains: what it hands to the rules of sampling is its second round."""
    return rule.startswith("train")


def layout(edges: Sequence[tuple[str, str]]) -> dict[str, tuple[int, float]]:
    """Places of rules: the column is the longest way to a rule, its row near its neighbours'.

    Ordering rows by the mean place of neighbours, to and fro, is the barycentre method of Sugiyama,
    Tagawa and Toda (IEEE Trans. SMC 11, 1981). The edges have no circle.
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

    def pull(name: str) -> float:
        return sum(row[other] for other in near[name]) / len(near[name])

    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            layer.sort(key=pull)
            spread(layer)
    return {name: (column[name], row[name]) for name in names}


def colour_of(rule: str) -> str:
    """Colour of a rule's box."""
    return next(colour for _, starts, colour in STAGES if rule.startswith(starts))


def _box(axes: "Axes", rule: str, place: tuple[int, float]) -> "Text":
    text = rule.replace("_", "\n", 1) if len(rule) > 9 else rule
    box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour_of(rule)}
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6, "linespacing": 0.9}
    return axes.text(*place, text, bbox=box, zorder=3, **look)


def _arrow(axes: "Axes", start: "Text", end: "Text", *, back: bool) -> None:
    """An arrow from box to box; one that leads back is dashed and bent."""
    axes.annotate(
        "",
        end.get_position(),
        start.get_position(),
        arrowprops={
            "arrowstyle": "-|>,head_length=0.25,head_width=0.12",
            "color": theme.SOFT,
            "linewidth": 0.6,
            "linestyle": "--" if back else "-",
            "connectionstyle": f"arc3,rad={-0.25 if back else 0}",
            "patchA": start.get_bbox_patch(),
            "patchB": end.get_bbox_patch(),
        },
        zorder=1,
    )


def _legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="s", markerfacecolor="white", color=colour, linestyle="", label=name)
        for name, _, colour in STAGES
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))
