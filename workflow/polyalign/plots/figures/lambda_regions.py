"""Where λ of feasible palettes is, panel by panel for more values: the region, beside random λ.

Each panel adds one value, in the order of `evaluation.values`, and shows the plane of the first
two λ, in units of one over the base model's standard deviation. Colour is the λ of a random palette
of so many values that is feasible (see `adjustment` for their share); grey is λ drawn without a
palette, a Dirichlet direction times a uniform norm up to `explore.max_norm`. With one value the
second λ is 0. Points outside the panel are counted in its title.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FIGURE = FigureSpec(needs=("by_number", "random"))
ACROSS = 3


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    across, up = values(data)[:2]
    names = [f"{across}_weight", f"{up}_weight"]
    random = data.tables["random"]
    random = random[random["kind"] == "reference"]
    top = 1.04 * float(random[names].max().max())
    found = regions(data)
    options = {"sharex": True, "sharey": True}
    tiles = theme.tiles(output, len(found), ACROSS, aspect=1.0, foot=0.55, **options)
    with tiles as (figure, panels):
        for place, (axes, (number, part)) in enumerate(zip(panels, found.items(), strict=True)):
            cloud = random[random["n_values"] == number]
            axes.plot(cloud[names[0]], cloud[names[1]], ".", color=theme.SOFT, markersize=2.5)
            inside = part[(part[names] <= top).all(axis="columns")]
            axes.plot(inside[names[0]], inside[names[1]], ".", color=theme.MAP, markersize=4)
            beyond = f" ({len(part) - len(inside)} outside)" if len(part) > len(inside) else ""
            axes.set_title(f"{number} value{'s' if number > 1 else ''}{beyond}")
            axes.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top))
            axes.tick_params(labelbottom=place + ACROSS >= len(found))
            axes.set_xlabel(f"λ {data.labels[across]} · sd" if place + ACROSS >= len(found) else "")
            axes.set_ylabel(f"λ {data.labels[up]} · sd" if place % ACROSS == 0 else "")
        theme.headline(figure, title(data))
        _key(figure)


def _key(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    kinds = (
        ("λ of a feasible random palette", theme.MAP),
        ("random λ, without a palette", theme.SOFT),
    )
    handles = [
        Line2D([], [], marker="o", markersize=3, linestyle="", color=colour, label=label)
        for label, colour in kinds
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2)


def title(data: FigureData) -> str:
    """How many of the drawn palettes have λ, with the fewest and with the most values."""
    drawn = data.tables["by_number"].groupby("n_values").size()
    found = regions(data)
    parts = [
        f"{len(found[number])} of {drawn[number]} with {number} value{'s' if number > 1 else ''}"
        for number in dict.fromkeys((min(found), max(found)))
    ]
    return f"λ of feasible random palettes: {', '.join(parts)}"


def finding(data: FigureData) -> str:
    """The median Σλ of feasible palettes for each number of values."""
    names = [f"{value}_weight" for value in values(data)]
    parts = [
        f"{part[names].sum(axis='columns').median():.3g} with {number}"
        for number, part in regions(data).items()
        if len(part)
    ]
    return f"{title(data)}. Median Σλ, in 1 / standard deviations: {', '.join(parts)}."


def values(data: FigureData) -> list[str]:
    """The values of the palettes, in the order in which the panels take them up."""
    ends = "_weight"
    names = [name for name in data.tables["by_number"].columns if name.endswith(ends)]
    return [name.removesuffix(ends) for name in names]


def regions(data: FigureData) -> "dict[int, pd.DataFrame]":
    """Number of values → the rows of its feasible palettes."""
    table = data.tables["by_number"]
    kept = table[table["feasible"].astype(bool)]
    return {
        int(number): kept[kept["n_values"] == number]
        for number in sorted(table["n_values"].unique())
    }
