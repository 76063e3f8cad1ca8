"""Moves of the palette explorer: what one takes to compute, and to be answered with 20 at once.

The tables have 2312 prompts with 1 candidate (scope joint) and with 16 (scope prompt), 6 values,
random rewards. The first column is the wall time of the library's part of a move (verdict, λ with
intervals, quantiles, HTML), the second that of what follows it (ends of sliders, front, budget).
The others are moves over HTTP of 20 explorers at once: median and 95th percentile, and the server's
CPU time. An explorer moves once every `--pause` seconds, and never before the last move is
answered, as the page's script does; with 0 all drag without a pause. What a browser draws is not in
it. The clients are threads of another process on the same machine. Run as

    OMP_NUM_THREADS=1 python benchmarks/app.py [--moves 20] [--pause 0]
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd

from polyalign.app import exploring, shown
from polyalign.app.exploring import Problem
from polyalign.app.moving import MOVED, PATH
from polyalign.app.tables import read_tables

PROMPTS, VALUES, EXPLORERS = 2312, 6, 20
PORT = "7899"


def main() -> None:
    """Print one line for each table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--moves", type=int, default=20, help="moves of each explorer")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds from move to move")
    options = parser.parse_args()
    moves = options.moves
    print("table            move ms   then ms   with 20 at once: median ms   95 % ms   CPU ms")
    with tempfile.TemporaryDirectory() as folder:
        for scope, candidates in (("joint", 1), ("prompt", 16)):
            path = Path(folder) / f"{candidates}.parquet"
            rewards(candidates).to_parquet(path)
            (table,) = read_tables([str(path)])
            problem = table.problem(scope, table.names)
            alone = median(lambda place, p=problem: move(p, place), moves)
            after = median(lambda place, p=problem: details(p, place), 3)
            half, most, cpu = together(path, problem, moves, options.pause)
            name = f"{PROMPTS} × {candidates} × {VALUES}"
            print(
                f"{name:15} {alone:8.1f} {after:9.0f} {half:28.0f} {most:9.0f} {cpu:8.1f}",
                flush=True,
            )


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


def together(path: Path, problem: Problem, moves: int, pause: float) -> tuple[float, ...]:
    """Median and 95th percentile (ms) of moves of 20 explorers, and the server's CPU ms per move.

    Each explorer sends its next move when the last one is answered, as the page's script does, and
    at most one per `pause` seconds.
    """
    command = [sys.executable, "-m", "polyalign", "app", str(path), "--port", PORT]
    low, high, _ = problem.ends(0, problem.base.center[0] + problem.base.scale[0], "raw")

    def explore(number: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", int(PORT))
        taken, query = [], ""
        for i in range(moves):
            position = low + (high - low) * 0.3 * (i + number / EXPLORERS) / moves
            moved = urlencode({MOVED: f"{problem.names[0]}={position}"})
            start = time.perf_counter()
            connection.request("GET", f"{PATH}?{query}&{moved}")
            query = json.load(connection.getresponse())["query"]
            taken.append(time.perf_counter() - start)
            time.sleep(max(0.0, pause - taken[-1]))
        return taken

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            before = cpu_seconds(process.pid)
            with ThreadPoolExecutor(EXPLORERS) as pool:
                taken = [one for part in pool.map(explore, range(EXPLORERS)) for one in part]
            spent = cpu_seconds(process.pid) - before
        finally:
            process.terminate()
    half, most = np.quantile(taken, [0.5, 0.95])
    return float(1000 * half), float(1000 * most), 1000 * spent / len(taken)


def cpu_seconds(process: int) -> float:
    """CPU seconds of a process so far, in user and system mode."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
