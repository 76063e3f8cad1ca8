"""Levels against the length of the answers: is a gain only that answers became longer?

One panel per value and one point per policy, coloured by family: the level above the base model's,
in standard deviations of its rewards, with its 95 % interval, clustered by prompt, against the mean
number of tokens of its answers to test prompts. The star is the base model. A point is full where
the win rate at equal length is clearly above one half (its 95 % interval is), and white where it is
not: there a gain may be length alone. No correction is made for the number of points.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyalign.errors import InputError
from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of
from polyalign.plots.places import label_points
from polyalign.plots.points import (
    in_base_sd,
    interval_point,
    number_policies,
    policy_key,
)

FIGURE = FigureSpec(needs=("levels", "palettes", "winrate"), shows=("evaluate_only",))
ACROSS = 3


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`.

    Raises:
        InputError: if the tables hold no lengths.
    """
    lengths = {name: float(data.levels[name]["n_tokens"].iloc[0]) for name in data.policies}
    if any(math.isnan(length) for length in lengths.values()):
        raise InputError(
            "figure reward_vs_length: the tables have no column n_tokens; give the table of scores "
            "one, or leave the figure out of `plots`"
        )
    values = list(data.labels)
    numbers = number_policies(data.policies)
    styles = theme.family_styles(data.families)
    width = theme.PAGE if len(values) > 1 else theme.COLUMN
    key = policy_key(data, numbers, width, extra=_kinds())
    foot = key.height + 0.4
    with theme.tiles(output, len(values), ACROSS, aspect=0.75, foot=foot) as (figure, panels):
        places: dict[str, list[tuple[float, float]]] = {}
        for place, (axes, value) in enumerate(zip(panels, values, strict=True)):
            theme.grid(axes)
            axes.axhline(0, color=theme.GREY, linestyle="--", linewidth=0.7)
            axes.plot(lengths[BASE.name], 0, "*", color="black", markersize=9, zorder=7)
            for name in numbers:
                y, style = in_base_sd(data, name, value), styles[family_of(name)]
                hollow = not is_better(data, name, value, "even_low")
                interval_point(axes, [lengths[name]], y, style, "", hollow=hollow)
                places.setdefault(value, []).append((lengths[name], y[0]))
            only = " (evaluated only)" if value in data.evaluate_only else ""
            axes.set_title(f"{data.labels[value]}{only}")
            axes.set_xlabel("tokens per answer" if place + ACROSS >= len(values) else "")
            axes.set_ylabel("above the base (sd)" if place % ACROSS == 0 else "")
        key.draw(figure)
        theme.headline(figure, title(data))
        if any(numbers.values()):
            theme.lay_out(figure)
            colours = [styles[family_of(name)].colour for name in numbers]
            for axes, value in zip(panels, values, strict=True):
                label_points(axes, places[value], list(numbers.values()), colours)


def title(data: FigureData) -> str:
    """How many clear wins are left at equal length."""
    pairs = [(name, value) for name in data.policies for value in data.labels if name != BASE.name]
    clear = [pair for pair in pairs if is_better(data, *pair, "low")]
    left = sum(is_better(data, *pair, "even_low") for pair in clear)
    return (
        f"Of {len(pairs)} win rates {len(clear)} are clearly above one half; at equal length "
        f"{left} of these still are"
    )


def is_better(data: FigureData, policy: str, value: str, low: str) -> bool:
    """Whether the lower end of a win rate's interval, in the column `low`, is above one half."""
    return float(data.winrates[policy][low][value]) > 0.5


def _kinds() -> list[Any]:
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"marker": "o", "markeredgecolor": theme.GREY, "linestyle": ""}
    return [
        Line2D([], [], color=theme.GREY, label="clearly preferred at equal length", **look),
        Line2D([], [], color="white", label="not clearly preferred at equal length", **look),
    ]


def finding(data: FigureData) -> str:
    """The lengths of the base model's answers, of the longest and of the shortest ones."""
    lengths = {name: float(data.levels[name]["n_tokens"].iloc[0]) for name in data.policies}
    base = lengths.pop(BASE.name)
    if not lengths:
        return ""
    ends = {"longest": max, "shortest": min}
    parts = []
    for what, of in ends.items():
        name = of(lengths, key=lengths.__getitem__)
        # Rounded to -0 it would read as if there were a change.
        change = round(100 * lengths[name] / base - 100) + 0.0
        parts.append(f"{what} {name} with {lengths[name]:.1f} ({change:+.0f} %)")
    return f"{title(data)}. Answers of the base model have {base:.1f} tokens; {', '.join(parts)}."
