"""Seconds to draw all figures of a finished study from its tables, and the slowest five.

Every figure reads the tables that it needs, draws a PDF and a PNG, and says its finding, as its job
does; what a job needs to start is not counted. Run as

    OMP_NUM_THREADS=1 python benchmarks/figures.py [results/sandbox]
"""

import argparse
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from polyalign import config
from polyalign.config.model import Study
from polyalign.plots import data

SLOWEST = 5
SHARED = {
    "levels": "policies/*/*/levels.csv",
    "winrate": "policies/*/*/winrate.csv",
    "rewards": "policies/*/*/rewards.parquet",
    "pool": "policies/base/pool/rewards.parquet",
    "palettes": "palettes/*.json",
    "training": "models/*/*.csv",
    "jobs": "explore/jobs.dot",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, default=Path("results/sandbox"))
    results = parser.parse_args().results
    study = config.load(results / "config.json")
    import_module("matplotlib.figure")  # once a job as well, but no figure's fault
    seconds = {name: drawn(study, results, name) for name in study.plots}
    print(f"{sum(seconds.values()):.1f} s for {len(seconds)} figures; the slowest:")
    for name in sorted(seconds, key=seconds.__getitem__, reverse=True)[:SLOWEST]:
        print(f"{seconds[name]:5.1f} s  {name}")


def drawn(study: Study, results: Path, name: str) -> float:
    """Seconds to draw a figure of the study."""
    module, _, policy = name.partition("/")
    figure = import_module(f"polyalign.plots.{module}")
    inputs = {need: files(study, results, need) for need in figure.NEEDS}
    began = time.perf_counter()
    shown = data.load(
        labels=config.labels(study).items(),
        units={value: spec.unit for value, spec in study.values.items()},
        policies=[("base/base", None), *((name, made.palette) for name, made in variants(study))],
        inputs=inputs,
        policy=policy or data.BASE,
        **settings(study, getattr(figure, "SETTINGS", ())),
    )
    with tempfile.TemporaryDirectory() as folder:
        figure.draw(shown, [Path(folder) / f"figure.{kind}" for kind in ("pdf", "png")])
    figure.finding(shown)
    return time.perf_counter() - began


def files(study: Study, results: Path, need: str) -> list[Path]:
    """The files of one of the tables that a figure needs."""
    if need not in SHARED:
        return [
            path for room in ("tables", "explore") for path in results.glob(f"{room}/{need}.csv")
        ]
    # The pool is no policy, and averages of models have no training.
    averaged = [results / f"models/{name}.csv" for name, made in variants(study) if made.policies]
    found = sorted(set(results.glob(SHARED[need])) - set(averaged))
    return [path for path in found if need == "pool" or path.parent.name != "pool"]


def variants(study: Study) -> list[tuple[str, Any]]:
    """Policies with how they are made."""
    return list(config.policies(study).items())


def settings(study: Study, names: tuple[str, ...]) -> dict[str, Any]:
    """What a figure shows of the study beside its tables."""
    known = {
        "chosen": config.chosen(study),
        "opponent": study.evaluation.opponent,
        "evaluate_only": study.evaluation.evaluate_only,
        "mixtures": {
            name: made.settings.get("mixture") or made.settings.get("weights")
            for name, made in variants(study)
            if made.preferences or made.policies
        },
        "log_probabilities": config.log_probabilities(study),
    }
    return {name: known[name] for name in names}


if __name__ == "__main__":
    main()
