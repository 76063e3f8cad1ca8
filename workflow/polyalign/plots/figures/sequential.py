"""Aligning one value after the other, round by round, against aligning all of them at once.

One panel per palette: how far each value's level is from its target, in standard deviations of the
base model's rewards, after each round through all values in the order of `evaluation.values`. In
the shade, from 0, the target is reached. The simultaneous solution, the open markers at the right
edge, is at 0 for every value that it weighs; a value without weight may end above it. One round, as
sequential alignment is usually done, undoes part of what its earlier turns reached. Measured on the
fit prompts, where the optimum is known.
"""

from collections.abc import Sequence
from pathlib import Path

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

FIGURE = FigureSpec(needs=("rounds", "palettes"), palettes="solved")
ACROSS = 2
MOST = 9  # ticks


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    from matplotlib.lines import Line2D

    table = data.tables["rounds"]
    table = table.assign(
        gap=(table["level"] - table["target"]) / table["spread"],
        at_once=(table["simultaneous"] - table["target"]) / table["spread"],
    )
    last = int(table["round"].max())
    palettes = list(dict.fromkeys(table["palette"]))
    styles = theme.series_styles(data.labels)
    options = {"sharex": True, "sharey": True}
    tiles = theme.tiles(output, len(palettes), ACROSS, aspect=0.6, foot=0.65, **options)
    with tiles as (figure, panels):
        for place, (axes, palette) in enumerate(zip(panels, palettes, strict=True)):
            theme.grid(axes)
            axes.axhline(0, color="black", linewidth=0.9, linestyle="--")
            part = table[table["palette"] == palette]
            for value, style in styles.items():
                line = part[part["value"] == value].sort_values("round")
                if line.empty:
                    continue
                axes.plot(
                    line["round"],
                    line["gap"],
                    color=style.colour,
                    marker=style.marker,
                    markersize=3.2,
                    label=data.labels[value],
                )
                axes.plot(
                    last + 1,
                    line["at_once"].iloc[0],
                    color=style.colour,
                    marker=style.marker,
                    markersize=4.5,
                    markerfacecolor="none",
                    linestyle="",
                    clip_on=False,
                )
            axes.set_title(palette + data.adjusted(palette))
            axes.set_xlabel("round" if place + ACROSS >= len(palettes) else "")
            axes.set_ylabel("level − target (sd)" if place % ACROSS == 0 else "")
            axes.set_xticks(range(0, last + 1, 1 + last // MOST))  # no round is beyond them
        low, high = panels[0].get_ylim()  # the panels share it
        for axes in panels:
            axes.axhspan(0, high, color=theme.SHADE, linewidth=0, zorder=-1, label="reached")
        panels[0].set_ylim(low, high)
        handles, labels = panels[0].get_legend_handles_labels()
        theme.headline(figure, title(data))
        once = Line2D([], [], color=theme.GREY, marker="o", markerfacecolor="none", linestyle="")
        figure.legend(
            [*handles, once],
            [*labels, "all at once"],
            loc="outside lower left",
            ncols=8,
            columnspacing=1.2,
        )


def title(data: FigureData) -> str:
    """The palette that one round leaves furthest below a target."""
    found = shortfalls(data)
    palette = max(found, key=lambda name: found[name][0])
    first, last, rounds = found[palette]
    return (
        f"One value after the other: after one round {palette} is up to {first:.2g} sd below what "
        f"it asks, after {rounds} rounds {last:.2g} sd"
    )


def finding(data: FigureData) -> str:
    """The worst shortfall of each palette after the first and after the last round."""
    parts = [
        f"{palette} {first:.2g} after one round, {last:.2g} after {rounds}"
        for palette, (first, last, rounds) in shortfalls(data).items()
    ]
    return f"Furthest below its target, in standard deviations: {'; '.join(parts)}."


def shortfalls(data: FigureData) -> dict[str, tuple[float, float, int]]:
    """Palette → its worst gap (sd) after the first round and after the last, and how many rounds.

    A gap is at least 0.
    """
    table = data.tables["rounds"]
    table = table.assign(gap=(table["target"] - table["level"]) / table["spread"])
    worst = table.groupby(["palette", "round"], sort=False)["gap"].max().clip(lower=0)
    found = {}
    for palette in table["palette"].unique():
        rounds = worst[palette]
        rounds = rounds[rounds.index > 0].sort_index()
        found[palette] = float(rounds.iloc[0]), float(rounds.iloc[-1]), int(rounds.index[-1])
    return found
