"""Trade-offs between the values, two by two: policies beside the exact fronts of their KL.

One panel per pair of values, in standard deviations of the base model's rewards; 0 is the base
model's level on the test prompts, the star. Black lines are the exact fronts: the best levels of
two values that any policy within so many nats of the base model reaches by choosing among its
samples, found on fit prompts and measured on test prompts. Their nats are those of the palettes:
compare a policy with the front of its own KL, which the key gives. Points are policies with 95 %
intervals, clustered by prompt: exact expectations over the candidates where they are known. Up and
to the right of the star a policy is better in both values.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, shown_of
from polyalign.plots.places import label_points
from polyalign.plots.points import (
    change,
    in_base_sd,
    interval_point,
    is_clear,
    number_policies,
    policy_key,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

FIGURE = FigureSpec(needs=("levels", "palettes", "fronts"), shows=("chosen",))
MOST = 3  # panels
BASE_KEY = "base model; after each name its KL in nats"


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    pairs = shown_pairs(data)
    numbers = number_policies(data.policies)
    width = theme.PAGE if len(pairs) > 1 else theme.COLUMN
    key = policy_key(
        data,
        numbers,
        width,
        base=BASE_KEY if any(numbers.values()) else "base model",
        after={name: nats(data, name) for name in numbers},
    )
    height = 0.95 * width / len(pairs) + key.height + 0.45
    with theme.sheet(output, 1, len(pairs), width=width, height=height) as (figure, panels):
        fronts = [
            _panel(axes, data, across, up)
            for axes, (across, up) in zip(panels[0], pairs, strict=True)
        ]
        key.draw(figure)
        theme.headline(figure, title(data))
        theme.lay_out(figure)
        styles = theme.family_styles(data.families)
        named = [name for name, number in numbers.items() if number]
        for axes, (across, up), lines in zip(panels[0], pairs, fronts, strict=True):
            label_points(
                axes,
                [
                    (in_base_sd(data, name, across)[0], in_base_sd(data, name, up)[0])
                    for name in named
                ],
                [numbers[name] for name in named],
                [styles[family_of(name)].colour for name in named],
                lines,
            )


def title(data: FigureData) -> str:
    """Whose change from the base model is clearly a gain in every value that the panels trade."""
    values = traded(data)
    names = " and ".join(
        filter(None, (", ".join(data.labels[v] for v in values[:-1]), data.labels[values[-1]]))
    )
    policies = [name for name in data.policies if name != BASE.name]
    if not policies:
        return f"The best levels of {names} that a KL buys"
    better = [name for name in policies if is_above(data, name, values)]
    return f"{len(better)} of {len(policies)} policies are clearly above the base model in {names}"


def is_above(data: FigureData, policy: str, values: Sequence[str]) -> bool:
    """Whether the 95 % interval of the policy's change is above 0 in each of the values."""
    changes = [change(data, policy, value) for value in values]
    return all(gain > 0 and is_clear(gain, se) for gain, se in changes)


def finding(data: FigureData) -> str:
    """The title, and the policies that it counts with their KL."""
    values = traded(data)
    better = [name for name in data.policies if name != BASE.name and is_above(data, name, values)]
    told = [f"{name} ({nats(data, name)} nats)" if nats(data, name) else name for name in better]
    parts = [f"{title(data)}{': ' + ', '.join(told) if told else ''}."]
    if better:
        parts.append("Not corrected for the number of policies.")
    parts.append(shown_of(len(values), data.chosen))
    return " ".join(filter(None, parts))


def shown_pairs(data: FigureData) -> list[tuple[str, str]]:
    """The pairs of values that have fronts, in the order of `evaluation.values`."""
    fronts = data.tables["fronts"]
    return list(dict.fromkeys(zip(fronts["across"], fronts["up"], strict=True)))[:MOST]


def traded(data: FigureData) -> list[str]:
    """The values of the panels, in their order."""
    return list(dict.fromkeys(value for pair in shown_pairs(data) for value in pair))


def nats(data: FigureData, policy: str) -> str:
    """KL of a policy in nats, as text; `≤` where it is an upper bound, empty where unknown."""
    first = data.levels[policy].iloc[0]
    kl = float(first["kl"])
    bound = "≤ " if first["kl_kind"] == "choice" else ""
    return "" if math.isnan(kl) else f"{bound}{kl:.2f}"


def _panel(axes: "Axes", data: FigureData, across: str, up: str) -> list[tuple["Line2D", str]]:
    """Draw a panel; its fronts and their budgets are returned, for their labels."""
    base, table = data.levels[BASE.name], data.tables["fronts"]
    axes.axhline(0, color=theme.SOFT, linewidth=0.7, zorder=0)
    axes.axvline(0, color=theme.SOFT, linewidth=0.7, zorder=0)
    fronts = []
    for budget, front in table[(table["across"] == across) & (table["up"] == up)].groupby("budget"):
        x, y = (
            (front[f"{value}_level"].to_numpy() - float(base["mean"][value]))
            / float(base["sd"][value])
            for value in (across, up)
        )
        (line,) = axes.plot(x, y, color="black", linewidth=0.9, zorder=2, gid=f"front {budget:g}")
        fronts.append((line, f"{budget:.2g} nats"))
    styles = theme.family_styles(data.families)
    for name in data.policies:
        if name != BASE.name:
            style = styles[family_of(name)]
            interval_point(
                axes, in_base_sd(data, name, across), in_base_sd(data, name, up), style, ""
            )
    axes.plot(0, 0, marker="*", color="black", markersize=9, linestyle="", zorder=8)
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    axes.fill_between([0, right], 0, high, color=theme.SHADE, alpha=0.5, linewidth=0, zorder=-1)
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_xlabel(f"{data.labels[across]} (sd)")
    axes.set_ylabel(f"{data.labels[up]} (sd)")
    return fronts
