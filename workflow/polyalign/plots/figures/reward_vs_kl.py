"""Levels against KL to the base model, all families on one plot: what each gain costs in KL.

One column per value that palettes raise, and one for each value that is evaluated but never in λ; a
fall at a higher KL there is over-optimisation. The upper row has the KL in nats, the lower row its
square root, in which small gains are straight lines. Full points have a KL that is measured on
their samples. White points choose among candidates: theirs is an upper bound, so their true place
is further left. Intervals are 95 %, clustered by prompt. The star is the base model.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, interval, shown_of
from polyalign.plots.points import interval_point, number_policies, policy_legend

FIGURE = FigureSpec(needs=("levels", "palettes"), shows=("evaluate_only",))
ACROSS = 3


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    values = shown_values(data)
    known = [name for name in data.policies if name != BASE.name and nats(data, name)]
    numbers = number_policies(known)
    styles = theme.family_styles(data.families)
    width = theme.PAGE if len(values) > 1 else theme.COLUMN
    height = 2 * 0.9 * width / len(values) + 0.7
    sheet = theme.sheet(output, 2, len(values), width=width, height=height, sharey="col")
    with sheet as (figure, panels):
        for column, value in enumerate(values):
            start = float(data.levels[BASE.name]["mean"][value])
            for row, axes in enumerate(panels[:, column]):
                theme.grid(axes)
                axes.axhline(start, color=theme.GREY, linestyle="--", linewidth=0.7)
                axes.plot(0, start, marker="*", color="black", markersize=9, linestyle="", zorder=7)
                for name, number in numbers.items():
                    x = nats(data, name)
                    x = [math.sqrt(one) for one in x] if row else x
                    y = interval(data.levels[name], value, "mean")
                    style = styles[family_of(name)]
                    interval_point(axes, x, y, style, number, hollow=is_bound(data, name))
                axes.set_xlabel("√KL (√nats)" if row else "KL (nats)")
            only = "\n(evaluated only)" if value in data.evaluate_only else ""
            panels[0, column].set_title(f"{data.labels[value]}{only}")
            for axes in panels[:, column]:
                axes.set_ylabel("level" if column == 0 else "")
        policy_legend(figure, data, numbers, extra=_kinds(data, known))


def finding(data: FigureData) -> str:
    """The highest levels with their KL, and who is furthest from the base model."""
    known = {name: nats(data, name) for name in data.policies if name != BASE.name}
    known = {name: kl for name, kl in known.items() if kl}
    if not known:
        return ""
    parts = []
    for value in shown_values(data):
        best = max(known, key=lambda name: float(data.levels[name]["mean"][value]))
        level = float(data.levels[best]["mean"][value])
        nats_of = f"{'at most ' if is_bound(data, best) else ''}{known[best][0]:.3g} nats"
        parts.append(f"{data.labels[value]} {level:.3g} at {nats_of} ({best})")
    text = f"Highest levels: {', '.join(parts)}."
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
