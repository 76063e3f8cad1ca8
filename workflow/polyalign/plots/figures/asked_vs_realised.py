"""Asked against realised levels: does a policy reach what its palette asks for?

One panel per value and one point per policy that realises a palette, coloured by family, with the
95 % bootstrap interval of its level on test prompts, clustered by prompt. The star is the base
model. On the diagonal or in the shaded part above it the asked level is reached. Points of policies
with the same asked level would cover each other, so they are drawn side by side; the short bar at
each point marks the level that was asked.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.errors import InputError
from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, interval
from polyalign.plots.points import interval_point, number_policies, policy_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = FigureSpec(needs=("levels", "palettes"), palettes="realised")
ACROSS = 3  # panels in a row
STEP = 0.075  # of a panel's range, between policies that were asked the same
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
    """How many asked levels are kept, and which is missed by most in terms of its interval."""
    kept, missed = [], {}
    for name, palette in data.policies.items():
        for value, asked in data.palettes[palette].asked.items() if palette else ():
            realised, low, high = interval(data.levels[name], value, "mean")
            kept.append(high >= asked)
            if high < asked:
                # A share of the asked gain would say nothing where hardly any gain was asked.
                missed[name, value] = ((asked - realised) / (high - low), asked, realised, high)
    text = f"{sum(kept)} of {len(kept)} asked levels are kept, or the interval reaches them."
    if missed:
        name, value = max(missed, key=missed.__getitem__)
        _, asked, realised, high = missed[name, value]
        text += (
            f" Missed most clearly: {data.labels[value]} by {name}, asked {asked:.3g}, realised "
            f"{realised:.3g} (interval up to {high:.3g})."
        )
    return text


def _panel(
    axes: "Axes",
    data: FigureData,
    value: str,
    asked: dict[str, str],
    numbers: dict[str, str],
) -> None:
    styles = theme.family_styles(data.families)
    base = float(data.levels[BASE.name]["mean"][value])
    targets = {
        name: data.palettes[palette].asked[value]
        for name, palette in asked.items()
        if value in data.palettes[palette].asked
    }
    realised = {name: interval(data.levels[name], value, "mean") for name in targets}
    reach = [base, *targets.values(), *(end for ends in realised.values() for end in ends)]
    span = max(reach) - min(reach) or 1.0
    places = side_by_side(targets, step=STEP * span)
    reach += places.values()
    ends = [min(reach) - MARGIN * span, max(reach) + MARGIN * span]
    axes.plot(ends, ends, color=theme.GREY, linewidth=0.8, zorder=1)
    axes.fill_between(ends, ends, ends[1], color=theme.LIGHT, alpha=0.45, linewidth=0, zorder=0)
    axes.plot(base, base, marker="*", color="black", markersize=9, linestyle="", zorder=4)
    for name, place in places.items():
        bar = [place - STEP * span / 2, place + STEP * span / 2]
        axes.plot(bar, [targets[name]] * 2, color="black", linewidth=1.0, zorder=3)
        style = styles[family_of(name)]
        interval_point(axes, [place], realised[name], style, numbers[name])
    axes.set(xlim=ends, ylim=ends, aspect="equal", title=data.axis(value))
    axes.locator_params(axis="y", nbins=5)
    # Numbers of many digits need the width of a third of the axis each.
    axes.locator_params(axis="x", nbins=3)


def side_by_side(targets: Mapping[str, float], step: float) -> dict[str, float]:
    """Places on the x-axis: equal targets get places `step` apart, centred on the target."""
    places = {}
    for name, target in targets.items():
        equal = [other for other in targets if abs(targets[other] - target) < step / 2]
        places[name] = target + step * (equal.index(name) - (len(equal) - 1) / 2)
    return places
