"""Points of policies that several figures share: numbered, with intervals, and their key."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
LETTERS = 16  # letters of the key that fit in an inch


def number_policies(policies: Iterable[str]) -> dict[str, str]:
    """Policy → the number in its point; empty texts if there are too many."""
    policies = [name for name in policies if name != BASE.name]
    if len(policies) > MOST_NUMBERED:
        return dict.fromkeys(policies, "")
    return {name: str(i) for i, name in enumerate(policies, start=1)}


def highest_levels(
    data: FigureData,
    values: Iterable[str],
    tell: Callable[[str, float], str] = lambda value, level: f"{level:.3g}",
) -> str:
    """The highest level of each value, with its policy, beside the base level, as a sentence."""
    policies = [name for name in data.policies if name != BASE.name]
    if not policies:
        return ""
    parts = []
    for value in values:
        level = {name: float(data.levels[name]["mean"][value]) for name in data.policies}
        best = max(policies, key=level.__getitem__)
        told, base = tell(value, level[best]), tell(value, level[BASE.name])
        parts.append(f"{data.labels[value]} {told} ({best}; base {base})")
    return f"Highest levels: {', '.join(parts)}."


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


def family_means(
    axes: "Axes", places: Mapping[str, tuple[float, float]], styles: Mapping[str, theme.Style]
) -> None:
    """A cross at the mean of each family that has several policies.

    Args:
        axes: the panel.
        places: policy → its point.
        styles: family → its style.
    """
    for family, style in styles.items():
        members = [place for name, place in places.items() if family_of(name) == family]
        if len(members) > 1:
            x, y = (sum(one) / len(members) for one in zip(*members, strict=True))
            for size, colour in ((7.0, "white"), (6.0, style.colour)):
                axes.plot(
                    x, y, "x", color=colour, markersize=size, markeredgewidth=size - 4.2, zorder=4
                )


def key_height(data: FigureData, more: int = 0) -> float:
    """Inches that `policy_legend` needs: one line per family, the base model, and `more` lines."""
    return LINE * (len(data.families) + 1 + more) + 0.1


def policy_legend(
    figure: "Figure",
    data: FigureData,
    numbers: dict[str, str],
    *,
    base: str = "base model",
    notes: Mapping[str, str] | None = None,
    means: bool = False,
    extra: Iterable[Any] = (),
) -> None:
    """The key below the panels: one block per family, with its policies by number.

    Args:
        figure: the figure.
        data: the study.
        numbers: policy → the number in its point.
        base: what the star is.
        notes: family → text at the end of its key.
        means: whether families have a cross at their mean.
        extra: handles of what is not a policy.
    """
    from matplotlib.lines import Line2D

    styles = theme.family_styles(data.families)
    handles: list[Any] = [Line2D([], [], marker="*", color="black", linestyle="", label=base)]
    for family in data.families:
        members = [name for name in numbers if family_of(name) == family]
        if not members:
            continue
        keys = [f"{numbers[name]} {data.variant(name)}" for name in members if numbers[name]]
        text = f"{family}: {',  '.join(keys)}" if keys else f"{family} ({len(members)} policies)"
        if notes and family in notes:
            text = f"{text} ({notes[family]})"
        style = styles[family]
        handles.append(
            Line2D([], [], marker=style.marker, color=style.colour, linestyle="", label=text)
        )
    if means:
        handles.append(
            Line2D([], [], marker="x", color=theme.GREY, linestyle="", label="mean of a family")
        )
    handles += extra
    room = int(LETTERS * figure.get_figwidth())
    narrow = all(len(str(handle.get_label())) <= room // 2 - 4 for handle in handles)
    for handle in handles:
        handle.set_label(fill(str(handle.get_label()), room, subsequent_indent="    "))
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=2 if narrow else 1,
        handletextpad=0.3,
        borderaxespad=0.2,
        labelspacing=0.3,
    )
