"""Levels against KL to the base model, all families on one plot: what each gain costs in KL.

One column per value that palettes raise, and one for each value that is evaluated but never in λ; a
fall at a higher KL there is over-optimisation. The axis is the square root of the KL, on which
small gains are straight lines; the level is that above the base model's, in standard deviations of
its rewards. Full points have a KL that is measured on their samples. White points choose among
candidates: theirs is an upper bound, so their true place is further left. Intervals are 95 %,
clustered by prompt; levels are exact expectations over the candidates where those are known. The
star is the base model.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, shown_of
from polyalign.plots.places import label_points
from polyalign.plots.points import (
    in_base_sd,
    interval_point,
    number_policies,
    policy_key,
)

FIGURE = FigureSpec(needs=("levels", "palettes"), shows=("evaluate_only",))
ACROSS = 3


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    values = shown_values(data)
    known = [name for name in data.policies if name != BASE.name and nats(data, name)]
    numbers = number_policies(known)
    styles = theme.family_styles(data.families)
    width = theme.PAGE if len(values) > 1 else theme.COLUMN
    key = policy_key(data, numbers, width, extra=_kinds(data, known))
    height = 0.95 * width / len(values) + key.height + 0.45
    sheet = theme.sheet(output, 1, len(values), width=width, height=height)
    with sheet as (figure, panels):
        places: dict[str, list[tuple[float, float]]] = {}
        for axes, value in zip(panels[0], values, strict=True):
            theme.grid(axes)
            axes.axhline(0, color=theme.GREY, linestyle="--", linewidth=0.7)
            axes.plot(0, 0, marker="*", color="black", markersize=9, linestyle="", zorder=7)
            for name in numbers:
                x = [math.sqrt(one) for one in nats(data, name)]
                y = in_base_sd(data, name, value)
                style = styles[family_of(name)]
                interval_point(axes, x, y, style, "", hollow=is_bound(data, name))
                places.setdefault(value, []).append((x[0], y[0]))
            axes.set_xlabel("√KL (√nats)")
            only = "\n(evaluated only)" if value in data.evaluate_only else ""
            axes.set_title(f"{data.labels[value]}{only}")
        panels[0, 0].set_ylabel("level above the base (sd)")
        key.draw(figure)
        theme.headline(figure, title(data))
        if any(numbers.values()):
            theme.lay_out(figure)
            colours = [styles[family_of(name)].colour for name in numbers]
            for axes, value in zip(panels[0], values, strict=True):
                label_points(axes, places[value], list(numbers.values()), colours)


def title(data: FigureData) -> str:
    """The highest level of the first value with its cost."""
    known = [name for name in data.policies if name != BASE.name and nats(data, name)]
    if not known:
        return "No policy has a known KL"
    value = shown_values(data)[0]
    best = max(known, key=lambda name: _finite(in_base_sd(data, name, value)[0]))
    level, low, high = in_base_sd(data, best, value)
    bound = "≤ " if is_bound(data, best) else ""
    numbers = f"{level:+.2f} sd ({low:+.2f} to {high:+.2f})".replace("-", "−")
    return (
        f"{data.labels[value]} is highest for {best}: {numbers} at {bound}"
        f"{nats(data, best)[0]:.2f} nats"
    )


def finding(data: FigureData) -> str:
    """The highest levels with their KL, and who is furthest from the base model."""
    known = {name: nats(data, name) for name in data.policies if name != BASE.name}
    known = {name: kl for name, kl in known.items() if kl}
    if not known:
        return ""
    parts = []
    for value in shown_values(data):
        best = max(known, key=lambda name: _finite(in_base_sd(data, name, value)[0]))
        level = in_base_sd(data, best, value)[0]
        nats_of = f"{'at most ' if is_bound(data, best) else ''}{known[best][0]:.3g} nats"
        parts.append(f"{data.labels[value]} {level:+.2f} sd at {nats_of} ({best})")
    text = f"Highest levels above the base: {', '.join(parts)}."
    # Two kinds of KL are not compared.
    for bound, what in ((False, "as measured on samples"), (True, "as an upper bound")):
        own = {name: kl for name, kl in known.items() if is_bound(data, name) == bound}
        if own:
            furthest = max(own, key=own.__getitem__)
            kl, low, high = own[furthest]
            text += (
                f" Furthest from the base model, {what}: {furthest}, {kl:.3g} nats, interval "
                f"{low:.3g} to {high:.3g}."
            )
    every = list(dict.fromkeys([*data.raised, *data.evaluate_only]))
    return f"{text} {shown_of(len(shown_values(data)), every)}".strip()


def shown_values(data: FigureData) -> list[str]:
    """The raised values, then those that are evaluated only; at most two of them, four in all."""
    only = [value for value in data.labels if value in data.evaluate_only][:2]
    raised = [value for value in data.raised if value not in only]
    return [*raised[: ACROSS + 1 - len(only)], *only][: ACROSS + (1 if only else 0)]


def _finite(number: float) -> float:
    """A number to sort by: what is not known comes last."""
    return number if math.isfinite(number) else -math.inf


def is_bound(data: FigureData, policy: str) -> bool:
    """Whether the KL of a policy is the upper bound that a choice among candidates has."""
    return bool(data.levels[policy]["kl_kind"].iloc[0] == "choice")


def _kinds(data: FigureData, policies: Sequence[str]) -> list[Any]:
    """Keys of the two kinds of KL, where both are drawn."""
    from matplotlib.lines import Line2D

    if len({is_bound(data, name) for name in policies}) < 2:
        return []
    look: dict[str, Any] = {"marker": "o", "markeredgecolor": theme.GREY, "linestyle": ""}
    return [
        Line2D([], [], color=theme.GREY, label="KL measured on samples", **look),
        Line2D([], [], color="white", label="KL at most this: chooses among candidates", **look),
    ]


def nats(data: FigureData, policy: str) -> list[float]:
    """KL of a policy with its 95 % interval, cut at 0; empty where it is not known."""
    from polyalign.evaluate.clusters import NORMAL_95

    first = data.levels[policy].iloc[0]
    kl, se = float(first["kl"]), float(first["kl_se"])
    if math.isnan(kl):
        return []
    half = 0.0 if math.isnan(se) else NORMAL_95 * se
    return [max(0.0, one) for one in (kl, kl - half, kl + half)]
