"""`--plot`: what a command on a table found, drawn by the figures of a study's report."""

import argparse
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from polyalign.cli.table.reading import Table
    from polyalign.map.dual import Limits
    from polyalign.map.problem import Problem
    from polyalign.map.search import RandomPalettes
    from polyalign.map.sequential import Rounds

WAY = "the way from the base level to the palette and beyond"
PICTURES = (".pdf", ".png", ".svg")
ASKED = "palette"
"""What a figure calls the palette of `--target`."""


def add_plot(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--plot`; `what` says what it draws."""
    parser.add_argument(
        "--plot", metavar="FILE", type=_picture, help=f"draw {what}, as .pdf, .png or .svg"
    )


def _picture(path: str) -> str:
    if Path(path).suffix not in PICTURES:
        raise argparse.ArgumentTypeError(f"{path}: expected a .pdf, .png or .svg file; rename it")
    return path


def draw_front(path: str, table: "Table", kl: float, points: int) -> None:
    """The exact front of each pair of the values, and the base level."""
    import pandas as pd

    from polyalign.map.front import front

    names = table.names
    fronts = []
    for across, up in combinations(range(len(names)), 2):
        found = front(table.base, [across, up], kl, points=points)
        levels = _columns(names, level=found.levels)
        fronts.append(levels.assign(across=names[across], up=names[up], budget=kl))
    _draw(path, "pareto", table, fronts=pd.concat(fronts))


def draw_path(path: str, table: "Table | Problem", target: "np.ndarray", limits: "Limits") -> None:
    """From the base level to the target (k,) and beyond it: verdicts, support and KL."""
    import numpy as np
    import pandas as pd

    from polyalign.map.search import path as way
    from polyalign.study.sections import Explore

    explore = Explore()
    shares = np.linspace(0.0, explore.beyond, explore.steps + 1)
    found = way(table.base, target, shares, limits)
    paths = pd.DataFrame(
        {
            "palette": ASKED,
            "share": found.share,
            "verdict": found.verdicts,
            "kl": found.kl,
            "ess_share": found.ess / table.base.n_samples,
            "max_weight": found.max_weight,
            "supportable": found.supportable,
            "feasible": found.feasible,
        }
    )
    _draw(path, "palette_path", table, paths=paths)


def draw_rounds(
    path: str,
    table: "Table | Problem",
    target: "np.ndarray",
    rounds: "Rounds",
    at_once: "np.ndarray",
) -> None:
    """Levels after each round, and those (k,) of the simultaneous solution."""
    import numpy as np
    import pandas as pd

    parts = [
        pd.DataFrame(
            {
                "palette": ASKED,
                "round": turn,
                "value": table.names,
                "target": target,
                "level": level,
                "simultaneous": at_once,
                "spread": np.abs(table.base.scale),
            }
        )
        for turn, level in enumerate([table.base.center, *rounds.levels])
    ]
    _draw(path, "sequential", table, rounds=pd.concat(parts))


def draw_random(path: str, table: "Table", drawn: "RandomPalettes") -> None:
    """λ of the random palettes that are kept, beside λ drawn at random."""
    import pandas as pd

    parts = [
        _columns(table.names, weight=lam * table.base.scale).assign(kind=kind)
        for kind, lam in (
            ("palette", drawn.batch.lam[drawn.kept]),
            ("reference", drawn.reference),
        )
    ]
    found = pd.concat(parts).assign(n_values=len(table.names), share=drawn.success)
    _draw(path, "feasible_lambda", table, random=found)


def _columns(names: list[str], **arrays: "np.ndarray") -> "pd.DataFrame":
    from polyalign.palettes.sweeps.bases import columns

    return columns(names, **arrays)


def _draw(path: str, figure: str, table: "Table | Problem", **tables: Any) -> None:
    import pandas as pd

    from polyalign import plots
    from polyalign.families import BASE
    from polyalign.plots.data import FigureData

    center = table.base.center
    levels = pd.DataFrame({"mean": center, "sd": abs(table.base.scale)}, index=table.names)
    data = FigureData(
        labels={name: name for name in table.names},
        units={},
        policies={BASE.name: None},
        levels={BASE.name: levels},
        tables=tables,
    )
    try:
        plots.module(figure).draw(data, [Path(path)])
    except OSError as fault:
        raise InputError(
            f"--plot {path}: cannot be written ({fault.strerror}); name another"
        ) from fault
