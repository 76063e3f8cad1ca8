"""Seconds to draw all figures of a finished study from its tables, and the five slowest figures.

Every figure reads the tables that it needs, draws a PDF and a PNG, and writes its finding, as its
job does; the start of a job is not counted. Run as

    OMP_NUM_THREADS=1 python benchmarks/figures.py [results/sandbox]
"""

import argparse
import tempfile
import time
from importlib import import_module
from pathlib import Path

from polyalign import plots
from polyalign.plan import stages
from polyalign.plots import data
from polyalign.study import Study, load

SLOWEST = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, default=Path("results/sandbox"))
    results = parser.parse_args().results
    study = load(results / "config.json")
    import_module("matplotlib.figure")  # each job imports it too, but it is not part of drawing
    seconds = {name: drawn(study, name) for name in study.plots}
    print(f"{sum(seconds.values()):.1f} s for {len(seconds)} figures; the slowest:")
    for name in sorted(seconds, key=seconds.__getitem__, reverse=True)[:SLOWEST]:
        print(f"{seconds[name]:5.1f} s  {name}")


def drawn(study: Study, name: str) -> float:
    """Seconds to draw a figure of the study, in the folder that its paths start at."""
    told = stages.STAGES["plot"].settings(study, {"figure": name})
    files = stages.STAGES["plot"].inputs(study, {"figure": name})
    inputs = {need: [Path(path) for path in paths] for need, paths in files.items()}
    began = time.perf_counter()
    shown = data.load(**told["shown"], policy=told["policy"], inputs=inputs)
    figure = plots.module(name)
    with tempfile.TemporaryDirectory() as folder:
        figure.draw(shown, [Path(folder) / f"figure.{kind}" for kind in ("pdf", "png")])
    figure.finding(shown)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
