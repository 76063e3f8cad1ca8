"""From the base levels to a palette and beyond it: where support ends, and then feasibility.

Every palette's target is moved along the straight line from the base levels (0 %) through the asked
levels (100 %, dotted), and solved at each point. Left: the verdict. Middle: the effective sample
size as a share of all samples. Right: the KL to the base model. Lines are dashed where few samples
carry the weight, and end where no policy on these samples reaches the target.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE = FigureSpec(needs=("paths", "palettes"))
HATCHES = {"supported": "", "unsupported": "////", "infeasible": "xxxx"}


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    table = data.tables["paths"]
    names = list(dict.fromkeys(table["palette"]))
    styles = theme.series_styles(names)
    height = max(2.4, 1.2 + 0.22 * len(names))
    options = {"width_ratios": (1.1, 1, 1)}
    with theme.sheet(output, 1, 3, width=theme.PAGE, height=height, **options) as (figure, panels):
        verdicts, sizes, nats = panels[0]
        for place, name in enumerate(names):
            part = table[table["palette"] == name].sort_values("share")
            _bar(verdicts, part, place)
            _curve(sizes, part, "ess_share", styles[name], name)
            _curve(nats, part, "kl", styles[name], name)
        shown = [name + data.adjusted(name).replace(" (", "\n(") for name in names]
        verdicts.set_yticks(range(len(names)), shown)
        verdicts.set(ylim=(len(names) - 0.5, -0.5), title="verdict")
        sizes.set(title="effective sample size", ylabel="% of samples", ylim=(0, 103))
        nats.set(title="KL to the base model", ylabel="nats")
        nats.set_ylim(bottom=0)
        for axes in panels[0]:
            axes.axvline(100, color="black", linewidth=1.0, linestyle=":")
            axes.set_xlim(0, 100 * table["share"].max())
            axes.set_xlabel("way to the palette (%)")
        _legends(figure, panels[0])


def finding(data: FigureData) -> str:
    """How far along its way each palette is supported."""
    parts = []
    for name, part in data.tables["paths"].groupby("palette", sort=False):
        supported = part[part["verdict"] == "supported"]["share"]
        reach = f"to {100 * supported.max():.0f} %" if len(supported) else "nowhere"
        parts.append(f"{name} {reach}")
    return f"Supported along the way: {', '.join(parts)}."


def _bar(axes: "Axes", part: "pd.DataFrame", place: int) -> None:
    """Stretches of equal verdict; each point covers half a step on both sides."""
    shares = part["share"].to_numpy()
    half = (shares[1] - shares[0]) / 2
    for verdict, colour in theme.VERDICTS.items():
        steps = shares[(part["verdict"] == verdict).to_numpy()]
        axes.barh(
            [place] * len(steps),
            200 * half,
            left=100 * (steps - half),
            height=0.6,
            color=colour,
            hatch=HATCHES[verdict],
            edgecolor="white",
            linewidth=0,
            label=verdict if place == 0 else None,
        )


def _curve(axes: "Axes", part: "pd.DataFrame", column: str, style: theme.Style, name: str) -> None:
    factor = 100 if column == "ess_share" else 1
    x, y = 100 * part["share"], factor * part[column]
    known = (part["verdict"] == "supported").to_numpy()
    last = int(known.sum())
    look: dict[str, Any] = {
        "color": style.colour,
        "marker": style.marker,
        "markersize": 3,
        "markevery": 4,
    }
    axes.plot(x[:last], y[:last], label=name, **look)
    # From the last supported step on, so that the line is whole.
    axes.plot(x[max(last - 1, 0) :], y[max(last - 1, 0) :], linestyle=(0, (2, 1)), **look)


def _legends(figure: "Figure", panels: Sequence["Axes"]) -> None:
    from matplotlib.patches import Patch

    handles, labels = panels[1].get_legend_handles_labels()
    patches = [
        Patch(facecolor=colour, hatch=HATCHES[verdict], edgecolor="white", linewidth=0)
        for verdict, colour in theme.VERDICTS.items()
    ]
    figure.legend(
        [*patches, *handles],
        [*theme.VERDICTS, *labels],
        loc="outside lower left",
        ncols=min(len(handles) + 3, 7),
        columnspacing=1.2,
    )
