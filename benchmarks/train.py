"""Time of each training of a finished sandbox study, beside its limit.

    python benchmarks/train.py [results/sandbox]

Seconds are those of whole jobs, imports included, as Snakemake measured them (the limit of a soup
is 5 s without imports, so its job is judged more strictly). `wall` depends on other jobs of the
machine, `CPU` hardly does; each is compared with the limit.
"""

import argparse
import csv
import sys
from pathlib import Path

LIMITS = {"reward_model": 60, "dpo": 60, "rloo": 120, "ppo": 120, "soup": 5}


def main(results: Path) -> None:
    """Print the table."""
    folders = [results / "benchmarks" / stage for stage in ("reward_model", "train")]
    files = [file for folder in folders for file in sorted(folder.glob("*.tsv"))]
    if not files:
        sys.exit(f"{results}: no trainings; expected the folder of a finished study (make run)")
    print(f"{'job':<32}  {'limit s':>7}  {'wall s':>7}  {'':<6}  {'CPU s':>7}")
    for file in files:
        reward_model = file.parent.name == "reward_model"
        limit = LIMITS["reward_model" if reward_model else file.stem.split("-")[0]]
        with file.open(encoding="utf-8") as stream:
            (row,) = csv.DictReader(stream, delimiter="\t")
        wall, cpu = float(row["s"]), float(row["cpu_time"])
        name = f"reward-{file.stem}" if reward_model else file.stem
        times = f"{wall:>7.1f}  {met(wall, limit):<6}  {cpu:>7.1f}  {met(cpu, limit)}"
        print(f"{name:<32}  {limit:>7}  {times}")


def met(seconds: float, limit: float) -> str:
    """Whether a time is within its limit, as one word."""
    return "met" if seconds <= limit else "missed"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time of each training, beside its limit.")
    parser.add_argument("results", nargs="?", type=Path, default=Path("results/sandbox"))
    main(parser.parse_args().results)
