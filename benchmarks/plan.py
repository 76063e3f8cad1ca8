"""Time and memory of planning as a study grows: `python benchmarks/plan.py [policies …]`.

Each study has 10 values, a pool in 20 scatter items, up to 100 palettes with a decoded policy each,
and the given number of trained policies, without any results. More runs plan one λ, and one figure
of one policy. The first line is the sandbox study. `ms/job` is the CPU time beyond that of the
smallest study, per job beyond the jobs of the smallest study. At the end, the graphs of the study
with 100 policies.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
VALUES, SHARDS, PALETTES = 10, 20, 100
POLICIES = (10, 100, 300, 600)
ALONE = {
    "λ": "results/planned/palettes/palette-0.json",
    "figure": "results/planned/plots/reward_histograms/map-d/palette-0.pdf",
}
PLAN = ("--dry-run", "--quiet", "rules", "host")
GRAPHS = ("--dag", "--rulegraph", "--filegraph")
DRAWN = 100


@dataclass(frozen=True)
class Run:
    """One plan: its jobs, seconds of wall clock and of processor, and memory in GB."""

    jobs: int
    wall: float
    cpu: float
    memory: float


def main(policies: list[int]) -> None:
    """Print the table."""
    alone = "".join(f"  {f'one {what}: jobs':>16}  {'wall s':>6}  {'CPU s':>6}" for what in ALONE)
    head = f"{'policies':>8}  {'jobs':>6}  {'wall s':>6}  {'CPU s':>6}  {'GB':>5}  {'ms/job':>6}"
    print(head + alone)
    with tempfile.TemporaryDirectory() as folder:
        sandbox = planned(Path(folder), ROOT / "config.yaml", "all")
        print(f"{'sandbox':>8}  {_numbers(sandbox)}")
        smallest = None
        for count in policies:
            config = written(Path(folder), count)
            whole = planned(Path(folder), config, "all")
            ones = [planned(Path(folder), config, target) for target in ALONE.values()]
            smallest = smallest or whole
            more = whole.jobs - smallest.jobs
            each = f"{1000 * (whole.cpu - smallest.cpu) / more:.2f}" if more else ""
            alone = "".join(f"  {one.jobs:>16}  {one.wall:>6.1f}  {one.cpu:>6.1f}" for one in ones)
            print(f"{count:>8}  {_numbers(whole)}  {each:>6}{alone}")
        for graph in GRAPHS:
            drawn = planned(Path(folder), written(Path(folder), DRAWN), "all", (graph,))
            print(f"{graph} of {DRAWN} policies: {drawn.wall:.1f} s, {drawn.memory:.2f} GB")


def study(policies: int) -> dict[str, object]:
    """A study of so many policies, each trained towards a separate palette."""
    values = [f"value-{i}" for i in range(VALUES)]
    palettes = [f"palette-{i}" for i in range(min(policies, PALETTES))]
    pairs = {"path": "org/pairs"}
    scored = {"kind": "sequence_classifier"}
    return {
        "study": "planned",
        "model": {"source": "org/model-7b"},
        "prompts": {"sources": [{"path": "org/prompts"}], "template": "Q: {prompt} A:"},
        "sampling": {"shards": SHARDS},
        "values": {name: {**scored, "model": f"org/{name}"} for name in values},
        "palettes": {palette: dict.fromkeys(values, "q60") for palette in palettes},
        "preferences": {"pairs": pairs},
        "policies": {
            "map-d": {"palettes": palettes},
            "dpo": {
                "beta": [round(0.001 * (i + 1), 3) for i in range(policies)],
                "mixtures": {"pairs": {"pairs": 1.0}},
            },
        },
        "plots": ["heat_map", "pareto"],
    }


def written(folder: Path, policies: int) -> Path:
    """The config file of the study of so many policies."""
    config = folder / f"{policies}.yaml"
    config.write_text(yaml.safe_dump(study(policies), sort_keys=False))
    return config


def planned(folder: Path, config: Path, target: str, options: tuple[str, ...] = PLAN) -> Run:
    """Plan `target` of a study without results; the number of jobs of a graph is 0.

    Raises:
        SystemExit: if Snakemake cannot plan it; with the message of Snakemake.
    """
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--configfile", str(config)),
        *("--cores", "1", *options, "--", target),
    ]
    log = folder / "printed"
    start = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(log.read_text())
    totals = [line for line in log.read_text().splitlines() if line.startswith("total")]
    jobs = int(totals[0].split()[1]) if totals else 0
    return Run(jobs, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)


def _numbers(run: Run) -> str:
    return f"{run.jobs:>6}  {run.wall:>6.1f}  {run.cpu:>6.1f}  {run.memory:>5.2f}"


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or list(POLICIES))
