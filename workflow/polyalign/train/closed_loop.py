"""λ that moves while a policy is trained, so that the policy realises the levels asked.

Training with the reward λ·r leads to p_λ, whose levels are those asked only if λ is right. The loop
measures the levels of every batch of responses and takes a step of dual ascent. Three things make
the step robust:

- **Curvature.** The gradient is divided by the covariance of the rewards under p_λ, known from the
  pool: d level / d λ. So one step goes where the levels are met, to first order (Newton).
- **Lag.** A policy follows λ slowly, and an integral of the bare gap winds up meanwhile. So the gap
  is counted less what the present reward will still bring. Write A = λ·r − log(π / p0), the reward
  that the trainer maximises. p_λ is π exp(A) up to a constant, so to first order its levels are
  those of π plus Cov(r, A) within a prompt, and Cov(r, A) vanishes as π arrives. The correction
  fades in the first half of the training, because less and less can still be learnt: then only the
  levels of the policy itself count, and time is left to follow λ. So a policy that cannot be p_λ,
  for its size or its trainer, ends at the levels too, at a greater KL.
- **Noise.** The gain falls as 2 / (t + m), which weighs the batches in proportion to their number
  (Polyak and Juditsky 1992; Lacoste-Julien, Schmidt and Bach 2012, arXiv 1212.2002); the start
  counts as m batches, a tenth of the training. A share of 1/120 is left of its error.

λ ≥ 0 is met by projection in the metric of the curvature, which a cut of each component is not. A
ceiling is the value with the other sign, and its λ ≤ 0. A band is one λ of either sign: above 0 it
holds the lower end, below 0 the upper one, and it is 0 while the level is between the two. A step
ends at 0 before it changes the side.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import nnls

from polyalign.map.words import key_of, weights_of

SETTLED = 0.95  # of the batches: before, the learning rate is too high for a steady policy
LAST = 0.25  # of the batches: what the final λ and the levels are averaged over
LEARNT = 0.5  # of the batches: then the policy is taken to have learnt what it can
WORTH = 0.1  # of the batches: what the λ at the start counts as
STEP = 0.5  # longest step, and
REACH = 3.0  # greatest λ, in lengths of the λ at the start (sd of λ·r under the policy)
SIZE = 1.96  # half of an interval, in standard errors
STABLE = 0.05  # λ is stable if it stays so near its average, relative to its length
LEVELS_MET = "every level is inside its interval and λ is stable"
STEPS_USED = "all steps are used"


@dataclass(frozen=True)
class Aim:
    """What the loop steers to; arrays are in the order of `values`, in the rewards' units.

    Attributes:
        values: names of the k values.
        start: (k,) λ that the training starts with.
        target: (k,) levels that the policy must reach.
        low: (k,) lower ends of the levels' intervals.
        high: (k,) upper ends; only a value with λ > 0 can be above its own.
        curvature: (k, k) covariance of the rewards under p_λ within a prompt: d level / d λ.
        ceilings: names of the values whose level must not be above; for them `low` is what `high`
            is for the others.
        bands: value → highest level, for values that have a lowest one, their target, as well.
        short: standard errors by which the levels may miss their targets. For a policy that learns
            from few candidates the last bit of a level costs much KL: λ grows, and so does what it
            learns by chance. Within its standard error a level cannot be told from its target.
    """

    values: list[str]
    start: np.ndarray
    target: np.ndarray
    low: np.ndarray
    high: np.ndarray
    curvature: np.ndarray
    ceilings: tuple[str, ...] = ()
    bands: Mapping[str, float] = field(default_factory=dict)
    short: float = 0.0

    @property
    def signs(self) -> np.ndarray:
        """(k,) -1 for a ceiling, else 1."""
        return np.where(np.isin(self.values, self.ceilings), -1.0, 1.0)


def aim_of(palette: Mapping[str, Any]) -> Aim:
    """The aim of a solved palette: its levels, and λ, curvature and intervals for training."""
    rows = list(palette["values"])
    target, half = np.array(palette["target"]), SIZE * np.array(palette["level_se_train"])
    weights = weights_of(rows, palette["lam_train"])
    keys = [key_of(row) for row in rows]
    first = [keys.index(key) for key in weights]
    last = [len(keys) - 1 - keys[::-1].index(key) for key in weights]  # the ceiling of a band
    pairs = list(zip(weights, first, last, strict=True))
    return Aim(
        values=list(weights),
        start=np.array(list(weights.values())),
        target=target[first],
        low=(target - half)[first],
        high=(target + half)[last],
        curvature=np.array(palette["curvature_train"])[np.ix_(first, first)],
        ceilings=tuple(key for key, one, _ in pairs if rows[one].endswith(" <=")),
        bands={key: float(target[top]) for key, one, top in pairs if one != top},
    )


class ClosedLoop:
    """The state of the loop: λ, and the path of λ and of the levels.

    Args:
        aim: what it steers to.
        batches: batches of a whole training.
    """

    def __init__(self, aim: Aim, batches: int) -> None:
        self.aim, self.batches = aim, batches
        self.lam = aim.start.astype(np.float64)
        self.path: list[list[float]] = []  # λ of each batch
        self.levels: list[list[float]] = []  # levels of each batch
        # A value that does not vary cannot be steered: its λ stays.
        self.moves = np.flatnonzero(np.diag(aim.curvature) > 0)
        self.bands = {aim.values.index(name): top for name, top in aim.bands.items()}
        self.curvature = aim.curvature + 1e-6 * np.diag(np.diag(aim.curvature))

    def named_lam(self) -> dict[str, float]:
        """Value → λ for the next batch."""
        return dict(zip(self.aim.values, self.lam.tolist(), strict=True))

    def named_target(self) -> dict[str, float]:
        """Value → the level that is asked; of a band the lower end."""
        return dict(zip(self.aim.values, self.aim.target.tolist(), strict=True))

    def _root(self, moves: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """(m, m) with rootᵀ root = the curvature of some values, whose λ have these signs."""
        part = self.curvature[np.ix_(moves, moves)] * np.outer(signs, signs)
        return np.asarray(np.linalg.cholesky(part).T)

    def _length(self, lam: np.ndarray) -> float:
        """Length of λ (k,): the standard deviation of λ·r under the policy."""
        part = lam[self.moves]
        return float(np.sqrt(part @ self.curvature[np.ix_(self.moves, self.moves)] @ part))

    def _ends(self, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Levels (k,) that values with these levels are steered to, and signs (k,) of their λ.

        The sign is 0 where the level is within a band and λ is 0: then λ stays.
        """
        signs = self.aim.signs
        short = self.aim.short * np.abs(self.aim.low - self.aim.target) / SIZE
        asked = self.aim.target - signs * short
        for at, highest in self.bands.items():
            top = highest + self.aim.short * (self.aim.high[at] - highest) / SIZE
            nearest = min(max(level[at], asked[at]), top)
            signs[at] = np.sign(self.lam[at]) or np.sign(nearest - level[at])
            asked[at] = top if signs[at] < 0 else asked[at] if signs[at] > 0 else nearest
        return asked, signs

    def update(self, level: np.ndarray, pending: np.ndarray) -> dict[str, float]:
        """Take the step that a batch of responses asks for.

        Args:
            level: (k,) mean rewards of the batch.
            pending: (k,) Cov(r, λ·r − log(π / p0)) within a prompt, at the λ of the batch.

        Returns:
            The batch in the metrics: `lam/{value}`, its λ, and `gap/{value}`, asked level − level.
        """
        found = {f"lam/{name}": weight for name, weight in self.named_lam().items()}
        due = self.aim.target.copy()
        for at, top in self.bands.items():
            due[at] = min(max(level[at], due[at]), top)
        gaps = zip(self.aim.values, (due - level).tolist(), strict=True)
        found |= {f"gap/{name}": gap for name, gap in gaps}
        done = len(self.path)
        self.path.append(self.lam.tolist())
        self.levels.append(np.asarray(level, dtype=np.float64).tolist())
        left = max(0.0, 1 - done / (LEARNT * self.batches))
        gain = 2 / (done + 2 + WORTH * self.batches)
        ahead = level + left * pending
        asked, signs = self._ends(ahead)
        moves = self.moves[signs[self.moves] != 0]
        if not moves.size:
            return found
        side = signs[moves]
        root = self._root(moves, side)
        gap, old = side * (asked - ahead)[moves], side * self.lam[moves]
        goal = root @ old + gain * np.linalg.solve(root.T, gap)
        step = root @ (nnls(root, goal)[0] - old)
        length = self._length(self.aim.start)
        step *= _shrink(step, STEP * length)
        new = old + np.linalg.solve(root, step)
        new *= _shrink(root @ new, REACH * length)
        self.lam[moves] = side * np.maximum(new, 0.0)  # rounding
        return found

    @property
    def window(self) -> int:
        """Batches that the final λ and levels are averaged over."""
        return max(1, round(LAST * self.batches))

    @property
    def final(self) -> np.ndarray:
        """λ (k,) averaged over the last part of the training."""
        return np.mean(self.path[-self.window :] or [self.lam.tolist()], axis=0)

    @property
    def arrived(self) -> bool:
        """Whether every level is inside its interval at a stable λ, near the end."""
        if len(self.path) < max(1, SETTLED * self.batches):
            return False
        level, final = np.mean(self.levels[-self.window :], axis=0), self.final
        under, over = level < self.aim.low, level > self.aim.high
        floor = self.aim.signs > 0
        missed = np.where(floor, under, over)
        beyond = np.where(floor, over, under) & (final != 0)
        for at, top in self.bands.items():
            missed[at] = under[at] | over[at]
            inside = self.aim.target[at] - self.aim.low[at], self.aim.high[at] - top
            beyond[at] = (final[at] > 0 and level[at] > self.aim.target[at] + inside[0]) or (
                final[at] < 0 and level[at] < top - inside[1]
            )
        moved = max(self._length(np.array(lam) - final) for lam in self.path[-self.window :])
        stable = moved <= STABLE * self._length(final)
        return bool(stable and not beyond.any() and not missed.any())

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold, as JSON."""
        return {"lam": self.lam.tolist(), "path": self.path, "levels": self.levels}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.lam = np.array(state["lam"])
        self.path, self.levels = list(state["path"]), list(state["levels"])

    def record(self) -> dict[str, Any]:
        """What the manifest says: λ at the start and at the end, levels, and why it stopped."""
        named = lambda numbers: dict(zip(self.aim.values, map(float, numbers), strict=True))  # noqa: E731
        levels = self.levels[-self.window :]
        return {
            "lam_start": named(self.aim.start),
            "lam": named(self.final),
            "moved": named(self.final - self.aim.start),
            "target": named(self.aim.target),
            **({"highest": dict(self.aim.bands)} if self.bands else {}),
            "levels": named(np.mean(levels, axis=0)),
            "batches": len(self.path),
            "averaged": len(levels),
            "stopped": LEVELS_MET if self.arrived else STEPS_USED,
        }


def _shrink(vector: np.ndarray, longest: float) -> float:
    """Factor that makes a vector no longer than that."""
    length = float(np.linalg.norm(vector))
    return longest / length if length > longest else 1.0


def group_covariance(rewards: np.ndarray, scores: np.ndarray, size: int) -> np.ndarray:
    """Unbiased covariance (k,) of rewards (n, k) and scores (n,) within groups of `size` rows."""
    r = rewards.reshape(-1, size, rewards.shape[1])
    s = scores.reshape(-1, size, 1)
    s = (s - s.mean(axis=1, keepdims=True)) * size / (size - 1)
    return np.asarray((r * s).mean(axis=(0, 1)))
