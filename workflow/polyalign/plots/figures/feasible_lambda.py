"""Where λ can be: the λ of random palettes that are feasible, beside λ drawn at random.

Left: λ of the first two values, in units of one over the base model's standard deviation. Colour is
the λ of a palette drawn between the base levels and each value's maximum, where it is feasible and
Σλ is within the cap; grey is a random direction (Dirichlet) times a random norm (uniform). Drawing
λ directly leaves parts of the feasible region empty, and fills other parts that no palette asks
for. Right: the share of random palettes that are feasible and within the cap, against the number of
values, with Wilson's 95 % intervals.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = FigureSpec(needs=("random",))
KINDS = (
    ("reference", "random direction and norm of λ", theme.SOFT, 3.0),
    ("palette", "λ of a feasible random palette", theme.MAP, 3.5),
)


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    with theme.sheet(output, 1, 2, width=theme.PAGE, height=3.4) as (figure, panels):
        plane, bars = panels[0]
        _plane(plane, data)
        found = shares(data)
        for number, (kept, drawn, low, high) in found.items():
            share = 100 * kept / drawn
            bars.plot([number] * 2, [100 * low, 100 * high], color=theme.MAP, linewidth=1.1)
            bars.plot(number, share, "o", color=theme.MAP, markersize=4.5, clip_on=False)
            bars.annotate(
                f"{kept} of {drawn}",
                (number, 100 * high),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=6,
            )
        bars.set_xticks(list(found))
        bars.set(xlabel="values", ylabel="feasible random palettes (%)")
        bars.set_ylim(bottom=0)
        bars.margins(x=0.1, y=0.12)
        theme.headline(figure, title(data))
        handles, labels = plane.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=2, markerscale=2)


def title(data: FigureData) -> str:
    """How many random palettes of the fewest and of the most values are kept."""
    found = shares(data)
    parts = [
        f"{found[number][0]} of {found[number][1]} with {number} values"
        for number in dict.fromkeys((min(found), max(found)))
    ]
    return f"Random palettes that are feasible: {', '.join(parts)}"


def finding(data: FigureData) -> str:
    """What share of the random palettes was kept, for each number of values."""
    parts = [
        f"{100 * kept / drawn:.2g} % ({100 * low:.2g} to {100 * high:.2g}) with {number} values"
        for number, (kept, drawn, low, high) in shares(data).items()
    ]
    return f"Random palettes that are feasible and within the cap: {', '.join(parts)}."


def shares(data: FigureData) -> dict[int, tuple[int, int, float, float]]:
    """Number of values → palettes kept, palettes drawn, and Wilson's 95 % interval of the share."""
    import numpy as np

    from polyalign.evaluate.winrate import wilson

    found = {}
    table = data.tables["random"]
    for number in sorted(map(int, table["n_values"].unique())):
        part = table[table["n_values"] == number]
        # As many λ are drawn without a palette as palettes are.
        kept, drawn = (int((part["kind"] == kind).sum()) for kind in ("palette", "reference"))
        low, high = wilson(np.array([kept / drawn]), drawn)
        found[number] = kept, drawn, max(0.0, float(low[0])), float(high[0])
    return found


def weighed(data: FigureData) -> list[str]:
    """The values that λ weighs, in the order in which the panels take them up."""
    table = data.tables["random"]
    ends = "_weight"
    return [name.removesuffix(ends) for name in table.columns if name.endswith(ends)]


def _plane(axes: "Axes", data: FigureData) -> None:
    table = data.tables["random"]
    part = table[table["n_values"] == table["n_values"].min()]
    across, up = weighed(data)[:2]
    for kind, label, colour, size in KINDS:
        cloud = part[part["kind"] == kind]
        x, y = cloud[f"{across}_weight"], cloud[f"{up}_weight"]
        axes.plot(x, y, ".", color=colour, markersize=size, label=label)
    top = 1.04 * part[[f"{across}_weight", f"{up}_weight"]].max().max()
    axes.set_xlabel(f"λ {data.labels[across]} · sd")
    axes.set_ylabel(f"λ {data.labels[up]} · sd")
    axes.set(aspect="equal", xlim=(-0.03 * top, top), ylim=(-0.03 * top, top))
    axes.locator_params(nbins=6)
