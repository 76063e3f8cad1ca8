"""Where λ can be, for three values: feasible random palettes beside λ drawn at random.

The weights of three values in units of one over the base model's standard deviation: on the left
for these three alone, on the right for the largest number of values for which a random palette was
feasible. Colour is the λ of random palettes that are feasible and within the cap; grey is a
Dirichlet direction times a uniform norm.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.errors import InputError
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData
from polyalign.plots.figures import feasible_lambda
from polyalign.plots.figures.feasible_lambda import KINDS, title, weighed

if TYPE_CHECKING:
    import pandas as pd

FIGURE = FigureSpec(needs=("random",))


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`.

    Raises:
        InputError: if λ weighs fewer than three values.
    """
    table = data.tables["random"]
    values = weighed(data)[:3]
    if len(values) < 3:
        raise InputError(
            f"figure feasible_lambda_3d: λ weighs {len(values)} values; expected at least 3: name "
            "more in palettes, or leave the figure out of `plots`"
        )
    kept = table[(table["kind"] == "palette") & (table["n_values"] >= 3)]
    numbers = sorted({3, *kept["n_values"].astype(int).nlargest(1)})
    options = {"subplot_kw": {"projection": "3d"}}
    with theme.tiles(output, len(numbers), 2, aspect=0.78, foot=0.2, **options) as (figure, panels):
        for axes, number in zip(panels, numbers, strict=True):
            part = table[table["n_values"] == number]
            _panel(axes, part, [(value, data.labels[value]) for value in values])
            axes.set_title(title(part, number), y=1.0)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=2, markerscale=2)


def finding(data: FigureData) -> str:
    """What share of the random palettes was kept."""
    return feasible_lambda.finding(data)


def _panel(axes: Any, part: "pd.DataFrame", values: list[tuple[str, str]]) -> None:
    """Points of one number of values in the room of three of them, with their labels."""
    from matplotlib.ticker import MaxNLocator

    for kind, label, colour, size in KINDS:
        cloud = part[part["kind"] == kind]
        axes.scatter(
            *(cloud[f"{value}_weight"] for value, _ in values),
            s=2 * size,
            color=colour,
            alpha=0.8,
            linewidth=0,
            depthshade=False,
            label=label,
        )
    names = [f"λ {label} · sd" for _, label in values]
    axes.set(xlabel=names[0], ylabel=names[1], zlabel=names[2])
    axes.view_init(elev=22, azim=40)
    axes.set_box_aspect(None, zoom=0.95)
    axes.tick_params(pad=-2, labelsize=6)
    for one in (axes.xaxis, axes.yaxis, axes.zaxis):
        one.labelpad = -5
        one.set_pane_color("white")
        one.set_major_locator(MaxNLocator(4, integer=True))
