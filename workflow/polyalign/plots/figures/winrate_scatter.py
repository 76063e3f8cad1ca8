"""Win rates of two values against each other: which policies are better in both values.

One panel per pair of the values that the palettes raise, in the order of `evaluation.values`; one
point per policy, coloured by family, with 95 % bootstrap intervals clustered by prompt, and a cross
at the mean of a family. The star, at one half in both values, is the opponent that all policies are
compared with: the base model, or the policy that the key names; the base model is then a black
diamond. Above and to the right of both dashed lines a policy is better in both values. In the
shaded band, the slack, it still counts as navigable. The key says how many policies of each family
are navigable in all chosen values, with Wilson's 95 % interval of their share over policies.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, interval, shown_of
from polyalign.plots.points import (
    family_means,
    interval_point,
    key_height,
    number_policies,
    policy_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

FIGURE = FigureSpec(needs=("winrate", "palettes", "families"), shows=("opponent", "compared_first"))
MOST = 3  # values, hence panels
BASE_STYLE = theme.Style("black", "D")  # where another policy is the opponent


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    pairs = value_pairs(data)
    numbers = number_policies(name for name in data.policies if name != data.opponent)
    columns = min(len(pairs), MOST)
    width = theme.PAGE if columns > 1 else theme.COLUMN
    height = width / columns + key_height(data, 2)
    with theme.sheet(output, 1, columns, width=width, height=height) as (figure, panels):
        for axes, (across, up) in zip(panels[0], pairs, strict=True):
            _panel(axes, data, across, up, numbers)
        star, extra = "base model", []
        if data.opponent != BASE.name:
            star, extra = f"{data.opponent} (the opponent)", [_base_handle()]
        notes = efficiencies(data)
        policy_legend(figure, data, numbers, base=star, notes=notes, means=True, extra=extra)


def finding(data: FigureData) -> str:
    """The policy that is best in its worst value, and each family's navigation efficiency."""
    values = list(dict.fromkeys(value for pair in value_pairs(data) for value in pair))
    worst = {}
    for name, table in data.winrates.items():
        if name not in (BASE.name, data.opponent):
            worst[name] = min((float(table["winrate"][value]), value) for value in values)
    if not worst:
        return ""
    best = max(worst, key=worst.__getitem__)
    rate, value = worst[best]
    return " ".join(
        filter(
            None,
            (
                f"Best in its worst value: {best}, {rate:.3f} in {data.labels[value]}.",
                navigable(data),
                part_shown(data),
            ),
        )
    )


def part_shown(data: FigureData) -> str:
    """How many of the raised values the panels show, if not all."""
    return shown_of(len({value for pair in value_pairs(data) for value in pair}), data.raised)


def navigable(data: FigureData, kind: str = "") -> str:
    """How many policies of each family are navigable, in a sentence; `kind`: see `efficiencies`."""
    found = efficiencies(data, kind)
    parts = [f"{family} {found[family]}" for family in data.families if family in found]
    return f"Policies: {'; '.join(parts)}." if parts else ""


def efficiencies(data: FigureData, kind: str = "") -> dict[str, str]:
    """Family → how many of its policies are navigable, with Wilson's interval, as text.

    Args:
        data: the study.
        kind: how the columns start: `level_` for that of levels, else that of win rates.
    """
    from polyalign.evaluate.navigation import navigable_text

    return {
        row["family"]: f"navigable {navigable_text(row, kind)}"
        for _, row in data.tables["families"].iterrows()
    }


def value_pairs(data: FigureData) -> list[tuple[str, str]]:
    """Pairs of the values that a palette raises (of all, if fewer than two are), at most three."""
    values = data.raised if len(data.raised) > 1 else list(data.labels)
    first = [value for value in data.compared_first if value in values]
    values = [*first, *(value for value in values if value not in first)][:MOST]
    return list(combinations(values, 2)) or [(values[0], values[0])]


def _base_handle() -> "Line2D":
    from matplotlib.lines import Line2D

    marker, colour = BASE_STYLE.marker, BASE_STYLE.colour
    return Line2D([], [], marker=marker, color=colour, linestyle="", label="base model")


def _panel(axes: "Axes", data: FigureData, across: str, up: str, numbers: dict[str, str]) -> None:
    theme.grid(axes)
    slack = float(data.tables["families"]["slack"].max())
    axes.axhspan(0.5 - slack, 0.5, color=theme.LIGHT, alpha=0.6, linewidth=0, zorder=0)
    axes.axvspan(0.5 - slack, 0.5, color=theme.LIGHT, alpha=0.6, linewidth=0, zorder=0)
    axes.axhline(0.5, color=theme.GREY, linewidth=0.7, linestyle="--")
    axes.axvline(0.5, color=theme.GREY, linewidth=0.7, linestyle="--")
    axes.plot(0.5, 0.5, marker="*", color="black", markersize=9, linestyle="", zorder=4)
    styles = theme.family_styles(data.families)
    if data.opponent != BASE.name:
        x, y = (interval(data.winrates[BASE.name], value, "winrate") for value in (across, up))
        interval_point(axes, x, y, BASE_STYLE, "")
    for name, number in numbers.items():
        table = data.winrates[name]
        interval_point(
            axes,
            interval(table, across, "winrate"),
            interval(table, up, "winrate"),
            styles[family_of(name)],
            number,
        )
    rates = {
        name: (data.winrates[name]["winrate"][across], data.winrates[name]["winrate"][up])
        for name in numbers
    }
    family_means(axes, rates, styles)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.08)
    axes.set_xlabel(f"win rate: {data.labels[across]}")
    axes.set_ylabel(f"win rate: {data.labels[up]}")
