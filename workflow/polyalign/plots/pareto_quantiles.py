"""Trade-offs between the raised values in quantiles of the base model: one scale for all values.

As the figure `pareto`, with each level as the share of the base model's rewards on test prompts
that lie below it, in per cent. Black lines are the exact fronts within so many nats of the base
model, grey points random λ, coloured points policies with 95 % intervals.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from polyalign.plots._pareto import draw_pairs
from polyalign.plots.data import BASE, FigureData

NEEDS = ("levels", "random", "fronts", "pool")


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    draw_pairs(data, output, partial(percent, data), "{} (% of base)")


def finding(data: FigureData) -> str:
    """The highest quantiles of the values that the fronts trade."""
    fronts = data.tables["fronts"]
    traded = {*fronts["across"], *fronts["up"]}
    policies = [name for name in data.policies if name != BASE]
    parts = []
    for value in (value for value in data.labels if value in traded and policies):
        level = {name: float(data.levels[name]["mean"][value]) for name in policies}
        best = max(policies, key=level.__getitem__)
        parts.append(f"{data.labels[value]} {percent(data, value, level[best]):.1f} % ({best})")
    return f"Highest quantiles of the base model: {', '.join(parts)}." if parts else ""


def percent(data: FigureData, value: str, levels: Any) -> Any:
    """Per cent of the base model's rewards on test prompts below levels, ties half; their shape."""
    import numpy as np

    ordered = np.sort(data.pool_rows[value].to_numpy())
    sides = [np.searchsorted(ordered, levels, side) for side in ("left", "right")]
    return 50 * (sides[0] + sides[1]) / len(ordered)
