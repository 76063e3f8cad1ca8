"""Levels that each palette's λ gives, as quantiles of the base model's rewards.

A cell is the share of the base model's rewards, in per cent, at or below the level of p_λ, which
is exact over the candidates: palettes in rows, values in columns, the base model first. Blue is
above the base model's own quantile, brown below. Bold are the values that the palette names.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, shortened, shown_of

if TYPE_CHECKING:
    import pandas as pd

FIGURE = FigureSpec(needs=("palette_levels", "palettes"), palettes="solved")
MOST = 45  # rows that fit on a page
LETTERS = 34
ROW = 0.19  # inches
STRONGEST = 0.5  # of a share, at which the colour is full


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    quantiles, named = tables(data)
    quantiles = quantiles.iloc[: MOST + 1]
    height = ROW * len(quantiles) + 1.1
    with theme.sheet(output, 1, 1, width=theme.PAGE, height=height) as (figure, panels):
        axes = panels[0, 0]
        rise = quantiles - quantiles.iloc[0]
        colours = {"cmap": theme.signed_colours(), "vmin": -STRONGEST, "vmax": STRONGEST}
        axes.imshow(rise.to_numpy(), aspect="auto", **colours)
        for i, row in enumerate(quantiles.index):
            for j, value in enumerate(quantiles.columns):
                axes.text(
                    j,
                    i,
                    f"{100 * quantiles.loc[row, value]:.1f}",
                    ha="center",
                    va="center_baseline",
                    fontsize=7,
                    fontweight="bold" if named.loc[row, value] else "normal",
                    color="white" if abs(rise.loc[row, value]) > 0.7 * STRONGEST else "black",
                )
        axes.xaxis.tick_top()
        heads = [shortened(data.labels[value], LETTERS) for value in quantiles.columns]
        axes.set_xticks(range(len(heads)), heads)
        names = [shortened(row, LETTERS) + data.adjusted(row) for row in quantiles.index]
        axes.set_yticks(range(len(names)), ["base model", *names[1:]])
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        theme.headline(figure, title(data))
        figure.supxlabel(
            "Share of the base model's rewards at or below the level, in per cent; bold: named by "
            "the palette",
            x=0.01,
            ha="left",
            fontsize=theme.RC["legend.fontsize"],
        )


def title(data: FigureData) -> str:
    """The largest rise and the largest fall of a quantile."""
    quantiles, _ = tables(data)
    rise = (quantiles - quantiles.iloc[0]).iloc[1:].stack()
    parts = []
    for (palette, value), what in ((rise.idxmax(), "rise"), (rise.idxmin(), "fall")):
        start, end = (100 * quantiles.iloc[0][value], 100 * quantiles.loc[palette, value])
        parts.append(
            f"largest {what} {data.labels[value]} in {palette}, from {start:.0f} to {end:.0f} %"
        )
    return f"Levels as quantiles of the base model: {'; '.join(parts)}"


def finding(data: FigureData) -> str:
    """The title, and whether all palettes are shown."""
    every = list(tables(data)[0].index)[1:]
    return f"{title(data)}. {shown_of(len(every[:MOST]), every, 'palettes')}".strip()


def tables(data: FigureData) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Quantiles by palette and value, the base model (an empty name) first, and which are named."""
    # An empty name is NaN once it was a CSV file.
    table = data.tables["palette_levels"].fillna({"palette": ""})
    order = list(dict.fromkeys(table["palette"]))
    values = [value for value in data.labels if value in set(table["value"])]
    quantiles = table.pivot_table(index="palette", columns="value", values="quantile")
    named = table.assign(named=table["asked"].notna()).pivot_table(
        index="palette", columns="value", values="named", aggfunc="any"
    )
    return quantiles.loc[order, values], named.loc[order, values]
