"""Random palettes by their number of values: feasible ones, how far the others go, and time.

Palettes are drawn between the base levels and the highest level of each value. Left: the share that
some policy on the samples reaches, with Wilson's 95 % intervals. Middle: how far those that are
infeasible can go from the base levels, as a share of the way: to the exact edge of what is
feasible, and to where λ is still supported, which is where `on_infeasible: adjust` takes them;
points are means, bars go from the lower to the upper quartile. Right: CPU time of one palette, the
median: solved, and adjusted where it is infeasible.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FIGURE = FigureSpec(needs=("by_number",))
WAYS = (
    ("edge", "to the edge of what is feasible", theme.SERIES[1], -0.12),
    ("reached", "as far as λ is supported", theme.SERIES[0], 0.12),
)
TIMES = (("solve_ms", "solved", theme.MAP), ("adjust_ms", "adjusted", theme.SERIES[0]))


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    table = data.tables["by_number"]
    numbers = sorted(map(int, table["n_values"].unique()))
    with theme.sheet(output, 1, 3, width=theme.PAGE, height=2.9) as (figure, panels):
        shares, ways, times = panels[0]
        for number, (share, low, high) in feasible_shares(data).items():
            shares.plot([number] * 2, [100 * low, 100 * high], color=theme.MAP)
            shares.plot(number, 100 * share, "o", color=theme.MAP, markersize=4.5)
        shares.set(ylabel="feasible palettes (%)", ylim=(0, 104))
        _ways(ways, table)
        for name, label, colour in TIMES:
            middle = table.groupby("n_values")[name].median()
            times.plot(middle.index, middle, color=colour, marker="o", markersize=3.5, label=label)
        times.set(ylabel="CPU time (ms)", yscale="log")
        times.yaxis.set_major_formatter("{x:g}")
        times.legend()
        for axes in panels[0]:
            theme.grid(axes)
            axes.set_xticks(numbers)
            axes.set_xlabel("values")
        theme.headline(figure, title(data))
        handles, labels = ways.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=2)


def title(data: FigureData) -> str:
    """The share of feasible palettes of the fewest and of the most values."""
    found = feasible_shares(data)
    parts = [
        f"{100 * found[number][0]:.0f} % with {number} value{'s' if number > 1 else ''}"
        for number in dict.fromkeys((min(found), max(found)))
    ]
    return f"Random palettes that some policy reaches: {', '.join(parts)}"


def finding(data: FigureData) -> str:
    """Shares and ways for each number of values."""
    table = data.tables["by_number"]
    gone = infeasible(table).groupby("n_values")[["edge", "reached"]].mean()
    parts = []
    for number, (share, low, high) in feasible_shares(data).items():
        text = f"{100 * share:.3g} % ({100 * low:.2g} to {100 * high:.2g}) with {number}"
        if number in gone.index:
            edge, reached = 100 * gone.loc[number]
            text += f", the others {edge:.0f} % of the way, {reached:.0f} % with support"
        parts.append(text)
    return f"Feasible palettes by number of values: {'; '.join(parts)}."


def feasible_shares(data: FigureData) -> dict[int, tuple[float, float, float]]:
    """Number of values → share of feasible palettes, with Wilson's 95 % interval."""
    import numpy as np

    from polyalign.evaluate.winrate import wilson

    found = {}
    for number, part in data.tables["by_number"].groupby("n_values"):
        share = float(part["feasible"].mean())
        low, high = wilson(np.array([share]), len(part))
        found[int(str(number))] = share, max(0.0, float(low[0])), min(1.0, float(high[0]))
    return found


def infeasible(table: "pd.DataFrame") -> "pd.DataFrame":
    """The palettes that were adjusted."""
    return table[~table["feasible"].astype(bool) & table["reached"].notna()]


def _ways(axes: "Axes", table: "pd.DataFrame") -> None:
    for name, label, colour, aside in WAYS:
        parts = infeasible(table).groupby("n_values")[name]
        middle, low, high = parts.mean(), parts.quantile(0.25), parts.quantile(0.75)
        x = [number + aside for number in middle.index]
        axes.plot(x, 100 * middle, "o", color=colour, markersize=4, label=label)
        for place, ends in zip(x, zip(low, high, strict=True), strict=True):
            axes.plot([place] * 2, [100 * end for end in ends], color=colour)
    axes.set(ylabel="share of the way (%)", ylim=(0, 104))
