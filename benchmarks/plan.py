"""Time and memory of a dry run as a study grows: `python benchmarks/plan.py [policies …]`.

Each study has 10 values, a pool in 20 scatter items, up to 100 palettes with a decoded policy each,
and so many trained policies; nothing is made yet. A second run of each plans one λ alone. The first
line is the sandbox study. `ms/job` is processor time beyond that of the smallest study, for each
job beyond its jobs.
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
LAMBDA = "results/planned/palettes/palette-0.json"


@dataclass(frozen=True)
class Run:
    """One dry run: its jobs, seconds of wall clock and of processor, and memory in GB."""

    jobs: int
    wall: float
    cpu: float
    memory: float


def main(policies: list[int]) -> None:
    """Print the table."""
    print(
        f"{'policies':>8}  {'jobs':>6}  {'wall s':>6}  {'CPU s':>6}  {'GB':>5}  {'ms/job':>6}"
        f"  {'one λ: jobs':>12}  {'wall s':>6}  {'CPU s':>6}"
    )
    with tempfile.TemporaryDirectory() as folder:
        sandbox = dry_run(Path(folder), ROOT / "config.yaml", "all")
        print(f"{'sandbox':>8}  {_numbers(sandbox)}")
        smallest = None
        for count in policies:
            config = Path(folder) / f"{count}.yaml"
            config.write_text(yaml.safe_dump(study(count), sort_keys=False))
            whole = dry_run(Path(folder), config, "all")
            one = dry_run(Path(folder), config, LAMBDA)
            smallest = smallest or whole
            more = whole.jobs - smallest.jobs
            each = f"{1000 * (whole.cpu - smallest.cpu) / more:.2f}" if more else ""
            print(
                f"{count:>8}  {_numbers(whole)}  {each:>6}"
                f"  {one.jobs:>12}  {one.wall:>6.1f}  {one.cpu:>6.1f}"
            )


def study(policies: int) -> dict[str, object]:
    """A study of so many policies, each trained towards a palette of its own."""
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
        "plots": ["radar", "winrate_scatter"],
    }


def dry_run(folder: Path, config: Path, target: str) -> Run:
    """Plan `target` of a study of which nothing is made yet.

    Raises:
        SystemExit: if Snakemake cannot plan it; the message is its own.
    """
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--configfile", str(config)),
        *("--dry-run", "--quiet", "rules", "host", "--cores", "1", "--", target),
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
