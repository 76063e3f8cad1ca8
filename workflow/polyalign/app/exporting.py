"""The explorer's files: the numbers as CSV, and a picture of them as PNG."""

from pathlib import Path

import numpy as np
import pandas as pd

from polyalign.app.exploring import FrontView, Move, Problem
from polyalign.app.tables import Table
from polyalign.app.view import as_rows
from polyalign.data.tables import write_csv
from polyalign.plots.theme import COLOURS, GREY, LIGHT, PAGE, VERDICTS, grid, sheet


def export(
    folder: Path, table: Table, problem: Problem, move: Move, view: FrontView | None
) -> list[Path]:
    """Write `palette.csv` and `palette.png` into a folder; returns their paths."""
    numbers, picture = folder / "palette.csv", folder / "palette.png"
    write_csv(pd.DataFrame(as_rows(problem, move)), numbers)
    draw(picture, table, problem, move, view)
    return [numbers, picture]


def draw(picture: Path, table: Table, problem: Problem, move: Move, view: FrontView | None) -> None:
    """Bars of the asked and realised levels, and the front of two values if there is one."""
    labels = [table.labels.get(name, name) for name in move.names]
    k = len(labels)
    height = max(2.2, 0.35 * k + 1.2)
    with sheet([picture], 1, 1 if view is None else 2, width=PAGE, height=height) as (figure, axes):
        bars = axes[0, 0]
        way = np.where(problem.top > move.base.center, problem.top - move.base.center, 1.0)
        asked = (move.target - move.base.center) / way
        if move.solution is not None:
            got = (move.solution.realised - move.base.center) / way
            bars.barh(np.arange(k), 100 * got, color=COLOURS[0], height=0.6, label="realised")
        bars.plot(100 * asked, np.arange(k), "|", color="black", markersize=12, label="asked")
        bars.set_yticks(np.arange(k), labels)
        bars.invert_yaxis()
        bars.axvline(0, color=GREY, linewidth=0.6)
        bars.set_xlabel("% of the way from base to the value's own highest level")
        bars.set_title(f"{move.verdict}, scope {move.base.scope}", color=VERDICTS[move.verdict])
        figure.legend(loc="outside lower left", ncols=2)
        if view is not None:
            _draw_front(axes[0, 1], table, view)


def _draw_front(axes, table: Table, view: FrontView) -> None:  # type: ignore[no-untyped-def]
    axes.plot(*view.curve.T, color=COLOURS[0], label=f"front at {view.kl:.3g} nats")
    axes.plot(*view.base, "o", color=GREY, label="base")
    axes.plot(*view.asked, "x", color="black", label="asked")
    if view.realised is not None:
        axes.plot(*view.realised, "D", color=COLOURS[1], label="realised")
    axes.set_xlabel(table.labels.get(view.values[0], view.values[0]))
    axes.set_ylabel(table.labels.get(view.values[1], view.values[1]))
    axes.legend(edgecolor=LIGHT)
    grid(axes)
