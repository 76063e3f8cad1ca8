"""What the palette explorer computes, without Gradio and without torch.

A palette is `levels`: value → level in the grammar of palettes, for one value or several. All
numbers come from `polyalign.map`, so `polyalign solve` with the same levels prints the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import floor, log10

import numpy as np

from polyalign.errors import InputError
from polyalign.map.base import EDGE, Base, base_probabilities
from polyalign.map.budget import budget, budget_message
from polyalign.map.cautions import cautions
from polyalign.map.diagnostics import Interval, delta_interval
from polyalign.map.dual import Solution, optimum_on, solve_on
from polyalign.map.feasibility import furthest_of_value, reach
from polyalign.map.front import front
from polyalign.map.palette import parse_target
from polyalign.map.search import highest_supportable, interpolate

UNITS = ("raw", "quantile")
NEAR = 5e-3
"""Distance of the bounds of a slider's end, in standard deviations."""
FRONT_POINTS = 17
LEVELS_KEPT = 1000
"""Levels of a table whose numbers are kept."""

Levels = Mapping[str, str]


@dataclass(frozen=True)
class Move:
    """What a palette does on a table.

    Attributes:
        levels: the palette.
        base: the base policy of its values.
        target: (k,) asked levels, rewards' units.
        asked_share: (k,) share of the base policy's samples at or below them.
        solution: λ and its certificate; None where no policy reaches the palette.
        realised_share: as `asked_share`, of the realised levels; NaN where infeasible.
        interval: 95 % intervals by the delta method; None where infeasible.
        conflict: where infeasible, the values that weigh most in the proof.
    """

    levels: dict[str, str]
    base: Base
    target: np.ndarray
    asked_share: np.ndarray
    solution: Solution | None
    realised_share: np.ndarray
    interval: Interval | None
    conflict: list[str]

    @property
    def names(self) -> list[str]:
        return list(self.levels)

    @property
    def verdict(self) -> str:
        return "infeasible" if self.solution is None else self.solution.verdict

    @property
    def message(self) -> str:
        if self.solution is not None:
            return self.solution.message
        return f"infeasible: no policy on these samples reaches {', '.join(self.conflict)} together"


@dataclass(frozen=True)
class DrawnBack:
    """The nearest supportable palette on the way from the base levels, and what it gives up.

    Attributes:
        levels: the palette, on the steps of the sliders.
        given_up: (k,) how much lower it asks, rewards' units.
        share: how much of the asked rise is left.
    """

    levels: dict[str, str]
    given_up: np.ndarray
    share: float


class Problem:
    """Some values of a table in one scope: the base policy, and the steps of its sliders."""

    def __init__(self, rewards: np.ndarray, groups: np.ndarray, scope: str, names: list[str]):
        self.base = Base(rewards, groups, scope)
        self.rewards, self.groups, self.names = rewards, groups, names
        k = len(names)
        unit = np.eye(k)
        # The highest level of each value alone, whatever becomes of the others.
        self.top = self.base.raw(np.array([self.base.best(unit[i])[i] for i in range(k)]))
        self.step = 10.0 ** np.floor(np.log10(self.base.scale / 50))
        weight = base_probabilities(len(rewards), groups, scope)
        order = [np.argsort(column) for column in rewards.T]
        # Sorted once, since every move asks for shares.
        self._sorted = [column[rows] for column, rows in zip(rewards.T, order, strict=True)]
        self._total = [np.append(0.0, np.cumsum(weight[rows])) for rows in order]
        self.base_share = self.share_below(self.base.center)
        # A move changes one level: the others have been read before.
        self._raw = lru_cache(maxsize=LEVELS_KEPT)(self._read)

    def share_below(self, levels: np.ndarray) -> np.ndarray:
        """Share (k,) of the base policy's samples at or below raw levels (k,)."""
        if not np.isfinite(levels).all():
            return np.full(len(self.names), np.nan)
        columns = zip(self._sorted, self._total, levels, strict=True)
        return np.array(
            [
                min(1.0, total[np.searchsorted(column, level, side="right")])
                for column, total, level in columns
            ]
        )

    def target(self, levels: Levels) -> np.ndarray:
        """Levels (k,) of a palette, in the rewards' units.

        Raises:
            InputError: on a level outside the grammar, or values that are not this problem's.
        """
        if set(levels) != set(self.names):
            # It says which are wrong.
            parse_target(levels, self.rewards, self.names, self.groups, scope=self.base.scope)
        return np.array([self._raw(name, levels[name]) for name in self.names])

    def _read(self, name: str, level: str) -> float:
        """A level of one value, in the rewards' units."""
        column = self.rewards[:, [self.names.index(name)]]
        return parse_target({name: level}, column, [name], self.groups, scope=self.base.scope)[0]

    def move(self, levels: Levels) -> Move:
        """What a palette does.

        Raises:
            InputError: as `target`.
        """
        base, target = self.base, self.target(levels)
        optimum = optimum_on(base, base.standardise(target))
        solution = None
        if optimum.status != "unbounded":
            found = solve_on(base, target, names=self.names, optimum=optimum)
            solution = found if found.status != "infeasible" else None
        # The dual's direction proves that the target is out of reach: these values carry the proof.
        pull = optimum.lam / max(float(optimum.lam.sum()), 1e-300)
        conflict = [name for name, part in zip(self.names, pull, strict=True) if part > 0.05]
        nothing = np.full(base.k, np.nan)
        return Move(
            levels=dict(levels),
            base=base,
            target=target,
            asked_share=self.share_below(target),
            solution=solution,
            realised_share=self.share_below(nothing if solution is None else solution.realised),
            interval=None if solution is None else delta_interval(base, solution.lam, target),
            conflict=[] if solution is not None else conflict,
        )

    def highest(self, move: Move) -> np.ndarray:
        """Highest feasible level (k,) of each value, the others held, to `NEAR` from below.

        Where the palette itself is infeasible, the highest level of each value alone.
        """
        if move.solution is None or move.solution.status != "solved":
            return self.top
        base, highest = self.base, np.empty(len(self.names))
        goal = base.standardise(move.target) - EDGE
        known = base.standardise(move.solution.realised)[None]
        for i, unit in enumerate(np.eye(base.k)):
            offset = np.where(unit > 0, 0.0, np.minimum(goal, known[0]))
            found = reach(base, offset, unit, known, gap=NEAR)
            highest[i] = max(base.raw(np.full(base.k, found.theta))[i], move.target[i])
        return highest

    def maximised(self, move: Move, value: str) -> dict[str, str]:
        """The palette with one value as high as it is supported, the others held.

        Raises:
            InputError: if the others' levels alone are not supported.
        """
        i = self.names.index(value)
        furthest = furthest_of_value(self.base, move.target, i)
        level = highest_supportable(self.base, move.target, i, furthest)
        if np.isnan(level):
            raise InputError(
                f"{value}: the levels of the other values alone are not supported; expected a "
                "supported palette to start from; lower them first"
            )
        return {**move.levels, value: self.on_step(i, level)}

    def drawn_back(self, move: Move) -> DrawnBack:
        """The nearest supportable palette on the way from the base levels to this one.

        Raises:
            InputError: if not even the base policy is supported.
        """
        moved = interpolate(self.base, move.target, names=self.names)
        if moved.share >= 1.0:
            return DrawnBack(move.levels, np.zeros(self.base.k), 1.0)
        levels = {name: self.on_step(i, moved.target[i]) for i, name in enumerate(self.names)}
        given_up = np.maximum(move.target - self.target(levels), 0.0)
        return DrawnBack(levels, given_up, moved.share)

    def on_step(self, i: int, level: float) -> str:
        """The level of value i on the slider's step at or below a raw level."""
        return self.level(i, floor(level / self.step[i] + 1e-9) * self.step[i], "raw")

    def ends(self, i: int, highest: float, units: str) -> tuple[float, float, float]:
        """Lower end, upper end and step of the slider of value i, up to a raw level."""
        if units == "quantile":
            share = self.share_below(np.full(len(self.names), highest))[i]
            low, high, step = floor(1000 * self.base_share[i]) / 10, floor(1000 * share) / 10, 0.1
        else:
            step = float(self.step[i])
            low = floor(self.base.center[i] / step) * step
            high = floor(highest / step + 1e-9) * step
            low, high = round(low, self.digits(i)), round(high, self.digits(i))
        return low, max(high, round(low + step, 12)), step

    def digits(self, i: int) -> int:
        """Decimals of the slider of value i in raw units."""
        return max(0, -round(log10(self.step[i])))

    def level(self, i: int, position: float, units: str) -> str:
        """The level that a position of the slider of value i asks for; its lower end is `mean`."""
        low, _, step = self.ends(i, float(self.top[i]), units)
        if position < low + step / 2:
            return "mean"
        if units == "quantile":
            return f"q{round(min(position, 100.0), 1):g}"
        return f"{position:.{self.digits(i)}f}"

    def position(self, i: int, move: Move, units: str) -> float:
        """Where the slider of value i stands for a palette."""
        low, _, _ = self.ends(i, float(self.top[i]), units)
        if move.levels[self.names[i]] == "mean":
            return low
        if units == "quantile":
            return max(low, round(100 * float(move.asked_share[i]), 1))
        return max(low, round(float(move.target[i]), self.digits(i)))


@dataclass(frozen=True)
class FrontView:
    """The front of two values at the palette's KL; rows (2,) are levels of both, rewards' units.

    Attributes:
        values: the two values.
        curve: (m, 2) the front: the best that the same KL buys if only these two matter.
        base: the base policy.
        asked: what the palette asks.
        realised: what it gets; None where infeasible.
        kl: nats that the front spends.
    """

    values: tuple[str, str]
    curve: np.ndarray
    base: np.ndarray
    asked: np.ndarray
    realised: np.ndarray | None
    kl: float


def front_of(problem: Problem, move: Move, first: str, second: str) -> FrontView | None:
    """The front of two values at the KL of a palette; None where it spends nothing or all."""
    pair = [problem.names.index(first), problem.names.index(second)]
    base, solution = problem.base, move.solution
    # An infeasible palette has no KL: half of what there is.
    kl = base.max_kl / 2 if solution is None else solution.kl
    if pair[0] == pair[1] or not 1e-6 < kl < base.max_kl * (1 - 1e-6):
        return None
    curve = front(base, pair, kl, points=FRONT_POINTS).levels[:, pair]
    realised = None if solution is None else solution.realised[pair]
    return FrontView((first, second), curve, base.center[pair], move.target[pair], realised, kl)


def why_infeasible(problem: Problem, move: Move) -> str:
    """The sentence of `polyalign solve` on an infeasible palette, with the exact slack."""
    return solve_on(problem.base, move.target, names=problem.names, slack=True).message


def candidates_sentence(problem: Problem, move: Move) -> str:
    """How many candidates would do, in a Gaussian model (scope prompt)."""
    if problem.base.scope != "prompt" or not (move.target > problem.base.center).any():
        return ""
    return budget_message(budget(problem.base, move.target))


def warnings_of(problem: Problem, move: Move) -> list[str]:
    """What this palette cannot do on this table, as `polyalign solve` warns."""
    return cautions(problem.base, move.levels, move.target, problem.names)
