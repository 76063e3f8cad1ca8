"""The dual objective that λ maximises, around its maximum: one panel per palette.

Over one λ where a palette gives only one value a weight, else over the two λ that are largest in
units of one over the base model's standard deviation, the others held at the solution. The cross is
the solution. The dual is concave: every way up ends there. Its height is the KL of the solution to
the base model, in nats. Contours are at equal steps below the maximum; at λ = 0 of all values the
dual is 0.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, shown_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FIGURE = FigureSpec(needs=("duals", "palettes"), palettes="solved")
ACROSS = 3
MOST = 9  # panels
CONTOURS = 12


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    shown = shown_palettes(data)
    with theme.tiles(output, len(shown), ACROSS, aspect=0.85) as (figure, panels):
        for axes, palette in zip(panels, shown, strict=True):
            part = _of(data, palette)
            across, up = str(part["across"].iloc[0]), part["up"].iloc[0]
            # An empty name is NaN once it was a CSV file.
            if isinstance(up, str) and up:
                _plane(axes, part)
                axes.set_ylabel(f"λ {data.labels[up]}")
            else:
                _line(axes, part)
                axes.set_ylabel("dual (nats)")
            axes.set_xlabel(f"λ {data.labels[across]}")
            axes.set_title(palette + data.adjusted(palette))
        theme.headline(figure, title(data))


def title(data: FigureData) -> str:
    """The highest and the lowest maximum."""
    best = heights(data)
    low, high = min(best, key=best.__getitem__), max(best, key=best.__getitem__)
    if low == high:
        return f"The dual of {high} rises to {best[high]:.3g} nats"
    return f"The dual rises to {best[low]:.2g} nats in {low} and to {best[high]:.3g} nats in {high}"


def finding(data: FigureData) -> str:
    """The maximum of each palette."""
    parts = [f"{palette} {height:.3g}" for palette, height in heights(data).items()]
    every = list(heights(data))
    shown = shown_of(len(shown_palettes(data)), every, "palettes")
    return f"Maximum of the dual in nats: {', '.join(parts)}. {shown}".strip()


def heights(data: FigureData) -> dict[str, float]:
    """Palette → its dual at the solution, in nats."""
    return {
        str(name): float(height)
        for name, height in data.tables["duals"]
        .groupby("palette", sort=False)["best"]
        .first()
        .items()
    }


def shown_palettes(data: FigureData) -> list[str]:
    """The palettes that are drawn, in order."""
    return list(heights(data))[:MOST]


def _of(data: FigureData, palette: str) -> "pd.DataFrame":
    table = data.tables["duals"]
    return table[table["palette"] == palette]


def _line(axes: "Axes", part: "pd.DataFrame") -> None:
    theme.grid(axes)
    axes.plot(part["across_lam"], part["dual"], color=theme.MAP)
    # The axis ends at twice the solution.
    axes.plot(part["across_lam"].max() / 2, part["best"].iloc[0], "X", color="black")


def _plane(axes: "Axes", part: "pd.DataFrame") -> None:
    import numpy as np

    grid = part.pivot_table(index="up_lam", columns="across_lam", values="dual")
    best, lowest = float(part["best"].iloc[0]), float(part["dual"].min())
    steps = best - (best - lowest) * np.linspace(1, 0, CONTOURS) ** 2
    x, y = grid.columns.to_numpy(dtype=float), grid.index.to_numpy(dtype=float)
    axes.contour(x, y, grid.to_numpy(), levels=steps[:-1], cmap="viridis", linewidths=0.8)
    axes.plot(x.max() / 2, y.max() / 2, "X", color="black")
