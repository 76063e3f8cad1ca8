"""Levels under random λ, value against value: which values are correlated, and which conflict.

Below the diagonal is one point per λ, measured on test prompts: grey for a random direction with a
random norm over all values, colour for the λ of a random palette of the first two values, the first
three and so on. The diagonal shows their distributions. Above it are the correlations of the grey
points with 95 % intervals (Fisher's z): blue where levels rise together, brown where they conflict.
Values are in the order of `evaluation.values`.
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
    values = measured(data)[:MOST]
    whole = table["n_values"] == table["n_values"].max()
    clouds = {
        "reference": table[(table["kind"] == "reference") & whole],
        "palette": table[table["kind"] == "palette"],
    }
    count = len(values)
    height = theme.PAGE + 0.5
    options = {"sharex": "col"}
    sheet = theme.sheet(output, count, count, width=theme.PAGE, height=height, **options)
    with sheet as (figure, panels):
        for i, up in enumerate(values):
            for j, across in enumerate(values):
                _panel(panels, i, j, clouds, across, up)
            panels[i, 0].set_ylabel(data.labels[up])
            panels[-1, i].set_xlabel(data.labels[up])
        figure.align_ylabels(panels[:, 0])
        theme.headline(figure, title(data))
        _legend(figure)


def title(data: FigureData) -> str:
    """The two values whose levels rise together most, and the two that conflict most."""
    pairs = correlations(data)
    if not pairs:
        return "Levels under random λ"
    told = []
    for pair in (
        max(pairs, key=lambda one: pairs[one][0]),
        min(pairs, key=lambda one: pairs[one][0]),
    ):
        names = " and ".join(data.labels[value] for value in pair)
        told.append(f"{names} (r {_signed(pairs[pair][0])})")
    return f"Closest together: {told[0]}; most against each other: {told[1]}"


def finding(data: FigureData) -> str:
    """The title, with the intervals of the two correlations."""
    pairs = correlations(data)
    if not pairs:
        return ""
    ends = [
        f"{_signed(low)} to {_signed(high)}"
        for _, low, high in (max(pairs.values()), min(pairs.values()))
    ]
    every = measured(data)
    shown = shown_of(len(every[:MOST]), every)
    return f"{title(data)}. 95 % intervals: {ends[0]}; {ends[1]}. {shown}".strip()


def measured(data: FigureData) -> list[str]:
    """The values that have levels, in the table's order: that of `evaluation.values`."""
    ends = "_level"
    columns = [
        name.removesuffix(ends) for name in map(str, data.tables["random"]) if name.endswith(ends)
    ]
    return [name for name in columns if name in data.labels]


def correlations(data: FigureData) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Pair of values that are shown → correlation of their levels, with its 95 % interval."""
    table = data.tables["random"]
    whole = (table["kind"] == "reference") & (table["n_values"] == table["n_values"].max())
    rows = table[whole]
    values = measured(data)[:MOST]
    return {
        (one, other): correlation(
            rows[f"{one}_level"].to_numpy(), rows[f"{other}_level"].to_numpy()
        )
        for i, other in enumerate(values)
        for one in values[:i]
    }


def correlation(x: "np.ndarray", y: "np.ndarray") -> tuple[float, float, float]:
    """Correlation of two samples (n,) and its 95 % interval by Fisher's z; (-1, 1) below 4."""
    import numpy as np

    from polyalign.evaluate.clusters import NORMAL_95

    r = float(np.corrcoef(x, y)[0, 1])
    if len(x) < 4:
        return r, -1.0, 1.0
    z, half = np.arctanh(np.clip(r, -0.999999, 0.999999)), NORMAL_95 / np.sqrt(len(x) - 3)
    return r, float(np.tanh(z - half)), float(np.tanh(z + half))


def _signed(number: float) -> str:
    return f"{round(number, 2) + 0.0:+.2f}".replace("-", "−")  # no −0.00


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
        share, low, high = correlation(x["reference"], y["reference"])
        axes.set_facecolor(theme.signed_colours()((share + 1) / 2))
        axes.text(
            0.5,
            0.5,
            f"{_signed(share)}\n({_signed(low)} to\n{_signed(high)})",
            transform=axes.transAxes,
            ha="center",
            va="center",
            fontsize=7,
            color="white" if abs(share) > 0.6 else "black",
        )
        axes.set_yticks([])
        axes.tick_params(bottom=False)
        for side in axes.spines.values():
            side.set_visible(False)
        return
    if i == j:
        edges = np.histogram_bin_edges(np.concatenate(list(x.values())), 16)
        axes.hist(x["reference"], edges, color=theme.LIGHT)
        axes.hist(x["palette"], edges, histtype="step", color=theme.MAP, linewidth=0.9)
        axes.set_yticks([])
        return
    axes.plot(x["reference"], y["reference"], ".", color=theme.SOFT, markersize=2)
    axes.plot(x["palette"], y["palette"], ".", color=theme.MAP, markersize=3)


def _legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    kinds = (
        ("random direction and norm of λ", theme.SOFT),
        ("λ of a random palette", theme.MAP),
    )
    handles = [
        Line2D([], [], marker="o", markersize=3, linestyle="", color=colour, label=label)
        for label, colour in kinds
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2)
