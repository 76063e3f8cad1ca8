"""Asked against realised levels: does a policy reach what its palette asks for?

One panel per value and one point per policy that realises a palette, coloured by family, with the
95 % interval of its level on test prompts, clustered by prompt; the level of a policy that chooses
among candidates is the exact expectation over them. The star is the base model. On the diagonal or
in the shaded part above it the asked level is reached. Policies with the same asked level are above
each other and may cover each other; the figure `delivery` has a row for each.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.errors import InputError
from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of
from polyalign.plots.points import interval_point, number_policies, policy_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = FigureSpec(needs=("levels", "palettes"), palettes="realised")
ACROSS = 3  # panels in a row
MARGIN = 0.08  # of a panel's range, around it


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`.

    Raises:
        InputError: if no policy realises a palette.
    """
    asked = {name: palette for name, palette in data.policies.items() if palette}
    if not asked:
        raise InputError(
            "figure asked_vs_realised: no policy realises a palette; add a family with `palettes` "
            "to `policies`, or leave the figure out of `plots`"
        )
    values = [
        value
        for value in data.labels
        if any(value in data.palettes[palette].asked for palette in asked.values())
    ]
    columns = min(len(values), ACROSS)
    rows = -(-len(values) // columns)
    width = theme.PAGE if columns > 1 else theme.COLUMN
    height = rows * width / columns + 0.5
    numbers = number_policies(asked)
    with theme.sheet(output, rows, columns, width=width, height=height) as (figure, panels):
        for place, (axes, value) in enumerate(zip(panels.flat, values, strict=False)):
            _panel(axes, data, value, asked, numbers)
            axes.set_ylabel("realised level" if place % columns == 0 else "")
            axes.set_xlabel("asked level" if place + columns >= len(values) else "")
        for axes in panels.flat[len(values) :]:
            axes.remove()
        policy_legend(figure, data, numbers)


def finding(data: FigureData) -> str:
    """How many raised and maintained levels are reached, undecided and missed."""
    from polyalign.evaluate.delivery import asked_levels, outcome

    return outcome(asked_levels(data.levels, data.palettes, data.policies))


def _panel(
    axes: "Axes",
    data: FigureData,
    value: str,
    asked: dict[str, str],
    numbers: dict[str, str],
) -> None:
    from polyalign.evaluate.delivery import best_known

    styles = theme.family_styles(data.families)
    base = float(data.levels[BASE.name]["mean"][value])
    targets = {
        name: data.palettes[palette].asked[value]
        for name, palette in asked.items()
        if value in data.palettes[palette].asked
    }
    realised = {name: best_known(data.levels[name], value)[:3] for name in targets}
    reach = [base, *targets.values(), *(end for ends in realised.values() for end in ends)]
    span = max(reach) - min(reach) or 1.0
    ends = [min(reach) - MARGIN * span, max(reach) + MARGIN * span]
    axes.plot(ends, ends, color=theme.GREY, linewidth=0.8, zorder=1)
    axes.fill_between(ends, ends, ends[1], color=theme.LIGHT, alpha=0.45, linewidth=0, zorder=0)
    axes.plot(base, base, marker="*", color="black", markersize=9, linestyle="", zorder=4)
    for name, target in targets.items():
        interval_point(axes, [target], realised[name], styles[family_of(name)], numbers[name])
    axes.set(xlim=ends, ylim=ends, aspect="equal", title=data.axis(value))
    axes.locator_params(axis="y", nbins=5)
    # Numbers of many digits need the width of a third of the axis each.
    axes.locator_params(axis="x", nbins=3)
