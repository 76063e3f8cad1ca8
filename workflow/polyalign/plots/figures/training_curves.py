"""How the models were trained: loss or reward, KL, entropy and length, step by step.

One panel per family and metric, one line per model: the loss, or for models that learn from rewards
the level of each raised value and the KL to the base model. A dashed line is what perfect training
would deliver with the palette's λ (p_λ): its levels, expected on test prompts, while the curves are
of the training prompts. Where λ moved while training, there is one line per value too: its λ
relative to that at the start, and how far the level is below the one asked, in the reward's units.
Thin lines are the numbers as they were logged; thick lines are their running median over a
twentieth of the training.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.errors import InputError
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, variant_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FIGURE = FigureSpec(needs=("training", "palettes"))
METRICS = {"loss": "loss", "reward": "reward λ·r/Λ", "kl": "KL (nats)"}
LEVEL = "rewards/{}/mean"  # a value's column of the metrics
MOST = 3  # values of a family
FEW = 2  # lines whose key matplotlib finds a place for
KEY_LINE, AROUND = 0.105, 0.68  # inches: a line of a key; a panel's labels above and below
SHORT = 10  # letters of names of which two stand side by side in a key
# One column of the metrics per value, behind the prefix.
BY_VALUE = {
    "lam/": "λ / first λ",
    "gap/": "asked − level",
}
ACROSS, MANY = 3, 18  # panels in a row; of more than so many, one more is in a row
TALLEST = 9.3  # inches: with its caption it fits on a page
FOOT = 0.35
WINDOW = 20  # a running median spans one part in so many


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`.

    Raises:
        InputError: if the study trains no model.
    """
    panels_of = panels_shown(data)
    if not panels_of:
        raise InputError(
            "figure training_curves: the study trains no model with metrics; add a family that "
            "trains, or leave the figure out of `plots`"
        )
    number = len(panels_of)
    tiles = theme.tiles(output, number, across_of(number), aspect=aspect(number), foot=FOOT)
    with tiles as (figure, panels):
        for axes, (family, metric) in zip(panels, panels_of, strict=True):
            lines = _lines(data, family, metric)
            styles = line_styles(data, family, metric, lines)
            for label, rows in lines.items():
                _curve(axes, rows, styles[label], label)
                target = perfect(data, f"{family}/{label}", metric)
                if math.isfinite(target):
                    axes.axhline(
                        target,
                        color=styles[label].colour,
                        linewidth=0.9,
                        linestyle="--",
                        gid=f"perfect {label}",
                    )
            axes.set(title=f"{family}: {named(data, metric)}", xlabel="step")
            theme.grid(axes)
            axes.margins(x=0.02)
            _key(axes, number)
        theme.headline(figure, title(data))


def _key(axes: "Axes", panels: int) -> None:
    """The key of a panel; above the lines if these are several."""
    names = axes.get_legend_handles_labels()[1]
    if len(names) <= FEW:
        axes.legend(fontsize=6, handlelength=1.2)
        return
    columns = 2 if max(map(len, names)) <= SHORT else 1
    key = KEY_LINE * (1 + -(-len(names) // columns))
    width = theme.PAGE / across_of(panels)
    share = key / (aspect(panels) * width - AROUND)
    low, high = axes.get_ylim()
    axes.set_ylim(low, low + (high - low) / (1 - min(share, 0.7)))
    look: dict[str, Any] = {"handlelength": 1.2, "columnspacing": 0.8, "labelspacing": 0.25}
    axes.legend(fontsize=6, ncols=columns, loc="upper left", borderaxespad=0.2, **look)


def across_of(panels: int) -> int:
    """Panels in a row."""
    return ACROSS + (panels > MANY)


def aspect(panels: int) -> float:
    """Height over width of a panel: lower ones where there are many rows."""
    across = across_of(panels)
    rows = -(-panels // across)
    return min(0.78, (TALLEST - FOOT) / rows / (theme.PAGE / across))


def line_styles(
    data: FigureData, family: str, metric: str, lines: Iterable[str]
) -> dict[str, theme.Style]:
    """Styles of a panel's lines: of its values, or the family's own, darker for each other model.

    What is no family, as the base model, is grey.
    """
    names = list(lines)
    values = theme.series_styles(data.labels)
    by_label = {data.labels[value]: style for value, style in values.items()}
    if metric in BY_VALUE:
        # A label ends in the value; several models of a family differ in the marker.
        found = {}
        for place, name in enumerate(names):
            label = max((one for one in by_label if name.endswith(one)), key=len)
            marker = theme.MARKERS[place % len(theme.MARKERS)]
            found[name] = theme.Style(by_label[label].colour, marker)
        return found
    if names and set(names) <= set(values):
        return {name: values[name] for name in names}
    own = theme.family_styles(data.families)
    return theme.shade_styles(own.get(family, theme.Style(theme.GREY, "o")), names)


def title(data: FigureData) -> str:
    """How many levels end below those of perfect training, where these are known."""
    below = []
    for family, metric in panels_shown(data):
        for variant, rows in _lines(data, family, metric).items():
            target = perfect(data, f"{family}/{variant}", metric)
            if metric in _levels(data) and math.isfinite(target):
                below.append(_ends(rows["y"])[1] < target)
    models = f"{len(data.training)} models trained"
    if not below:
        return models
    return (
        f"{models}: {sum(below)} of {len(below)} raised levels end below those of perfect training "
        "(dashed)"
    )


def perfect(data: FigureData, model: str, metric: str) -> float:
    """What perfect training with the λ of a model's palette delivers; NaN where not known."""
    palette = data.palettes.get(data.policies.get(model) or "")
    if palette is None or not palette.solved:
        return math.nan
    if metric == "kl":
        return palette.trained.kl
    return palette.trained.level.get(_levels(data).get(metric, ""), math.nan)


def named(data: FigureData, metric: str) -> str:
    """What the axis of a panel shows."""
    value = _levels(data).get(metric)
    return data.labels[value] if value else {**METRICS, **BY_VALUE}[metric]


def _levels(data: FigureData) -> dict[str, str]:
    """Column of a raised value's level → the value."""
    return {LEVEL.format(value): value for value in data.raised[:MOST]}


def _ends(logged: "pd.Series") -> tuple[float, float]:
    """Medians of the first and of the last twentieth of a training."""
    part = max(1, len(logged) // WINDOW)
    return float(logged.iloc[:part].median()), float(logged.iloc[-part:].median())


def finding(data: FigureData) -> str:
    """What each model's loss or reward was at first and at last."""
    parts = []
    for name, table in data.training.items():
        metric = "reward" if "reward" in table and table["reward"].notna().any() else "loss"
        if metric not in table or not table[metric].notna().any():
            continue
        logged = table.sort_values("step")[metric].dropna()
        first, last = _ends(logged)
        parts.append(f"{name} {metric} {first:.3g} to {last:.3g}")
    return f"From the first to the last twentieth of the training: {'; '.join(parts)}."


def panels_shown(data: FigureData) -> list[tuple[str, str]]:
    """Families and what is shown of them, in order: metrics that at least one model has.

    Rewards stand for the loss, which says nothing where a model learns from them, and levels for
    the reward that adds them up.
    """
    found = []
    for family in dict.fromkeys(map(family_of, data.training)):
        metrics = [*METRICS, *_levels(data), *BY_VALUE]
        metrics = [one for one in metrics if _lines(data, family, one)]
        levels = [one for one in metrics if one in _levels(data)]
        left_out = {"loss"} if {"reward", *levels} & set(metrics) else set()
        left_out |= {"reward"} if levels else set()
        found += [(family, one) for one in metrics if one not in left_out]
    return found


def _lines(data: FigureData, family: str, metric: str) -> dict[str, "pd.DataFrame"]:
    """Label → `step` and `y` of each line of a panel, rows without a number left out.

    A line of a value is named without its model where only one of the family has such lines.
    """
    members = {
        variant_of(name): table
        for name, table in data.training.items()
        if family_of(name) == family
    }
    if metric in BY_VALUE:
        members = {
            variant: table
            for variant, table in members.items()
            if any(str(name).startswith(metric) for name in table)
        }
    found = {}
    for variant, table in members.items():
        names = [str(name) for name in table]
        columns = [name for name in names if name == metric]
        if metric in BY_VALUE:
            columns = [name for name in names if name.startswith(metric)]
        for column in columns:
            rows = table[["step", column]].set_axis(["step", "y"], axis=1).dropna()
            if metric == "lam/":
                # A value that starts without weight has no λ to compare with.
                first = rows["y"].iloc[:1].sum()
                rows = rows.assign(y=rows["y"] / first) if first > 0 else rows[:0]
            if len(rows):
                value = column.removeprefix(metric)
                of = "" if value and len(members) == 1 else variant
                found[f"{of} {data.labels.get(value, value)}".strip()] = rows
    return found


def _curve(axes: "Axes", rows: "pd.DataFrame", style: theme.Style, label: str) -> None:
    window = max(1, len(rows) // WINDOW)
    smooth = rows["y"].rolling(window, center=True, min_periods=1).median()
    axes.plot(rows["step"], rows["y"], color=style.colour, linewidth=0.5, alpha=0.35)
    axes.plot(
        rows["step"],
        smooth,
        color=style.colour,
        linewidth=1.2,
        marker=style.marker,
        markersize=3,
        markevery=0.2,
        label=label,
    )
