"""From the base levels to a palette and beyond it: where support ends, and then feasibility.

Every palette's target is moved along the straight line from the base levels (0 %) through the asked
levels (100 %, dotted). Left: how far it is supported (green) and feasible (hatched); the numbers at
a bar are these two edges, the first found by bisection, the second exact. Middle: the effective
sample size as a share of all samples. Right: the KL to the base model. Lines are dashed where few
samples carry the weight, and end where no policy on these samples reaches the target.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE = FigureSpec(needs=("paths", "palettes"))
LOOKS: dict[str, dict[str, Any]] = {
    "supported": {"facecolor": theme.GREEN},
    "feasible, but carried by few samples": {"facecolor": "#F0F0F0", "hatch": "////"},
}
LETTERS = 18


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    table = data.tables["paths"]
    names = list(dict.fromkeys(table["palette"]))
    markers = {name: style.marker for name, style in theme.series_styles(names).items()}
    end = float(table["share"].max())
    height = max(2.8, 1.5 + 0.22 * len(names))
    options = {"width_ratios": (1.2, 1, 1)}
    with theme.sheet(output, 1, 3, width=theme.PAGE, height=height, **options) as (figure, panels):
        bars, sizes, nats = panels[0]
        for place, name in enumerate(names):
            part = table[table["palette"] == name].sort_values("share")
            _bar(bars, edges(table, name), place, end)
            _curve(sizes, part, "ess_share", markers[name], name)
            _curve(nats, part, "kl", markers[name], name)
        shown = [
            shortened(name, LETTERS) + data.adjusted(name).replace(" (", "\n(") for name in names
        ]
        bars.set_yticks(range(len(names)), shown)
        bars.set(ylim=(len(names) - 0.4, -0.6))
        sizes.set(title="effective sample size (%)", ylim=(0, 103))
        nats.set(title="KL to the base model (nats)")
        nats.set_ylim(bottom=0)
        for axes in panels[0]:
            axes.axvline(100, color="black", linewidth=1.0, linestyle=":")
            axes.set_xlim(0, 100 * end)
            axes.set_xlabel("share of the asked gain (%)")
        bars.set_xlim(0, 140 * end)  # room for the numbers at the bars
        theme.headline(figure, title(data))
        _legends(figure, nats)


def title(data: FigureData) -> str:
    """How many palettes are supported all the way, and the nearest edge."""
    table = data.tables["paths"]
    reach = {name: edges(table, name)[0] for name in dict.fromkeys(table["palette"])}
    whole = sum(share >= 1 for share in reach.values())
    nearest = min(reach, key=lambda name: reach[name] if math.isfinite(reach[name]) else -1.0)
    return (
        f"{whole} of {len(reach)} palettes are supported all the way; least far goes {nearest}, "
        f"{_reach(reach[nearest], table['share'].max())}"
    )


def finding(data: FigureData) -> str:
    """How far along its way each palette is supported."""
    table = data.tables["paths"]
    end = float(table["share"].max())
    parts = [
        f"{name} {_reach(edges(table, name)[0], end)}" for name in dict.fromkeys(table["palette"])
    ]
    return f"Supported along the way: {', '.join(parts)}."


def edges(table: "pd.DataFrame", palette: str) -> tuple[float, float]:
    """Shares of the asked gain at which a palette's support and its feasibility end."""
    first = table[table["palette"] == palette].iloc[0]
    return float(first["supportable"]), float(first["feasible"])


def _reach(share: float, end: float) -> str:
    """`to 115 %`; `beyond 250 %` where it goes on behind the end of the path."""
    if math.isnan(share):
        return "nowhere"
    return f"to {100 * share:.0f} %" if share < end else f"beyond {100 * end:.0f} %"


def _bar(axes: "Axes", ends: tuple[float, float], place: int, last: float) -> None:
    """Two stretches, cut at the end of the path, with the edges that are within it."""
    supported, feasible = (min(last, end) if end > 0 else 0.0 for end in ends)
    starts = (0.0, supported)
    for start, end, look in zip(starts, (supported, feasible), LOOKS.values(), strict=True):
        axes.barh(
            place,
            100 * (end - start),
            left=100 * start,
            height=0.5,
            edgecolor=theme.GREY,
            linewidth=0.5,
            **look,
        )
    known = [f"{100 * end:.0f}" for end in ends if end < last]
    axes.annotate(
        " | ".join(known) + (" %" if known else ""),
        (100 * feasible, place),
        xytext=(2, 0),
        textcoords="offset points",
        va="center",
        fontsize=6,
    ).set_in_layout(False)


def _curve(axes: "Axes", part: "pd.DataFrame", column: str, marker: str, name: str) -> None:
    factor = 100 if column == "ess_share" else 1
    x, y = 100 * part["share"], factor * part[column]
    known = (part["verdict"] == "supported").to_numpy()
    last = int(known.sum())
    look: dict[str, Any] = {
        "color": "#333333",
        "marker": marker,
        "markersize": 3,
        "markevery": 4,
        "linewidth": 0.9,
    }
    axes.plot(x[:last], y[:last], label=name, **look)
    # From the last supported step on, so that the line is whole.
    axes.plot(x[max(last - 1, 0) :], y[max(last - 1, 0) :], linestyle=(0, (2, 1)), **look)


def _legends(figure: "Figure", lines: "Axes") -> None:
    from matplotlib.patches import Patch

    handles, labels = lines.get_legend_handles_labels()
    patches = [Patch(edgecolor=theme.GREY, linewidth=0.5, **look) for look in LOOKS.values()]
    figure.legend(
        [*patches, *handles],
        [*LOOKS, *(shortened(label, LETTERS) for label in labels)],
        loc="outside lower left",
        ncols=4,
        columnspacing=1.2,
    )
