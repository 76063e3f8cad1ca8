"""Speed and correctness of the MAP solver against the procedure as published.

Baseline: lam = exp(tau), Adam, learning rate 0.1, 150 steps, float32, joint objective, once with
PyTorch's automatic gradient (as published) and once with its gradient written out in NumPy (which
spares it the framework's cost a step). Run as

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
from polyalign.map.batch import solve_many
from polyalign.map.feasibility import feasibility_on

STEPS, RATE = 150, 0.1
STREAM_CHILD = """
import json, resource, sys, time
from polyalign.map.stream import solve_parquet
values = ["a", "b", "c", "d", "e", "f"]
began = time.perf_counter()
solution = solve_parquet(sys.argv[1], dict.fromkeys(values, "mean+0.3sd"), scope=sys.argv[2])
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{seconds:.1f} s, {peak:.2f} GB, {solution.iterations} passes of Newton, "
      f"KKT {solution.kkt:.0e}, {solution.scope}")
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
    """Median wall-clock time of a call."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def one_palette(rewards: np.ndarray, target: np.ndarray) -> None:
    """Single solve against both baselines."""
    solution = solve(rewards, target, scope="joint")
    ours = seconds(lambda: solve(rewards, target, scope="joint"), 200)
    print(f"one palette, {rewards.shape[0]} x {rewards.shape[1]}, joint")
    print(f"  polyalign        {ours * 1e3:8.3f} ms, KKT {solution.kkt:.0e}")
    for name, baseline in (("Adam (PyTorch)", baseline_torch), ("Adam (NumPy)", baseline_numpy)):
        try:
            theirs = seconds(lambda run=baseline: run(rewards, target), 10)
        except ImportError:
            print(f"  {name:16} not installed")
            continue
        lam = baseline(rewards, target)
        error = np.abs(lam - solution.lam).max()
        print(
            f"  {name:16} {theirs * 1e3:8.3f} ms, {theirs / ours:5.0f} times ours, "
            f"largest error of lam {error:.2g}"
        )


def many_palettes(rewards: np.ndarray) -> None:
    """A batch of random palettes, and how often the baseline misjudges feasibility."""
    base = Base(rewards, None, "joint")
    highest = np.array([base.best(unit)[i] for i, unit in enumerate(np.eye(base.k))])
    share = np.random.default_rng(3).random((1000, base.k)) * 0.6
    targets = base.raw(share * highest)
    took = seconds(lambda: solve_many(rewards, targets, scope="joint"), 3)
    batch = solve_many(rewards, targets, scope="joint")
    print(f"1000 random palettes in batch: {took:.2f} s, {batch.feasible.mean():.1%} feasible")
    exact = np.array(
        [feasibility_on(base, t, list("abcdef")).status == "feasible" for t in targets[:200]]
    )
    print(
        "  agreement with the linear programme on 200: "
        f"{(exact == batch.feasible[:200]).mean():.1%}"
    )
    lams = np.array([baseline_numpy(rewards, t) for t in targets[:200]], dtype=np.float64)
    finite = np.isfinite(lams).all(axis=1)
    print(
        f"  baseline, any finite lam taken as solved: {(finite & ~exact).sum()} of the "
        f"{(~exact).sum()} infeasible ones called solved"
    )
    levels = np.array([base.moments(lam * base.scale)[1] for lam in lams])
    shortfall = (base.standardise(targets[:200]) - levels).max(axis=1)
    for slip in (0.01, 0.05):
        called = finite & (shortfall <= slip)
        print(
            f"  baseline, levels within {slip} sd taken as solved: {(called & ~exact).sum()} "
            f"infeasible ones called solved, {(~called & exact).sum()} of {exact.sum()} feasible "
            "ones missed"
        )


def per_prompt() -> None:
    """Scope prompt at 2312 x 16 x 6."""
    rewards, groups = synthetic(2312, 16, 6, seed=2)
    base = Base(rewards, groups, "prompt")
    target = base.raw(np.array([0.3, 0.3, 0.3, 0.0, 0.0, 0.0]))
    took = seconds(lambda: solve(rewards, target, groups=groups, scope="prompt"), 10)
    programme = seconds(lambda: feasibility_on(base, target, list("abcdef")), 3)
    solution = solve(rewards, target, groups=groups, scope="prompt")
    print(
        f"per prompt, 2312 x 16 x 6: solve {took * 1e3:.1f} ms (KKT {solution.kkt:.0e}, "
        f"{solution.verdict}), feasibility {programme:.2f} s"
    )


def streamed(rows: int) -> None:
    """Out of core: time and peak memory in its own process, for a tenth of the rows and all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as folder:
        for count in (rows // 10, rows):
            path = Path(folder) / f"{count}.parquet"
            schema = pa.schema([(name, pa.float64()) for name in "abcdef"])
            with pq.ParquetWriter(path, schema) as writer:
                for start in range(0, count, 500_000):
                    size = min(500_000, count - start)
                    part = synthetic(size, 1, 6, seed=start + 1)[0]
                    writer.write_table(pa.table(dict(zip("abcdef", part.T, strict=True))))
            report = subprocess.run(
                [sys.executable, "-c", STREAM_CHILD, str(path), "joint"],
                check=True,
                capture_output=True,
                text=True,
            )
            print(f"out of core, {count} x 6: {report.stdout.strip()}")
            path.unlink()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the streamed table")
    parser.add_argument("--without-stream", action="store_true", help="skip the streamed table")
    options = parser.parse_args()
    rewards, _ = synthetic(2312, 1, 6, seed=1)
    base = Base(rewards, None, "joint")
    one_palette(rewards, base.raw(np.array([0.7, 0.6, 0.7, 0.0, 0.0, 0.0])))
    many_palettes(rewards)
    per_prompt()
    if not options.without_stream:
        streamed(options.rows)


if __name__ == "__main__":
    main()
