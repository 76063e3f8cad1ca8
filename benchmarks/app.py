"""Moves of the palette explorer: what one takes to compute, and to be answered with 20 at once.

The tables have 2312 prompts with 1 candidate (scope joint) and with 16 (scope prompt), 6 values,
random rewards. The first column is the wall time of the library's part of a move (verdict, λ with
intervals, quantiles, HTML), the second that of what follows it (ends of sliders, front, budget).
The third is a move over HTTP while 20 explorers move all the time, each with a session of its own:
median and 95th percentile. The clients are threads of another process on the same machine. Run as

    OMP_NUM_THREADS=1 python benchmarks/app.py [--moves 20]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from gradio_client import Client

from polyalign.app import exploring, shown
from polyalign.app.exploring import Problem
from polyalign.app.tables import read_tables

PROMPTS, VALUES, EXPLORERS = 2312, 6, 20
PORT = "7899"


def main() -> None:
    """Print one line for each table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--moves", type=int, default=20, help="moves of each explorer")
    moves = parser.parse_args().moves
    print("table            move ms   then ms   with 20 at once: median ms   95 % ms")
    with tempfile.TemporaryDirectory() as folder:
        for scope, candidates in (("joint", 1), ("prompt", 16)):
            path = Path(folder) / f"{candidates}.parquet"
            rewards(candidates).to_parquet(path)
            (table,) = read_tables([str(path)])
            problem = table.problem(scope, table.names)
            alone = median(lambda place, p=problem: move(p, place), moves)
            after = median(lambda place, p=problem: details(p, place), 3)
            half, most = together(path, problem, moves)
            name = f"{PROMPTS} × {candidates} × {VALUES}"
            print(f"{name:15} {alone:8.1f} {after:9.0f} {half:28.0f} {most:9.0f}", flush=True)


def rewards(candidates: int) -> pd.DataFrame:
    """A table of correlated normal rewards."""
    draws = np.random.default_rng(1)
    mix = np.eye(VALUES) + 0.3 * draws.normal(size=(VALUES, VALUES))
    numbers = draws.normal(size=(PROMPTS * candidates, VALUES)) @ mix
    table = pd.DataFrame(numbers, columns=[f"value{i}" for i in range(VALUES)])
    table.insert(0, "prompt", [f"p{i // candidates}" for i in range(len(table))])
    return table


def palette(problem: Problem, place: float) -> dict[str, str]:
    """A palette that is supported; one value is at a share `place` of a third of a deviation."""
    levels = dict.fromkeys(problem.names, "mean+0.1sd")
    return {**levels, problem.names[0]: f"mean+{0.3 * place:.3f}sd"}


def move(problem: Problem, place: float) -> None:
    """What a move computes and shows."""
    found = problem.move(palette(problem, place))
    shown.verdict_html(found)
    shown.numbers_html(problem, found, {})


def details(problem: Problem, place: float) -> None:
    """What follows a move."""
    found = problem.move(palette(problem, place))
    problem.highest(found)
    exploring.front_of(problem, found, *problem.names[:2])
    exploring.candidates_sentence(problem, found)


def median(action: Callable[[float], None], times: int) -> float:
    """Median milliseconds of an action at several places."""
    taken = []
    for place in np.linspace(0.1, 1.0, times):
        start = time.perf_counter()
        action(float(place))
        taken.append(1000 * (time.perf_counter() - start))
    return float(np.median(taken))


def together(path: Path, problem: Problem, moves: int) -> tuple[float, float]:
    """Median and 95th percentile, in milliseconds, of moves of 20 explorers at once."""
    command = [sys.executable, "-m", "polyalign", "app", str(path), "--port", PORT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().split()[2]
            low, high, _ = problem.ends(0, problem.base.center[0] + problem.base.scale[0], "raw")

            def explore(number: int) -> list[float]:
                client = Client(address, verbose=False, analytics_enabled=False)
                client.predict(api_name="/opened")
                taken = []
                for i in range(moves):
                    position = low + (high - low) * 0.3 * (i + number / EXPLORERS) / moves
                    start = time.perf_counter()
                    client.predict(position, api_name="/move_0")
                    taken.append(1000 * (time.perf_counter() - start))
                return taken

            with ThreadPoolExecutor(EXPLORERS) as pool:
                taken = [one for part in pool.map(explore, range(EXPLORERS)) for one in part]
        finally:
            process.terminate()
    return float(np.median(taken)), float(np.quantile(taken, 0.95))


if __name__ == "__main__":
    main()
