"""λ for training from few candidates: estimators against the λ of the policy itself.

Tables are K candidates per prompt, drawn again and again. The truth is known: of the study, the
candidates of a large pool (`benchmarks/large_pool.py`) are the policy, and K of them are drawn with
replacement; the others have rewards whose λ has a closed form (Gaussian ones, and bimodal ones, as
where a refusal decides, whose chance differs between prompts). For each estimator: the mean error
of λ in per cent of λ (along the true λ, in standardised units) with its standard error, the spread
between tables, the largest mean error of any raised value, how many tables had no estimate, and CPU
milliseconds. Run as

    OMP_NUM_THREADS=1 python benchmarks/lam_bias.py POOL.parquet [--study results/sandbox]
        [--draws 24] [--palettes hhh-60 ...]
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from polyalign.map.base import Base
from polyalign.map.dual import solve
from polyalign.map.limit import solve_limit

Levels = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Problem(NamedTuple):
    """A palette with its true λ.

    Attributes:
        name: what the rewards are.
        lam: (k,) the truth.
        target: (k,) levels.
        scale: (k,) units of the rewards.
        raised: the places of the values that are asked to rise.
        draw: K and a generator → rewards (G, K, k).
    """

    name: str
    lam: np.ndarray
    target: np.ndarray
    scale: np.ndarray
    raised: list[int]
    draw: Callable[[int, np.random.Generator], np.ndarray]


def plain_levels(rewards: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """Levels (G, k) of p_λ on the candidates (G, K, k) themselves."""
    return np.einsum("gj,gjk->gk", weights(rewards, lam), rewards)


def weights(rewards: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """Probabilities (G, K) of the candidates under p_λ."""
    score = rewards @ lam
    w = np.exp(score - score.max(axis=1, keepdims=True))
    return w / w.sum(axis=1, keepdims=True)


def delta_levels(rewards: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """Levels less their bias of order 1/K by the delta method."""
    p, count = weights(rewards, lam), rewards.shape[1]
    level = np.einsum("gj,gjk->gk", p, rewards)
    squares = np.einsum("gj,gjk->gk", p * p, rewards)
    return level + count / (count - 1) * (squares - (p * p).sum(axis=1)[:, None] * level)


def cumulant_levels(rewards: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """Derivative of the cumulant series of log Z to the fourth order, by Fisher's k-statistics."""
    score, n = rewards @ lam, rewards.shape[1]
    x = score - score.mean(axis=1, keepdims=True)
    y = rewards - rewards.mean(axis=1, keepdims=True)
    xy, x2y, x3y = (np.einsum("gj,gjk->gk", x**power, y) for power in (1, 2, 3))
    fourth = n * (n + 1) * x3y - 3 * (n - 1) * (x * x).sum(axis=1)[:, None] * xy
    return (
        rewards.mean(axis=1)
        + xy / (n - 1)
        + n / ((n - 1) * (n - 2)) * x2y / 2
        + fourth / ((n - 1) * (n - 2) * (n - 3)) / 6
    )


def extrapolated_levels(parts: list[int]) -> Levels:
    """Levels on parts of the candidates, extrapolated to 1/K = 0 by a polynomial through them."""

    def levels(rewards: np.ndarray, lam: np.ndarray) -> np.ndarray:
        powers = np.vander(np.array(parts, dtype=float), increasing=True)
        shares = np.linalg.solve(powers.T, np.eye(len(parts))[0])
        found = np.zeros(rewards.shape[::2])
        for share, part in zip(shares, parts, strict=True):
            for first in range(part):
                found += share / part * plain_levels(rewards[:, first::part], lam)
        return found

    return levels


def plain(rewards: np.ndarray, target: np.ndarray) -> np.ndarray:
    """λ of selection among the candidates; NaN if they cannot reach the target."""
    prompts, count, k = rewards.shape
    groups = np.repeat(np.arange(prompts), count)
    return solve(rewards.reshape(-1, k), target, groups=groups, scope="prompt").lam


def halves(rewards: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Jackknife of λ itself from both halves of the candidates."""
    parts = [plain(rewards[:, half::2], target) for half in (0, 1)]
    return 2 * plain(rewards, target) - np.mean(parts, axis=0)


def delete_one(rewards: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Jackknife of λ itself, of first order."""
    count = rewards.shape[1]
    parts = [plain(np.delete(rewards, one, axis=1), target) for one in range(count)]
    return count * plain(rewards, target) - (count - 1) * np.mean(parts, axis=0)


def jackknifed_dual(order: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The dual with log Z less its bias up to an order of 1/K: Polyalign's (order 2)."""

    def lam(rewards: np.ndarray, target: np.ndarray) -> np.ndarray:
        prompts, count, k = rewards.shape
        base = Base(rewards.reshape(-1, k), np.repeat(np.arange(prompts), count), "prompt")
        start = plain(rewards, target)
        found = solve_limit(base, target, start, order=order) if np.isfinite(start).all() else None
        return np.full(k, np.nan) if found is None else found.raw

    return lam


def corrected(levels: Levels) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The λ at which corrected levels are those asked, by Newton's steps with the plain Hessian."""

    def lam(rewards: np.ndarray, target: np.ndarray) -> np.ndarray:
        found, scale = plain(rewards, target), rewards.std(axis=(0, 1))
        free = np.flatnonzero(found > 0)
        if not np.isfinite(found).all():
            return found
        for _ in range(60):
            p = weights(rewards, found)
            root = rewards - np.einsum("gj,gjk->gk", p, rewards)[:, None]
            hessian = np.einsum("gj,gja,gjb->ab", p, root, root) / len(rewards)
            short = (target - levels(rewards, found).mean(axis=0))[free]
            step = np.linalg.pinv(hessian[np.ix_(free, free)]) @ short
            found[free] = np.maximum(found[free] + step, 0.0)
            if np.abs(step * scale[free]).max() < 1e-6:
                return found
        return np.full_like(found, np.nan)

    return lam


ESTIMATORS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "plain": plain,
    "λ: halves": halves,
    "λ: delete-one": delete_one,
    "levels: delta method": corrected(delta_levels),
    "levels: 4 cumulants": corrected(cumulant_levels),
    "levels: 1/K from halves": corrected(extrapolated_levels([1, 2])),
    "levels: 1/K, halves, thirds": corrected(extrapolated_levels([1, 2, 3])),
    "dual: jackknife, order 1": jackknifed_dual(1),
    "dual: jackknife, order 2": jackknifed_dual(2),
}


def gaussian(lam: float) -> Problem:
    """One value, Gaussian within prompts: λ = gain / variance."""
    # The prompts' own means are taken off: they would only add noise, to all estimators alike.
    return Problem(
        f"Gaussian, λ {lam}", np.array([lam]), np.array([lam]), np.ones(1), [0],
        lambda count, draws: draws.normal(size=(600, count, 1)),
    )  # fmt: skip


def bimodal(lam: float) -> Problem:
    """One value, 2 with a chance that differs by prompt, else 0, and Gaussian noise of 0.3."""
    chance = (np.arange(600) + 0.5) / 600
    tilted = chance * np.exp(2 * lam) / (chance * np.exp(2 * lam) + 1 - chance)
    level = np.array([2 * tilted.mean() + 0.09 * lam])

    def draw(count: int, draws: np.random.Generator) -> np.ndarray:
        refuses = draws.random((600, count, 1)) < chance[:, None, None]
        return 2 * refuses + 0.3 * draws.normal(size=(600, count, 1))

    return Problem(f"bimodal, λ {lam}", np.array([lam]), level, np.ones(1), [0], draw)


def of_study(pool: pd.DataFrame, path: Path) -> Problem:
    """A palette of the study, solved on all candidates of the large pool."""
    asked = json.loads(path.read_text(encoding="utf-8"))
    names = asked["values"]
    rewards = pool[names].to_numpy().reshape(pool["prompt_id"].nunique(), -1, len(names))
    prompts, count, _ = rewards.shape
    target, lam = np.array(asked["target"]), plain(rewards, np.array(asked["target"]))

    def draw(few: int, draws: np.random.Generator) -> np.ndarray:
        chosen = draws.integers(count, size=(prompts, few))
        return rewards[np.arange(prompts)[:, None], chosen]

    raised = [place for place, name in enumerate(names) if asked["levels"][name] != "mean"]
    return Problem(asked["palette"], lam, target, rewards.std(axis=(0, 1)), raised, draw)


def problems(pool: pd.DataFrame, study: Path, palettes: list[str]) -> Iterator[Problem]:
    """All problems, those of the study first."""
    pool = pool.sort_values(["prompt_id", "candidate"])
    for palette in palettes:
        yield of_study(pool, study / f"palettes/{palette}.json")
    yield from (gaussian(0.5), gaussian(0.8), bimodal(0.5), bimodal(1.0))


def compare(problem: Problem, count: int, draws: int) -> None:
    """Print how far each estimator is from the truth on tables of `count` candidates."""
    print(f"\n{problem.name}, K = {count}, λ {np.round(problem.lam, 3)}")
    print(
        f"{'':30}{'bias %':>8}{'± se':>6}{'spread %':>10}{'worst value %':>15}{'none':>6}{'ms':>8}"
    )
    true = problem.lam * problem.scale
    for name, estimate in ESTIMATORS.items():
        found, seconds = [], 0.0
        for seed in range(draws):
            rewards = problem.draw(count, np.random.default_rng(seed))
            began = time.process_time()
            found.append(estimate(rewards, problem.target))
            seconds += time.process_time() - began
        table = np.array(found)
        table = table[np.isfinite(table).all(axis=1)]
        none = draws - len(table)
        if len(table) < 2:
            print(f"{name:30}{'':39}{none:6}{1000 * seconds / draws:8.0f}")
            continue
        error = 100 * ((table * problem.scale) @ true / (true @ true) - 1)
        raised = problem.raised
        worst = 100 * np.abs(table.mean(axis=0)[raised] / problem.lam[raised] - 1).max()
        spread = error.std(ddof=1)
        print(
            f"{name:30}{error.mean():8.1f}{spread / len(table) ** 0.5:6.1f}{spread:10.1f}"
            f"{worst:15.1f}{none:6}{1000 * seconds / draws:8.0f}"
        )


def main() -> None:
    """Print one table per problem and number of candidates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path, help="what benchmarks/large_pool.py wrote")
    parser.add_argument("--study", type=Path, default=Path("results/sandbox"))
    parser.add_argument("--palettes", nargs="*", default=["hhh-60", "humor-70", "harmless-70"])
    parser.add_argument("--draws", type=int, default=24, help="tables (default: %(default)s)")
    options = parser.parse_args()
    pool = pd.read_parquet(options.pool)
    for problem in problems(pool, options.study, options.palettes):
        for count in (12, 6):
            compare(problem, count, options.draws)


if __name__ == "__main__":
    main()
