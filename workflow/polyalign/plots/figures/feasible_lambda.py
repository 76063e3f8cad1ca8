"""Where λ can be: the λ of random palettes that are feasible, beside λ drawn at random.

One panel for each number of values: the weights of the first two, in units of one over the base
model's standard deviation. Colour is the λ of a palette drawn between the base levels and each
value's maximum, where it is feasible and Σλ is within the cap; grey is a Dirichlet direction times
a uniform norm. Drawing λ directly leaves parts of the feasible region empty, and fills other parts
that no palette asks for. The title says what share of the palettes was kept.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

if TYPE_CHECKING:
    import pandas as pd

FIGURE = FigureSpec(needs=("random",))
ACROSS = 3


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    table = data.tables["random"]
    numbers = sorted(table["n_values"].unique())
    across, up = weighed(data)[:2]
    top = 1.04 * table[[f"{across}_weight", f"{up}_weight"]].max().max()
    with theme.tiles(output, len(numbers), ACROSS, aspect=1.0, foot=0.3) as (figure, panels):
        for place, (axes, number) in enumerate(zip(panels, numbers, strict=True)):
            part = table[table["n_values"] == number]
            for kind, label, colour, size in KINDS:
                cloud = part[part["kind"] == kind]
                axes.plot(
                    cloud[f"{across}_weight"],
                    cloud[f"{up}_weight"],
                    ".",
                    color=colour,
                    markersize=size,
                    label=label,
                )
            axes.set_title(title(part, int(number)))
            axes.set_xlabel(f"λ {data.labels[across]} · sd")
            axes.set_ylabel(f"λ {data.labels[up]} · sd" if place % ACROSS == 0 else "")
            axes.set(aspect="equal", xlim=(-0.03 * top, top), ylim=(-0.03 * top, top))
            axes.locator_params(nbins=6)
        handles, labels = panels[0].get_legend_handles_labels()
        columns = min(2, len(numbers))  # one panel is too narrow for two
        figure.legend(handles, labels, loc="outside lower left", ncols=columns, markerscale=2)


def finding(data: FigureData) -> str:
    """What share of the random palettes was kept, for each number of values."""
    table = data.tables["random"]
    kept = table.groupby("n_values")["share"].first().sort_index()
    parts = [f"{100 * share:.2g} % with {number} values" for number, share in kept.items()]
    return f"Random palettes that are feasible and within the cap: {', '.join(parts)}."


KINDS = (
    ("reference", "Dirichlet direction, uniform norm", theme.SOFT, 3.0),
    ("palette", "λ of a feasible random palette", theme.COLOURS[0], 3.5),
)


def weighed(data: FigureData) -> list[str]:
    """The values that λ weighs, in the order in which the panels take them up."""
    table = data.tables["random"]
    ends = "_weight"
    return [name.removesuffix(ends) for name in table.columns if name.endswith(ends)]


def title(part: "pd.DataFrame", number: int) -> str:
    """Title of a panel: its number of values, and the share of palettes kept."""
    share = 100 * float(part["share"].iloc[0])
    return f"{number} values ({share:.2g} % kept)"
