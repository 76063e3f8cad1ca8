"""Levels under random λ, value against value: which values are correlated, and which conflict.

Below the diagonal is one point per λ, measured on test prompts: grey for a random direction with a
random norm over all values, colour for the λ of a random palette of the first two values, the first
three and so on. The diagonal shows their distributions. Above it are the correlations of the grey
points.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, shown_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

FIGURE = FigureSpec(needs=("random",))
MOST = 6  # values


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    table = data.tables["random"]
    values = [value for value in data.labels if f"{value}_level" in table][:MOST]
    whole = table["n_values"] == table["n_values"].max()
    clouds = {
        "reference": table[(table["kind"] == "reference") & whole],
        "palette": table[table["kind"] == "palette"],
    }
    count = len(values)
    height = theme.PAGE + 0.25
    options = {"sharex": "col"}
    sheet = theme.sheet(output, count, count, width=theme.PAGE, height=height, **options)
    with sheet as (figure, panels):
        for i, up in enumerate(values):
            for j, across in enumerate(values):
                _panel(panels, i, j, clouds, across, up)
            panels[i, 0].set_ylabel(data.labels[up])
            panels[-1, i].set_xlabel(data.labels[up])
        figure.align_ylabels(panels[:, 0])
        _legend(figure)


def finding(data: FigureData) -> str:
    """The two values whose levels rise together most, and the two that fight most."""
    import numpy as np

    table = data.tables["random"]
    every = [value for value in data.labels if f"{value}_level" in table]
    values = every[:MOST]
    whole = (table["kind"] == "reference") & (table["n_values"] == table["n_values"].max())
    levels = table.loc[whole, [f"{value}_level" for value in values]].to_numpy()
    if len(values) < 2:
        return ""
    share = np.corrcoef(levels.T)
    pairs = {
        (one, other): float(share[i, j])
        for i, one in enumerate(values)
        for j, other in enumerate(values[:i])
    }
    together, against = max(pairs, key=pairs.__getitem__), min(pairs, key=pairs.__getitem__)
    named = {pair: " and ".join(data.labels[value] for value in pair[::-1]) for pair in pairs}
    text = (
        f"Closest together: {named[together]} ({pairs[together]:+.2f}); most against each other: "
        f"{named[against]} ({pairs[against]:+.2f})."
    )
    return f"{text} {shown_of(len(values), every)}".strip()


def _panel(
    panels: "np.ndarray", i: int, j: int, clouds: dict[str, "pd.DataFrame"], across: str, up: str
) -> None:
    import numpy as np

    axes = panels[i, j]
    axes.locator_params(nbins=3)
    axes.tick_params(labelsize=6, labelleft=j == 0 and i > 0)
    x = {kind: cloud[f"{across}_level"].to_numpy() for kind, cloud in clouds.items()}
    y = {kind: cloud[f"{up}_level"].to_numpy() for kind, cloud in clouds.items()}
    if i < j:
        share = float(np.corrcoef(x["reference"], y["reference"])[0, 1])
        axes.text(0.5, 0.5, f"{share:+.2f}", transform=axes.transAxes, ha="center", va="center")
        axes.set_yticks([])
        axes.tick_params(bottom=False)
        for side in axes.spines.values():
            side.set_visible(False)
        return
    if i == j:
        edges = np.histogram_bin_edges(np.concatenate(list(x.values())), 16)
        axes.hist(x["reference"], edges, color=theme.LIGHT)
        axes.hist(x["palette"], edges, histtype="step", color=theme.COLOURS[0], linewidth=0.9)
        axes.set_yticks([])
        return
    axes.plot(x["reference"], y["reference"], ".", color=theme.SOFT, markersize=2)
    axes.plot(x["palette"], y["palette"], ".", color=theme.COLOURS[0], markersize=3)


def _legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    kinds = (
        ("random direction and norm of λ", theme.SOFT),
        ("λ of a random palette", theme.COLOURS[0]),
    )
    handles = [
        Line2D([], [], marker="o", markersize=3, linestyle="", color=colour, label=label)
        for label, colour in kinds
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2)
