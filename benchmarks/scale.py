"""Time and memory of the stages that load no model, as the pool of candidates grows.

A pool of 10³ to 10⁶ candidates (16 a prompt, 6 values, 4 scatter items, half of the prompts in the
test split) is written as generation and annotation would write it. Then the script of each stage
runs in a process of its own, as in a workflow: the scores are joined, λ is solved for a palette
that raises three values, candidates are chosen, levels and win rates with 1,000 resamples taken.
`µs each` is the CPU time beyond that of the smallest pool, per candidate more: it stays where a
stage is linear. Run as

    OMP_NUM_THREADS=1 python benchmarks/scale.py [--largest 1000000]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.keys import split_of
from polyalign.data.specs import read_spec
from polyalign.data.tables import write_table

ROOT = Path(__file__).parents[1]
CANDIDATES, SHARDS = 16, 4
VALUES = list("abcdef")
LEVELS = {"a": "q60", "b": "mean+0.2sd", "c": "q65", "d": "mean", "e": "mean", "f": "mean"}
SIZES = (1_000, 10_000, 100_000, 1_000_000)
CHILD = """
import json, resource, runpy, sys, time
from pathlib import Path
from polyalign.runtime.job import Job
asked = json.loads(sys.argv[1])
main = runpy.run_path(asked["script"])["main"]
inputs = {name: [Path(path) for path in paths] for name, paths in asked["inputs"].items()}
outputs = {name: Path(path) for name, path in asked["outputs"].items()}
began = time.perf_counter()
main(Job(asked["settings"], inputs, outputs, None), **asked["settings"])
print(json.dumps({
    "wall": time.perf_counter() - began,
    "cpu": time.process_time(),
    "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
}))
"""


@dataclass(frozen=True)
class Took:
    """One stage: seconds in its script, CPU seconds of its whole process, and its peak in GB."""

    wall: float
    cpu: float
    memory: float


def write_pool(folder: Path, size: int) -> tuple[list[Path], list[Path]]:
    """The shards of samples and of scores of a pool, as the workflow writes them."""
    prompts = size // CANDIDATES
    draws = np.random.default_rng(size)
    texts = np.array([f"What would you do about number {number}?" for number in range(prompts)])
    of = np.repeat(np.arange(prompts), CANDIDATES)
    split = np.array(["test" if split_of(text, 0.5) == "test" else "fit" for text in texts])
    frame = pd.DataFrame(
        {
            "prompt_id": [f"{number:012d}" for number in of],
            "candidate": np.tile(np.arange(CANDIDATES), prompts),
            "prompt": texts[of],
            "response": [
                f"I would think about it in the way of number {row}." for row in range(len(of))
            ],
            "split": split[of],
            "n_tokens": draws.integers(8, 48, len(of)),
            "truncated": False,
            "end_token": "",
            "logprob": -draws.gamma(20.0, size=len(of)),
        }
    )
    frame["logprob_base"] = frame["logprob"]
    mixing = np.eye(len(VALUES)) + 0.2 * draws.normal(size=(len(VALUES), len(VALUES)))
    scores = (
        draws.normal(size=(prompts, len(VALUES)))[of] + draws.normal(size=(len(of), 6))
    ) @ mixing
    samples, scored = [], []
    for shard, rows in enumerate(np.array_split(np.arange(len(of)), SHARDS)):
        part = frame.iloc[rows]
        samples.append(folder / f"samples_{shard}.parquet")
        write_table(part, samples[-1], {"spec": {"made": "benchmark"}})
        for number, value in enumerate(VALUES):
            path = folder / f"{value}_{shard}.parquet"
            keyed = part[["prompt_id", "candidate"]].assign(**{value: scores[rows, number]})
            write_table(keyed, path, {"value": value, "spec": {"made": "benchmark"}})
            scored.append(path)
    return samples, scored


def stages(folder: Path, samples: list[Path], scores: list[Path]) -> dict[str, dict[str, Any]]:
    """Stage → its script's settings and files."""
    pool, base, chosen = (folder / f"{name}.parquet" for name in ("pool", "base", "chosen"))
    lam = folder / "palette.json"
    limits = {"on_infeasible": "adjust"}
    return {
        "merge": {
            "settings": {"values": VALUES},
            "inputs": {"samples": samples, "scores": scores},
            "outputs": {"rewards": pool},
        },
        "solve": {
            "settings": {
                "palette": "p", "levels": LEVELS, "scope": "prompt", "if_infeasible": limits,
            },
            "inputs": {"pool": [pool]},
            "outputs": {"lam": lam},
        },
        "decode": {
            "settings": {
                "family": "map-d", "policy": "map-d/p", "seed": 1, "settings": {"draws": 1},
            },
            "inputs": {"pool": [pool], "palette": [lam]},
            "outputs": {"rewards": chosen},
        },
        "levels": {
            "settings": {"values": VALUES, "max_new_tokens": 48, "bootstrap": 1000, "seed": 1},
            "inputs": {"rewards": [chosen], "base": [base]},
            "outputs": {"levels": folder / "levels.csv"},
        },
        "winrate": {
            "settings": {"values": VALUES, "bootstrap": 1000, "seed": 1},
            "inputs": {"rewards": [chosen], "opponent": [base], "pool": [pool]},
            "outputs": {"winrate": folder / "winrate.csv"},
        },
    }  # fmt: skip


def took(stage: str, asked: dict[str, Any]) -> Took:
    """Run the script of a stage in a process of its own."""
    script = {"script": str(ROOT / f"workflow/scripts/{stage}.py"), **asked}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(script, default=str)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{stage} failed:\n{done.stderr}")
    return Took(**json.loads(done.stdout.splitlines()[-1]))


def measured(size: int) -> dict[str, Took]:
    """All stages on a pool of one size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {}
        for stage, asked in stages(folder, *write_pool(folder, size)).items():
            found[stage] = took(stage, asked)
            if stage == "merge":
                # The base model's own answers of an evaluation: four a test prompt.
                pool = pd.read_parquet(folder / "pool.parquet")
                own = pool[(pool["split"] == "test") & (pool["candidate"] < 4)]
                record = {"spec": read_spec(folder / "pool.parquet")}
                write_table(own, folder / "base.parquet", record)
        return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="candidates")
    largest = parser.parse_args().largest
    sizes = [size for size in SIZES if size <= largest]
    print(
        f"{'candidates':>10}  {'stage':<8}  {'wall s':>7}  {'CPU s':>7}  {'GB':>5}  {'µs each':>7}"
    )
    smallest: dict[str, Took] = {}
    for size in sizes:
        found = measured(size)
        smallest = smallest or found
        for stage, one in found.items():
            more = one.cpu - smallest[stage].cpu
            each = f"{1e6 * more / (size - sizes[0]):.1f}" if size > sizes[0] else ""
            line = f"{one.wall:>7.2f}  {one.cpu:>7.2f}  {one.memory:>5.2f}  {each:>7}"
            print(f"{size:>10}  {stage:<8}  {line}", flush=True)
        total = sum(one.wall for one in found.values())
        peak = max(one.memory for one in found.values())
        print(f"{size:>10}  {'all':<8}  {total:>7.2f}  {'':>7}  {peak:>5.2f}", flush=True)


if __name__ == "__main__":
    main()
