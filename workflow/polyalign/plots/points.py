"""Points of policies that several figures share: numbered, with intervals, and their key."""

import math
from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from polyalign.families import BASE
from polyalign.plots import theme
from polyalign.plots.data import FigureData, family_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NUMBERED = 24  # more policies than this are told apart by family alone
LINE = 0.14  # inches: a line of the key
TOGETHER = "\N{NO-BREAK SPACE}"  # a number and its name stay on one line
LETTERS = 16  # letters of the key that fit in an inch


def number_policies(policies: Iterable[str]) -> dict[str, str]:
    """Policy → the number in its point; empty texts if there are too many."""
    policies = [name for name in policies if name != BASE.name]
    if len(policies) > MOST_NUMBERED:
        return dict.fromkeys(policies, "")
    return {name: str(i) for i, name in enumerate(policies, start=1)}


def in_base_sd(data: FigureData, policy: str, value: str) -> list[float]:
    """A policy's level, low and high end of its interval, above the base level in base sd.

    NaN for a value that does not vary.
    """
    from polyalign.evaluate.delivery import best_known

    base = {name: float(data.levels[BASE.name][name][value]) for name in ("mean", "sd")}
    ends = best_known(data.levels[policy], value)[:3]
    return [(end - base["mean"]) / (base["sd"] or math.nan) for end in ends]


def change(data: FigureData, policy: str, value: str) -> tuple[float, float]:
    """Level of a policy minus that of the base model, and its standard error, in base sd.

    Both are NaN for a value that does not vary.
    """
    from polyalign.evaluate.delivery import best_known

    base = {one: float(data.levels[BASE.name][one][value]) for one in ("mean", "sd", "se")}
    level, _, _, se, _ = best_known(data.levels[policy], value)
    sd = base["sd"]
    if not sd > 0:
        return math.nan, math.nan
    return (level - base["mean"]) / sd, math.hypot(se, base["se"]) / sd


def is_clear(gain: float, se: float) -> bool:
    """Whether the 95 % interval of a change excludes 0."""
    from polyalign.evaluate.clusters import NORMAL_95

    return abs(gain) > NORMAL_95 * se


def interval_point(
    axes: "Axes",
    across: Sequence[float],
    up: Sequence[float],
    style: theme.Style,
    number: str,
    *,
    hollow: bool = False,
) -> None:
    """Draw one policy.

    Args:
        axes: the panel.
        across: centre, low and high end on the x-axis; a centre alone has no interval.
        up: the same on the y-axis.
        style: of its family.
        number: text in the point, maybe empty.
        hollow: whether the point is white inside.
    """
    for xs, ys in ((across[1:], [up[0]] * 2), ([across[0]] * 2, up[1:])):
        if len(xs) == len(ys):
            axes.plot(xs, ys, color=style.colour, linewidth=0.9, alpha=0.75, zorder=2)
    axes.plot(
        across[0],
        up[0],
        marker=style.marker,
        markersize=9.5 if number else 4.5,
        color="white" if hollow else style.colour,
        markeredgecolor=style.colour if hollow else "white",
        markeredgewidth=1.0 if hollow else 0.6,
        linestyle="",
        zorder=5,
    )
    axes.annotate(
        number,
        (across[0], up[0]),
        ha="center",
        va="center_baseline",
        fontsize=6,
        fontweight="bold",
        color=style.colour if hollow else style.ink,
        zorder=6,
    )


def key_height(data: FigureData, more: int = 0) -> float:
    """Inches that `policy_legend` needs: families, the base model and `more` in two columns.

    A family with many policies needs one line more.
    """
    return LINE * (math.ceil((len(data.families) + 1 + more) / 2) + 1) + 0.1


def policy_legend(
    figure: "Figure",
    data: FigureData,
    numbers: dict[str, str],
    *,
    base: str = "base model",
    keys: Mapping[str, str] | None = None,
    extra: Iterable[Any] = (),
) -> None:
    """The key below the panels: one block per family, with its policies by number.

    Args:
        figure: the figure.
        data: the study.
        numbers: policy → the number in its point.
        base: what the star is.
        keys: policy → what it is called in the key (default: its number and its variant).
        extra: handles of what is not a policy.
    """
    from matplotlib.lines import Line2D

    styles = theme.family_styles(data.families)
    handles: list[Any] = [Line2D([], [], marker="*", color="black", linestyle="", label=base)]
    for family in data.families:
        members = [name for name in numbers if family_of(name) == family]
        if not members:
            continue
        own = [
            f"{numbers[name]}{TOGETHER}{data.variant(name)}" for name in members if numbers[name]
        ]
        if keys:
            own = [keys[name] for name in members]
        text = f"{family}: {',  '.join(own)}" if own else f"{family} ({len(members)} policies)"
        style = styles[family]
        handles.append(
            Line2D([], [], marker=style.marker, color=style.colour, linestyle="", label=text)
        )
    handles += extra
    columns = 2 if figure.get_figwidth() > theme.COLUMN else 1
    room = int(LETTERS * figure.get_figwidth()) // columns - 4
    for handle in handles:
        label = fill(
            str(handle.get_label()), room, subsequent_indent="    ", break_on_hyphens=False
        )
        handle.set_label(label)
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=columns,
        columnspacing=1.0,
        handletextpad=0.3,
        borderaxespad=0.2,
        labelspacing=0.3,
    )
