"""Trade-offs between the raised values in quantiles of the base model: one scale for all values.

As the figure `pareto`, with each level as the share of the base model's rewards on test prompts
that lie below it, in per cent. Black lines are the exact fronts within so many nats of the base
model, grey points random λ, coloured points policies with 95 % intervals.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.plots._pareto import draw_pairs
from polyalign.plots.data import FigureData

if TYPE_CHECKING:
    import numpy as np

NEEDS = ("levels", "random", "fronts", "pool")


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    import numpy as np

    rows = data.pool_rows

    def percent(value: str, levels: "np.ndarray") -> "np.ndarray":
        ordered = np.sort(rows[value].to_numpy())
        sides = [np.searchsorted(ordered, levels, side) for side in ("left", "right")]
        return 50 * (sides[0] + sides[1]) / len(ordered)

    draw_pairs(data, output, percent, "{} (% of base)")
