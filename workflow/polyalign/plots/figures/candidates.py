"""How many candidates to choose among: levels with fewer of them, without another generation.

One panel per palette: how far each value that it raises is from its target, in standard deviations
of the base model's rewards, when λ chooses among the first 2, 4, 8, … candidates of each test
prompt. Levels are exact over these candidates. λ is the one of the whole pool, which reaches the
target on the prompts that it was fitted on, with all candidates. Choosing among K candidates cannot
spend more KL than log K.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, shown_of

if TYPE_CHECKING:
    import pandas as pd

FIGURE = FigureSpec(needs=("candidates", "palettes"), palettes="solved")
ACROSS = 3
MOST = 6  # panels


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    found = gaps(data)
    palettes = list(dict.fromkeys(found["palette"]))[:MOST]
    numbers = sorted(found["candidates"].unique())
    styles = theme.series_styles(data.labels)
    options = {"sharex": True, "sharey": True}
    tiles = theme.tiles(output, len(palettes), ACROSS, aspect=0.75, foot=0.6, **options)
    with tiles as (figure, panels):
        for place, (axes, palette) in enumerate(zip(panels, palettes, strict=True)):
            theme.grid(axes)
            axes.axhline(0, color="black", linewidth=0.9, linestyle="--")
            part = found[found["palette"] == palette]
            for value, line in part.groupby("value", sort=False):
                style = styles[str(value)]
                axes.plot(
                    line["candidates"],
                    line["gap"],
                    color=style.colour,
                    marker=style.marker,
                    markersize=3.2,
                    label=data.labels[str(value)],
                )
            axes.set_xscale("log", base=2)
            axes.set_xticks(numbers, [str(number) for number in numbers])
            axes.set_title(palette + data.adjusted(palette))
            lowest = place + ACROSS >= len(palettes)
            axes.tick_params(labelbottom=lowest)
            axes.set_xlabel("candidates" if lowest else "")
            axes.set_ylabel("level − target (sd)" if place % ACROSS == 0 else "")
        theme.headline(figure, title(data))
        keys = {
            label: handle
            for axes in panels
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(keys.values(), keys.keys(), loc="outside lower left", ncols=7)


def title(data: FigureData) -> str:
    """The mean rise with the fewest and with the most candidates, as a share of what is asked."""
    found = shares(data)
    few, many = min(found), max(found)
    return (
        f"Of the asked rise the λ of the palettes give {100 * found[few]:.0f} % with {few} "
        f"candidates, {100 * found[many]:.0f} % with {many}"
    )


def finding(data: FigureData) -> str:
    """The share for each number of candidates, and whether all palettes are shown."""
    parts = [f"{100 * share:.0f} % with {number}" for number, share in shares(data).items()]
    every = list(dict.fromkeys(gaps(data)["palette"]))
    shown = shown_of(len(every[:MOST]), every, "palettes")
    return f"Mean share of the asked rise: {', '.join(parts)}. {shown}".strip()


def gaps(data: FigureData) -> "pd.DataFrame":
    """The rows of values that their palette raises, with `gap`: level minus target, in sd."""
    table = data.tables["candidates"]
    pairs = zip(table["palette"], table["value"], strict=True)
    table = table[[value in data.palettes[palette].raised for palette, value in pairs]]
    return table.assign(gap=(table["level"] - table["target"]) / table["spread"])


def shares(data: FigureData) -> dict[int, float]:
    """Number of candidates → mean share of the asked rise, over palettes and raised values."""
    table = gaps(data)
    share = (table["level"] - table["base"]) / (table["target"] - table["base"])
    found = share.groupby(table["candidates"]).mean().to_dict()
    return {int(str(number)): float(one) for number, one in found.items()}
