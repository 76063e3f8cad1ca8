"""Levels against the length of the answers: is a gain only that answers became longer?

One panel per value and one point per policy, coloured by family: the mean reward with its 95 %
interval, clustered by prompt, against the mean number of tokens of its answers to test prompts. The
star is the base model. The table of win rates has the win rate at equal length beside each one.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from polyalign.errors import InputError
from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, interval
from polyalign.plots.points import interval_point, number_policies, policy_legend

FIGURE = FigureSpec(needs=("levels", "palettes"), shows=("evaluate_only",))
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
    with theme.tiles(output, len(values), ACROSS, aspect=0.85, foot=0.6) as (figure, panels):
        for place, (axes, value) in enumerate(zip(panels, values, strict=True)):
            theme.grid(axes)
            base = float(data.levels[BASE.name]["mean"][value])
            axes.axhline(base, color=theme.GREY, linestyle="--", linewidth=0.7)
            axes.plot(lengths[BASE.name], base, "*", color="black", markersize=9, zorder=7)
            for name, number in numbers.items():
                y = interval(data.levels[name], value, "mean")
                interval_point(axes, [lengths[name]], y, styles[family_of(name)], number)
            only = " (evaluated only)" if value in data.evaluate_only else ""
            axes.set_title(f"{data.axis(value)}{only}")
            axes.set_xlabel("tokens an answer" if place + ACROSS >= len(values) else "")
            axes.set_ylabel("level" if place % ACROSS == 0 else "")
        policy_legend(figure, data, numbers)


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
    return f"Answers of the base model have {base:.1f} tokens; {', '.join(parts)}."
