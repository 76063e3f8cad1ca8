"""Points of policies that several figures share: numbered, with intervals, and their key."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
LETTERS = 18  # letters of the key that fit in an inch
MARK = 5  # letters that a mark of the key and its margins are wide


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


@dataclass(frozen=True)
class Key:
    """The key of policies below the panels: blocks that flow from line to line.

    Attributes:
        lines: handles (with their texts) of each line.
    """

    lines: list[list[Any]]

    @property
    def height(self) -> float:
        """Inches that it takes."""
        return LINE * sum(map(_rows, self.lines)) + 0.1

    def draw(self, figure: "Figure") -> None:
        """Draw it at the foot of a figure, whose panels are laid out above."""
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        tall = figure.get_figheight()
        layout = figure.get_layout_engine()
        assert isinstance(layout, ConstrainedLayoutEngine)
        layout.set(rect=(0, self.height / tall, 1, 1 - self.height / tall))
        top = self.height - 0.05
        for line in self.lines:
            figure.legend(
                handles=line,
                loc="upper left",
                bbox_to_anchor=(0.006, top / tall),
                ncols=len(line),
                columnspacing=1.2,
                handlelength=1.0,
                handletextpad=0.3,
                borderpad=0.1,
                borderaxespad=0.1,
            ).set_in_layout(False)
            top -= LINE * _rows(line)


def policy_key(
    data: FigureData,
    numbers: Mapping[str, str],
    width: float,
    *,
    base: str = "base model",
    after: Mapping[str, str] | None = None,
    extra: Iterable[Any] = (),
) -> Key:
    """The key of a figure of policies: one block per family, with its policies by number.

    Args:
        data: the study.
        numbers: policy → the number at its point; empty texts if points have none.
        width: width of the figure in inches.
        base: what the star is.
        after: policy → what follows its name.
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
            f"{numbers[name]} {data.variant(name)} {(after or {}).get(name, '')}".rstrip()
            for name in members
            if numbers[name]
        ]
        own = [text.replace(" ", TOGETHER) for text in own]
        text = f"{family}: {', '.join(own)}" if own else f"{family} ({len(members)} policies)"
        look: dict[str, Any] = {"marker": styles[family].marker, "color": styles[family].colour}
        handles.append(Line2D([], [], linestyle="", label=text, **look))
    return Key(_flow([*handles, *extra], int(LETTERS * width)))


def _flow(handles: Sequence[Any], room: int) -> list[list[Any]]:
    """Handles in lines of at most `room` letters; a longer text is folded."""
    lines: list[list[Any]] = []
    left = 0
    for handle in handles:
        text = fill(str(handle.get_label()), room - MARK, break_on_hyphens=False)
        handle.set_label(text)
        letters = MARK + max(map(len, text.split("\n")))
        if letters > left:
            lines.append([])
            left = room
        lines[-1].append(handle)
        left -= letters
    return lines


def _rows(line: Sequence[Any]) -> int:
    """Rows of text in a line of the key."""
    return max(str(handle.get_label()).count("\n") + 1 for handle in line)
