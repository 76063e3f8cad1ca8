"""Speed and correctness of the MAP solver, compared with general solvers and with Adam.

First against what else solves the same dual in a few lines: L-BFGS-B and trust-constr of SciPy, and
CVXPY with Clarabel where it is installed. Each gets standardised rewards, laid out so that its sums
are contiguous. All run in this process, in turn; the medians of the CPU time are printed.

Then against the procedure as published: lam = exp(tau), Adam, learning rate 0.1, 150 steps,
float32, joint objective, once with PyTorch's automatic gradient (as published) and once with the
gradient written in NumPy (which avoids the overhead of the framework per step). Run as

    OMP_NUM_THREADS=1 python benchmarks/solve.py [--rivals-only] [--rows 10000000]
        [--without-stream]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import Bounds, minimize

from polyalign.map.base import Base
from polyalign.map.batch import solve_many_on
from polyalign.map.diagnostics import assess_many
from polyalign.map.dual import solve, solve_on
from polyalign.map.feasibility import feasibility_on
from polyalign.map.front import front
from polyalign.map.search import path

STEPS, RATE = 150, 0.1
PALETTES = 1000
# Tables (prompts, candidates, scope), repeats of a call, and the quantiles that a palette asks for.
TABLES = ((2312, 1, "joint", 100), (2312, 16, "prompt", 60), (20_000, 32, "prompt", 8))
QUANTILES = (0.65, 0.60, 0.70, 0.60, 0.62, 0.60)
KKT = 1e-9
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


class Dual:
    """The dual in NumPy, as one would write it for a general solver.

    `z` is (k, K x G), standardised; candidates of a prompt are G apart, so that sums over them are
    sums of rows. In scope `joint` all rows are candidates of one prompt.
    """

    def __init__(self, rewards: np.ndarray, candidates: int, scope: str) -> None:
        self.center, self.scale = rewards.mean(axis=0), rewards.std(axis=0)
        n, k = rewards.shape
        self.shape = (candidates, n // candidates) if scope == "prompt" else (n,)
        z = (rewards - self.center) / self.scale
        parts = z.reshape(*self.shape[::-1], k)
        self.z = np.ascontiguousarray(parts.transpose(*range(parts.ndim)[::-1])).reshape(k, n)
        self.k = k

    def goal(self, target: np.ndarray) -> np.ndarray:
        """Standardised target (k,)."""
        return (target - self.center) / self.scale

    def negative(self, lam: np.ndarray, goal: np.ndarray) -> tuple[float, np.ndarray]:
        """The dual and its gradient (k,), both times -1."""
        p = np.dot(lam, self.z).reshape(self.shape)
        top = p.max(axis=0)
        p -= top
        np.exp(p, out=p)
        total = p.sum(axis=0)
        p /= total * np.size(total)
        value = np.mean(top + np.log(total / len(p)))
        return float(value - lam @ goal), np.dot(self.z, p.ravel()) - goal

    def kkt(self, lam: np.ndarray, goal: np.ndarray) -> float:
        """Residual of the optimality conditions, as polyalign measures it."""
        gradient = -self.negative(lam, goal)[1]
        return max(0.0, float(np.maximum(gradient, np.abs(lam * gradient)).max()))

    def lbfgsb(self, goal: np.ndarray, start: np.ndarray, gtol: float = KKT / 2) -> np.ndarray:
        """lam (k,) by L-BFGS-B."""
        return minimize(
            self.negative,
            start,
            args=(goal,),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, None)] * self.k,
            options={"ftol": 1e-15, "gtol": gtol},
        ).x

    def trust_constr(self, goal: np.ndarray, start: np.ndarray) -> np.ndarray:
        """lam (k,) by the trust-region interior-point method; it approximates the Hessian."""
        return minimize(
            self.negative,
            start + 0.1,
            args=(goal,),
            jac=True,
            method="trust-constr",
            bounds=Bounds(np.zeros(self.k), np.inf),
            options={"gtol": KKT, "xtol": 1e-12, "barrier_tol": KKT, "maxiter": 500},
        ).x

    def clarabel(self, goal: np.ndarray, start: np.ndarray) -> np.ndarray:
        """lam (k,) of the problem as a cone programme."""
        import cvxpy

        lam = cvxpy.Variable(self.k, nonneg=True)
        z = self.z.reshape(self.k, *self.shape)
        prompts = z.reshape(self.k, self.shape[0], -1).transpose(2, 1, 0)
        logs = [cvxpy.log_sum_exp(table @ lam) for table in prompts]
        cvxpy.Problem(cvxpy.Minimize(cvxpy.sum(logs) / len(logs) - goal @ lam)).solve("CLARABEL")
        return np.asarray(lam.value)


def in_turn(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median and shortest CPU time in ms of each call; the calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            began = time.process_time()
            call()
            times[name].append(time.process_time() - began)
    return {name: (median(took) * 1e3, min(took) * 1e3) for name, took in times.items()}


def rivals() -> None:
    """One palette on three tables, by each solver: the whole call, and with the table prepared."""
    print("median CPU time in ms (shortest in brackets), one palette, KKT reached")
    for prompts, candidates, scope, repeats in TABLES:
        print(f"{prompts} x {candidates} x 6, {scope}")
        one_table(prompts, candidates, scope, repeats)
    if find_spec("cvxpy") is None:
        print("cvxpy with Clarabel: not installed")


def one_table(prompts: int, candidates: int, scope: str, repeats: int) -> None:
    """Print the times of all solvers on one table."""
    rewards, groups = synthetic(prompts, candidates, 6, seed=1)
    target = np.quantile(rewards, QUANTILES, axis=0).diagonal()
    base, dual = Base(rewards, groups, scope), Dual(rewards, candidates, scope)
    goal, zero = dual.goal(target), np.zeros(6)
    solvers = {"L-BFGS-B": Dual.lbfgsb, "trust-constr": Dual.trust_constr}
    # One cone for each prompt: on the larger tables it takes minutes.
    if scope == "joint" and find_spec("cvxpy") is not None:
        solvers["cvxpy with Clarabel"] = Dual.clarabel

    def whole(name: str) -> np.ndarray:
        fresh = Dual(rewards, candidates, scope)
        return solvers[name](fresh, fresh.goal(target), zero)

    calls: dict[str, Callable[[], Any]] = {
        "polyalign, whole": lambda: solve(rewards, target, groups=groups, scope=scope),
        "L-BFGS-B, whole": lambda: whole("L-BFGS-B"),
        "polyalign, prepared": lambda: solve_on(base, target),
        "L-BFGS-B, prepared": lambda: dual.lbfgsb(goal, zero),
    }
    slow: dict[str, Callable[[], Any]] = {}
    reached = {"polyalign": solve_on(base, target).kkt}
    for name, solver in solvers.items():
        reached[name] = dual.kkt(solver(dual, goal, zero), goal)
        if name != "L-BFGS-B":
            slow[f"{name}, whole"] = partial(whole, name)
            slow[f"{name}, prepared"] = partial(solver, dual, goal, zero)
    found = in_turn(calls, repeats) | in_turn(slow, max(2, repeats // 20))
    for name, (middle, least) in found.items():
        print(f"  {name}: {middle:.2f} ({least:.2f}), KKT {reached[name.split(', ')[0]]:.0e}")


def many_against_lbfgsb() -> None:
    """Batches and a slider against loops of L-BFGS-B."""
    rewards, _ = synthetic(2312, 1, 6, seed=1)
    base, dual = Base(rewards, None, "joint"), Dual(rewards, 1, "joint")
    draws = np.random.default_rng(3).uniform(0.5, 0.7, size=(PALETTES, 6))
    ordered = np.sort(rewards, axis=0)
    targets = np.array([ordered[(row * len(ordered)).astype(int), range(6)] for row in draws])
    goals, zero = [dual.goal(target) for target in targets], np.zeros(6)
    batch = solve_many_on(base, targets)
    kept = np.flatnonzero(batch.feasible)
    slide = [
        base.center + share * (targets[kept[0]] - base.center) for share in np.linspace(0, 1, 101)
    ]
    along = [dual.goal(point) for point in slide]

    def slider() -> None:
        start = np.zeros(6)
        for point in slide:
            start = solve_on(base, point, start=start).lam

    def slider_lbfgsb() -> None:
        start = np.zeros(6)
        for goal in along:
            start = dual.lbfgsb(goal, start)

    found = in_turn(
        {
            "batch": lambda: solve_many_on(base, targets[kept]),
            "batch, L-BFGS-B in a loop": lambda: [dual.lbfgsb(goals[i], zero) for i in kept],
            "slider of 101 points": slider,
            "slider of 101 points, L-BFGS-B": slider_lbfgsb,
        },
        5,
    )
    print(f"2312 x 1 x 6, joint; the batch has {kept.size} palettes")
    for name, (middle, least) in found.items():
        print(f"  {name}: {middle:.1f} ({least:.1f}) ms")


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
    parser.add_argument("--rivals-only", action="store_true", help="skip Adam and larger runs")
    options = parser.parse_args()
    rivals()
    many_against_lbfgsb()
    if options.rivals_only:
        return
    rewards, _ = synthetic(2312, 1, 6, seed=1)
    base = Base(rewards, None, "joint")
    published = one_palette(rewards, base.raw(np.array([0.7, 0.6, 0.7, 0.0, 0.0, 0.0])))
    many_palettes(rewards, published)
    per_prompt()
    if not options.without_stream:
        streamed(options.rows)


if __name__ == "__main__":
    main()
