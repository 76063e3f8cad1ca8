"""Trade-offs of two values, on raw axes or in quantiles of the base model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.families import BASE
from polyalign.plots import theme
from polyalign.plots.data import FigureData, family_of, interval, shown_of
from polyalign.plots.points import interval_point, key_height, number_policies, policy_legend

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

Scale = Callable[[str, "np.ndarray"], "np.ndarray"]
MOST = 3  # panels


def traded(data: FigureData) -> list[str]:
    """The values that the fronts trade."""
    fronts = data.tables["fronts"]
    named = {*fronts["across"], *fronts["up"]}
    return [value for value in data.labels if value in named]


def part_shown(data: FigureData) -> str:
    """How many of the chosen values the fronts trade, if not all."""
    return shown_of(len(traded(data)), data.chosen)


def draw_pairs(data: FigureData, output: Sequence[Path], scale: Scale, axis: str) -> None:
    """Draw a panel for each pair of values that has a front.

    Args:
        data: the study.
        output: paths to write.
        scale: levels of a value, by its name, as they stand on an axis.
        axis: label of an axis, with the value's name for {}.
    """
    fronts = data.tables["fronts"]
    pairs = list(dict.fromkeys(zip(fronts["across"], fronts["up"], strict=True)))[:MOST]
    width = theme.PAGE if len(pairs) > 1 else theme.COLUMN
    panel = width / len(pairs)
    shown = [name for name in data.policies if name != BASE.name]
    numbers = number_policies(shown)
    extra = _handles(data)
    height = panel + key_height(data, len(extra))
    with theme.sheet(output, 1, len(pairs), width=width, height=height) as (figure, panels):
        for axes, (across, up) in zip(panels[0], pairs, strict=True):
            _cloud(axes, data, across, up, scale)
            _policies(axes, data, across, up, scale, numbers)
            axes.set_xlabel(axis.format(data.labels[across]))
            axes.set_ylabel(axis.format(data.labels[up]))
            _zoom(axes)
        policy_legend(figure, data, numbers, extra=extra)


def _zoom(axes: "Axes") -> None:
    """Limits that hold all but the cloud, whose extremes are outside the region of interest."""
    import numpy as np

    points = np.concatenate([line.get_xydata() for line in axes.lines if line.get_gid() != "cloud"])
    room = 0.08 * np.ptp(points, axis=0)
    (left, low), (right, high) = points.min(axis=0) - room, points.max(axis=0) + room
    axes.set(xlim=(left, right), ylim=(low, high))


def _cloud(axes: "Axes", data: FigureData, across: str, up: str, scale: Scale) -> None:
    """Random λ behind, and the fronts of all budgets with their nats beside them."""
    cloud = data.tables["random"]
    cloud = cloud[(cloud["kind"] == "reference") & (cloud["n_values"] == cloud["n_values"].max())]
    x, y = (scale(value, cloud[f"{value}_level"].to_numpy()) for value in (across, up))
    axes.plot(x, y, ".", color=theme.SOFT, markersize=2, zorder=1, gid="cloud")
    fronts = data.tables["fronts"]
    fronts = fronts[(fronts["across"] == across) & (fronts["up"] == up)]
    for budget, front in fronts.groupby("budget"):
        x, y = (scale(value, front[f"{value}_level"].to_numpy()) for value in (across, up))
        axes.plot(x, y, color="black", linewidth=1.0, zorder=2)
        axes.annotate(
            f"{budget:g}",
            (x[0], y[0]),
            xytext=(0, -2),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=6,
            zorder=3,
        )


def _policies(
    axes: "Axes", data: FigureData, across: str, up: str, scale: Scale, numbers: dict[str, str]
) -> None:
    import numpy as np

    def place(name: str, value: str) -> list[float]:
        ends = scale(value, np.array(interval(data.levels[name], value, "mean")))
        return [float(end) for end in ends]

    start = place(BASE.name, across)[0], place(BASE.name, up)[0]
    styles = theme.family_styles(data.families)
    for name, number in numbers.items():
        style = styles[family_of(name)]
        x, y = place(name, across), place(name, up)
        if data.policies[name]:
            arrow = {
                "arrowstyle": "-|>,head_length=0.35,head_width=0.16",
                "color": style.colour,
                "linewidth": 0.8,
                "linestyle": theme.DASHED if data.raises_one(name) else "-",
                "shrinkA": 0,
                "shrinkB": 5,  # the head ends at the marker, not below it
            }
            axes.annotate("", (x[0], y[0]), start, arrowprops=arrow, zorder=2)
        interval_point(axes, x, y, style, number)
    axes.plot(*start, marker="*", color="black", markersize=9, linestyle="", zorder=8)


def _handles(data: FigureData) -> list[object]:
    from matplotlib.lines import Line2D

    lines: tuple[Any, ...] = (("-", "several values", False), (theme.DASHED, "one value", True))
    ways = [
        Line2D([], [], color=theme.GREY, linewidth=0.8, linestyle=line, label=f"palette of {many}")
        for line, many, single in lines
        if any(
            palette and data.raises_one(name) == single for name, palette in data.policies.items()
        )
    ]
    return [
        *ways,
        Line2D([], [], color="black", linewidth=1.0, label="exact front (budget in nats)"),
        Line2D([], [], marker=".", color=theme.SOFT, linestyle="", label="random λ"),
    ]
