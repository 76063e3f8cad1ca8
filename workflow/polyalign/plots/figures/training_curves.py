"""How the models were trained: loss or reward, KL, entropy and length, step by step.

One panel per family and metric, one line per model. Where λ moved while training, there is one line
per value too: its λ relative to that at the start, and how far the level is below the one asked, in
the reward's units. Thin lines are the numbers as they were logged;
thick lines are their running median over a twentieth of the training.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.errors import InputError
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, variant_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FIGURE = FigureSpec(needs=("training",))
METRICS = {
    "loss": "loss",
    "reward": "reward λ·r/Λ",
    "kl": "KL (nats)",
    "entropy": "entropy (nats/token)",
    "length": "length (tokens)",
    "truncated": "truncated (share)",
}
# One column of the metrics per value, behind the prefix.
BY_VALUE = {
    "lam/": "λ relative to the start",
    "gap/": "asked level − level",
}
ACROSS = 3
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
    with theme.tiles(output, len(panels_of), ACROSS, aspect=0.78, foot=0.0) as (_, panels):
        for axes, (family, metric) in zip(panels, panels_of, strict=True):
            lines = _lines(data, family, metric)
            styles = theme.series_styles(lines)
            for label, rows in lines.items():
                _curve(axes, rows, styles[label], label)
            title = {**METRICS, **BY_VALUE}[metric]
            axes.set(title=f"{family}: {title}", xlabel="step")
            theme.grid(axes)
            axes.margins(x=0.02)
            axes.legend(fontsize=6, handlelength=1.2)


def finding(data: FigureData) -> str:
    """What each model's loss or reward was at first and at last."""
    parts = []
    for name, table in data.training.items():
        metric = "reward" if "reward" in table and table["reward"].notna().any() else "loss"
        if metric not in table or not table[metric].notna().any():
            continue
        logged = table.sort_values("step")[metric].dropna()
        part = max(1, len(logged) // WINDOW)
        first, last = logged.iloc[:part].median(), logged.iloc[-part:].median()
        parts.append(f"{name} {metric} {first:.3g} to {last:.3g}")
    return f"From the first to the last twentieth of the training: {'; '.join(parts)}."


def panels_shown(data: FigureData) -> list[tuple[str, str]]:
    """Families and the metrics that at least one of their models has, in order."""
    families = dict.fromkeys(map(family_of, data.training))
    return [
        (family, metric)
        for family in families
        for metric in (*METRICS, *BY_VALUE)
        if _lines(data, family, metric)
    ]


def _lines(data: FigureData, family: str, metric: str) -> dict[str, "pd.DataFrame"]:
    """Label → `step` and `y` of each line of a panel, rows without a number left out."""
    members = {
        variant_of(name): table
        for name, table in data.training.items()
        if family_of(name) == family
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
                found[f"{variant} {data.labels.get(value, value)}".strip()] = rows
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
