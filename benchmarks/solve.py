"""Speed and correctness of the MAP solver, compared with the procedure as published.

Baseline: lam = exp(tau), Adam, learning rate 0.1, 150 steps, float32, joint objective, once with
PyTorch's automatic gradient (as published) and once with the gradient written in NumPy (which
avoids the overhead of the framework per step). Run as

    OMP_NUM_THREADS=1 python benchmarks/solve.py [--rows 10000000] [--without-stream]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from polyalign.map import solve
from polyalign.map.base import Base
from polyalign.map.batch import solve_many_on
from polyalign.map.diagnostics import assess_many
from polyalign.map.dual import solve_on
from polyalign.map.feasibility import feasibility_on
from polyalign.map.front import front
from polyalign.map.search import path

STEPS, RATE = 150, 0.1
PALETTES = 1000
LEVELS = ("mean+0.3sd", "q70")
STREAM_CHILD = """
import resource, sys, time
from polyalign.palettes.streamed import solve_parquet
values = ["a", "b", "c", "d", "e", "f"]
began, worked = time.perf_counter(), time.process_time()
solution = solve_parquet(sys.argv[1], dict.fromkeys(values, sys.argv[3]), scope=sys.argv[2])
seconds, worked = time.perf_counter() - began, time.process_time() - worked
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{seconds:.1f} s ({worked:.1f} s of CPU), {peak:.2f} GB, "
      f"{solution.iterations} Newton steps, KKT {solution.kkt:.0e}")
"""


def baseline_torch(rewards: np.ndarray, target: np.ndarray) -> np.ndarray:
    """lam (k,) of the published procedure, with automatic differentiation."""
    import torch

    table = torch.tensor(rewards, dtype=torch.float32)
    asked = torch.tensor(target, dtype=torch.float32)
    tau = torch.zeros(len(target), requires_grad=True)
    adam = torch.optim.Adam([tau], lr=RATE)
    for _ in range(STEPS):
        adam.zero_grad()
        lam = tau.exp()
        loss = torch.logsumexp(table @ lam, 0) - lam @ asked
        loss.backward()
        adam.step()
    return tau.exp().detach().numpy()


def baseline_numpy(rewards: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The same steps with the gradient written out, in float32."""
    table = np.ascontiguousarray(rewards.T.astype(np.float32))
    asked = target.astype(np.float32)
    tau, first, second = (np.zeros(len(target), dtype=np.float32) for _ in range(3))
    for step in range(1, STEPS + 1):
        lam = np.exp(tau)
        logits = lam @ table
        p = np.exp(logits - logits.max())
        gradient = (table @ p / p.sum() - asked) * lam
        first = np.float32(0.9) * first + np.float32(0.1) * gradient
        second = np.float32(0.999) * second + np.float32(0.001) * gradient**2
        root = np.sqrt(second / np.float32(1 - 0.999**step)) + np.float32(1e-8)
        tau -= np.float32(RATE) * (first / np.float32(1 - 0.9**step)) / root
    return np.exp(tau)


def synthetic(prompts: int, candidates: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated skew rewards (n, k) with variance between prompts, and the prompt index (n,)."""
    draws = np.random.default_rng(seed)
    mixing = np.eye(k) + 0.4 * draws.normal(size=(k, k)) / np.sqrt(k)
    between = 0.6 * draws.normal(size=(prompts, 1, k))
    within = draws.normal(size=(prompts, candidates, k)) + 0.3 * draws.gamma(
        2.0, size=(prompts, candidates, k)
    )
    rewards = (between + within @ mixing).reshape(-1, k)
    return rewards, np.repeat(np.arange(prompts), candidates)


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Shortest CPU time of a call: on one thread the time it takes where nothing else runs."""
    call()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


def one_palette(rewards: np.ndarray, target: np.ndarray) -> float:
    """Single solve against both baselines; returns the seconds of the published one."""
    solution = solve(rewards, target, scope="joint")
    base = Base(rewards, None, "joint")
    ours = {
        "the whole call": seconds(lambda: solve(rewards, target, scope="joint"), 200),
        "table prepared": seconds(lambda: solve_on(base, target), 200),
    }
    print(f"one palette, {rewards.shape[0]} x {rewards.shape[1]}, joint")
    for name, took in ours.items():
        print(f"  polyalign, {name}: {took * 1e3:.3f} ms, KKT {solution.kkt:.0e}")
    published = float("nan")
    for name, baseline in (("PyTorch", baseline_torch), ("NumPy", baseline_numpy)):
        try:
            theirs = seconds(lambda run=baseline: run(rewards, target), 20)
        except ImportError:
            print(f"  Adam, {name}: not installed")
            continue
        published = theirs if name == "PyTorch" else published
        error = np.abs(baseline(rewards, target) - solution.lam).max()
        times = " and ".join(f"{theirs / took:.0f}" for took in ours.values())
        print(
            f"  Adam, {name}: {theirs * 1e3:.3f} ms, {times} times ours, largest error of lam "
            f"{error:.2g}"
        )
    return published


def many_palettes(rewards: np.ndarray, published: float) -> None:
    """Batches of random palettes, and how often the baseline misjudges feasibility."""
    base = Base(rewards, None, "joint")
    highest = np.array([base.best(unit)[i] for i, unit in enumerate(np.eye(base.k))])
    for part in (1.0, 0.6):
        share = np.random.default_rng(3).random((PALETTES, base.k)) * part
        targets = base.raw(share * highest)
        took = seconds(lambda asked=targets: solve_many_on(Base(rewards, None, "joint"), asked), 3)
        batch = solve_many_on(base, targets)
        print(
            f"{PALETTES} random palettes, up to {part:.0%} of the way from base to maximum, in "
            f"batch: {took:.2f} s, {batch.feasible.mean():.1%} feasible, largest KKT "
            f"{np.nanmax(batch.kkt):.0e}; a palette {published / took * PALETTES:.0f} times faster "
            "than Adam (PyTorch)"
        )
        exact = np.array(
            [feasibility_on(base, t, list("abcdef")).status == "feasible" for t in targets]
        )
        agreed = (exact == batch.feasible).mean()
        print(f"  agreement with the linear programme: {agreed:.1%}")
        for name, baseline, count in (
            ("NumPy", baseline_numpy, PALETTES),
            ("PyTorch", baseline_torch, PALETTES // 5),
        ):
            try:
                lams = np.array([baseline(rewards, t) for t in targets[:count]], dtype=np.float64)
            except ImportError:
                continue
            misjudged(base, targets[:count], exact[:count], lams, name)


def misjudged(
    base: Base, targets: np.ndarray, exact: np.ndarray, lams: np.ndarray, name: str
) -> None:
    """How often what Adam ends with is taken for a solution, or not, against the truth `exact`."""
    finite = np.isfinite(lams).all(axis=1)
    levels = np.array([base.moments(lam * base.scale)[1] for lam in np.nan_to_num(lams)])
    shortfall = (base.standardise(targets) - levels).max(axis=1)
    called = {
        "any finite lam": finite,
        "levels within 0.01 sd": finite & (shortfall <= 0.01),
        "levels within 0.05 sd": finite & (shortfall <= 0.05),
    }
    for rule, solved in called.items():
        print(
            f"  Adam, {name}, {len(targets)} palettes, {rule} taken as solved: "
            f"{(solved & ~exact).sum()} of {(~exact).sum()} infeasible ones called solved, "
            f"{(~solved & exact).sum()} of {exact.sum()} feasible ones missed"
        )


def per_prompt() -> None:
    """Scope prompt at 2312 x 16 x 6."""
    rewards, groups = synthetic(2312, 16, 6, seed=2)
    base = Base(rewards, groups, "prompt")
    target = base.raw(np.array([0.3, 0.3, 0.3, 0.0, 0.0, 0.0]))
    took = seconds(lambda: solve(rewards, target, groups=groups, scope="prompt"), 10)
    programme = seconds(lambda: feasibility_on(base, target, list("abcdef")), 3)
    # Half a standard deviation beyond the furthest point of the same direction.
    beyond = target + (feasibility_on(base, target, list("abcdef")).slack + 0.5) * base.scale
    impossible = seconds(lambda: feasibility_on(base, beyond, list("abcdef")), 3)
    assert feasibility_on(base, beyond, list("abcdef")).status == "infeasible"
    solution = solve(rewards, target, groups=groups, scope="prompt")
    print(
        f"per prompt, 2312 x 16 x 6: solve {took * 1e3:.1f} ms (KKT {solution.kkt:.0e}, "
        f"{solution.verdict}), feasibility {programme:.2f} s, of an infeasible target "
        f"{impossible:.2f} s"
    )
    shares = np.linspace(0.0, 2.0, 25)
    walk = seconds(lambda: path(base, target, shares), 1)
    edge = seconds(lambda: front(base, [0, 1], 0.3, points=33), 1)
    print(f"  path of 25 points {walk:.2f} s, front of 33 points {edge:.2f} s")
    rewards, groups = synthetic(1000, 16, 6, seed=5)
    other = Base(rewards, groups, "prompt")
    lams = np.random.default_rng(6).random((100, 6))
    took = seconds(lambda: assess_many(other, lams), 3)
    print(f"assessment of 100 lam, 1000 x 16 x 6: {took:.2f} s")


def streamed(rows: int) -> None:
    """Out of core: time and peak memory in its own process, for three sizes of the table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list("abcdef")
    schema = pa.schema([("prompt_id", pa.string()), *((name, pa.float64()) for name in names)])
    for scope, candidates in (("joint", 1), ("prompt", 16)):
        for count in (rows // 10, rows // 4, rows):
            with tempfile.TemporaryDirectory() as folder:
                table = Path(folder) / "rewards.parquet"
                with pq.ParquetWriter(table, schema) as writer:
                    for start in range(0, count, 480_000):
                        prompts = min(480_000, count - start) // candidates
                        part, groups = synthetic(prompts, candidates, 6, seed=start + 1)
                        ids = [f"{start // candidates + g:012d}" for g in groups]
                        writer.write_table(pa.table([ids, *part.T], schema=schema))
                for level in LEVELS:
                    report = subprocess.run(
                        [sys.executable, "-c", STREAM_CHILD, str(table), scope, level],
                        check=True,
                        capture_output=True,
                        text=True,
                    )
                    print(
                        f"out of core, {count} x 6, scope {scope}, all at {level}: "
                        f"{report.stdout.strip()}"
                    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the streamed table")
    parser.add_argument("--without-stream", action="store_true", help="skip the streamed table")
    options = parser.parse_args()
    rewards, _ = synthetic(2312, 1, 6, seed=1)
    base = Base(rewards, None, "joint")
    published = one_palette(rewards, base.raw(np.array([0.7, 0.6, 0.7, 0.0, 0.0, 0.0])))
    many_palettes(rewards, published)
    per_prompt()
    if not options.without_stream:
        streamed(options.rows)


if __name__ == "__main__":
    main()
