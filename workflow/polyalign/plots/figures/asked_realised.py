"""Asked against realised gains: one point for each policy of a palette, one panel for each value.

Shown are the levels that palettes raise, above the base model's level on the test prompts and in
standard deviations of its rewards. On the dashed line a policy delivers just what its palette asks.
Intervals are 95 %, clustered by prompt. A policy that is trained with several seeds is one point:
the mean over seeds, with an interval for other seeds too. Behind the name of a family stands what
it delivers of the asked gains: the slope of the line through 0 that fits all its points best.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.errors import InputError
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, shown_of

if TYPE_CHECKING:
    from polyalign.evaluate.delivery import Asked

FIGURE = FigureSpec(needs=("levels", "palettes", "seeds"), palettes="realised")
ACROSS = 3
MOST = 6  # panels


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`.

    Raises:
        InputError: if no policy realises a palette that raises a value.
    """
    points = raised(data)
    if not points:
        raise InputError(
            "figure asked_realised: no policy realises a palette that raises a value; add a family "
            "with `palettes` or `random` to `policies`, or leave the figure out of `plots`"
        )
    values = _values(data, points)
    styles = theme.family_styles(data.families)
    families = list(dict.fromkeys(family_of(one.policy) for one in points))
    with theme.tiles(output, len(values), ACROSS, aspect=0.9, foot=0.6) as (figure, panels):
        for place, (axes, value) in enumerate(zip(panels, values, strict=True)):
            part = [one for one in points if one.value == value]
            ends = [end for one in part for end in (one.gain, one.in_sd(one.realised))]
            around = 0.08 * (max(0.0, *ends) - min(0.0, *ends))
            span = min(0.0, *ends) - around, max(0.0, *ends) + around
            axes.plot(span, span, color="black", linewidth=0.9, linestyle="--", zorder=1)
            axes.axhline(0, color=theme.SOFT, linewidth=0.7, zorder=0)
            for one in part:
                style = styles[family_of(one.policy)]
                reach = [one.in_sd(one.low), one.in_sd(one.high)]
                axes.plot(
                    [one.gain] * 2, reach, color=style.colour, linewidth=0.8, alpha=0.5, zorder=2
                )
                axes.plot(
                    one.gain,
                    one.in_sd(one.realised),
                    marker=style.marker,
                    markersize=3.6,
                    color=style.colour,
                    linestyle="",
                    zorder=3,
                    gid=one.policy,
                )
            axes.set(xlim=span, title=data.labels[value])
            axes.set_ylabel("realised (sd)" if place % ACROSS == 0 else "")
            axes.set_xlabel("asked (sd)")
        theme.headline(figure, title(data))
        figure.legend(
            handles=[
                _mark(styles[name], f"{name}: {_percent(share(points, name))}") for name in families
            ],
            loc="outside lower left",
            ncols=4,
        )


def title(data: FigureData) -> str:
    """What the family with most palettes delivers of what they ask."""
    points = raised(data)
    policies = {name: _policies(points, name) for name in map(family_of, data.policies)}
    most = max(policies, key=lambda name: policies[name])
    number = policies[most]
    palettes = "1 palette" if number == 1 else f"{number} palettes"
    return f"{most} delivers {_percent(share(points, most))} of the gains that {palettes} ask"


def finding(data: FigureData) -> str:
    """What each family delivers of the asked gains, together and by value."""
    points, parts = raised(data), []
    for name in dict.fromkeys(family_of(one.policy) for one in points):
        by_value = ", ".join(
            f"{data.labels[value]} {_percent(found)}"
            for value in _values(data, points)
            if math.isfinite(found := share([p for p in points if p.value == value], name))
        )
        number = _policies(points, name)
        policies = "1 policy" if number == 1 else f"{number} policies"
        parts.append(
            f"{name}: {_percent(share(points, name))} of the asked gains over {policies} "
            f"({by_value})."
        )
    every = list(dict.fromkeys(one.value for one in points))
    parts.append(shown_of(len(_values(data, points)), every))
    return " ".join(filter(None, parts))


def raised(data: FigureData) -> list["Asked"]:
    """The raised levels of values that vary, of all policies of palettes."""
    from polyalign.evaluate.delivery import asked_levels

    asked = asked_levels(data.levels, data.palettes, data.policies)
    return [one for one in asked if one.kind == "raised" and math.isfinite(one.sd)]


def share(points: Sequence["Asked"], family: str) -> float:
    """The slope of realised on asked gains of a family, in base sd; NaN if it asks for none."""
    own = [one for one in points if family_of(one.policy) == family]
    asked = math.fsum(one.gain**2 for one in own)
    realised = math.fsum(one.gain * one.in_sd(one.realised) for one in own)
    return realised / asked if asked else math.nan


def _values(data: FigureData, points: Sequence["Asked"]) -> list[str]:
    """The values of the panels, in the study's order."""
    named = {one.value for one in points}
    return [value for value in data.labels if value in named][:MOST]


def _policies(points: Sequence["Asked"], family: str) -> int:
    return len({one.policy for one in points if family_of(one.policy) == family})


def _percent(found: float) -> str:
    return f"{100 * found:.0f} %".replace("-", "−")


def _mark(style: theme.Style, label: str) -> Any:
    """A point of the key."""
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=style.colour, marker=style.marker, markersize=4, linestyle="", label=label
    )
