"""The base policy as a finite table: candidates of prompts, their probabilities and rewards.

Everything else in `polyalign.map` asks this one object for expectations under a tilted policy
p_lam(j|x) = p0(j|x) exp(lam . r_xj) / Z_x(lam), so both scopes run through the same code.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import NamedTuple, Protocol

import numpy as np

from polyalign.errors import InputError
from polyalign.finite import LARGEST, usable

SCOPES = ("auto", "prompt", "joint")
PROMPT_SCOPE_CANDIDATES = 8
# A target that is out of reach by less than this many standard deviations counts as feasible, on
# the edge: the greedy level itself, for example, up to rounding.
EDGE = 1e-8
# Spread, relative to a value's scale and level, that is rounding.
SAME = 1e-12
# Relative difference of two lam that is the rounding of a change of units and back.
SAME_LAM = 1e-15
CHUNK_CELLS = 150_000  # samples x lam at a time: they stay in a core's cache
BLOCK_NUMBERS = 64_000  # rewards in a block of scope `prompt`: with its products, a core's cache


class Units:
    """Raw and standardised levels; `center` and `scale` are (k,), in the rewards' units.

    The scale of a ceiling is negative: its standardised level rises as the level falls, so that
    for floors and ceilings alike more is better and the standardised λ is >= 0.

    `constant` (k,) says which values are the same for every sample, and `fixed` (k,) which of them
    no tilt can change: those, and in scope `prompt` the ones that are the same for all candidates
    of each prompt.
    """

    center: np.ndarray
    scale: np.ndarray
    constant: np.ndarray
    fixed: np.ndarray

    def standardise(self, levels: np.ndarray) -> np.ndarray:
        """Levels (..., k) in units of `scale`, counted from the base level.

        A fixed value that is asked for its base level is not asked for more by rounding.
        """
        z = (np.asarray(levels, dtype=np.float64) - self.center) / self.scale
        if not self.fixed.any():
            return z
        rounding = EDGE + 1e-13 * np.abs(self.center / self.scale)
        return np.where(self.fixed & (np.abs(z) <= rounding), -rounding, z)

    def raw(self, levels: np.ndarray) -> np.ndarray:
        """Inverse of `standardise`."""
        return np.asarray(levels) * self.scale + self.center


class Rough(NamedTuple):
    """What a first solution in single precision and its correction in double precision need.

    `moments` are those of `Tilted`, to about 1e-6; `slopes` are the exact value and gradient.
    """

    moments: Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]
    slopes: Callable[[np.ndarray], tuple[float, np.ndarray]]


class Tilted(Protocol):
    """What solving and feasibility need of a base policy, in memory or streamed."""

    k: int
    scope: str
    center: np.ndarray
    scale: np.ndarray
    constant: np.ndarray
    fixed: np.ndarray
    max_kl: float
    n_samples: int
    n_prompts: int

    def standardise(self, levels: np.ndarray) -> np.ndarray:
        """Raw levels in standard deviations from the base level."""

    def raw(self, levels: np.ndarray) -> np.ndarray:
        """Inverse of `standardise`."""

    def moments(self, lam: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Mean log Z_x, its gradient and Hessian at a standardised lam."""

    def rough(self) -> Rough | None:
        """Cheaper moments to start with, if there are any."""

    def best(self, direction: np.ndarray) -> np.ndarray:
        """Standardised level of the policy that takes the best candidate along a direction."""

    def support(self, lam: np.ndarray) -> tuple[float, float, float]:
        """Effective sample size, its mean per prompt, and the largest weight at lam."""


@dataclass(frozen=True)
class Block:
    """Prompts with the same number K of candidates, stored so that sums over K are contiguous.

    In scope `joint` one block holds the whole table; in scope `prompt` a block stays in the cache.

    Attributes:
        rows: (K, G) row numbers in the caller's table.
        z: (k, K, G) standardised rewards.
        log_p0: (K, G) log of the base probability within its prompt.
        share: (G,) probability of each prompt; sums to 1 over all blocks.
    """

    rows: np.ndarray
    z: np.ndarray
    log_p0: np.ndarray
    share: np.ndarray


@dataclass(frozen=True)
class Tilts:
    """What m standardised lam do to a base policy.

    Attributes:
        log_z: (m,) mean over prompts of log Z_x.
        levels: (m, k) levels, standardised.
        ess: (m,) effective sample sizes: in scope `prompt` the sum over prompts.
        mean_ess: (m,) the mean over prompts of 1 / sum_j p_xj^2.
        max_weight: (m,) mean over prompts of the largest weight.
    """

    log_z: np.ndarray
    levels: np.ndarray
    ess: np.ndarray
    mean_ess: np.ndarray
    max_weight: np.ndarray


class Base(Units):
    """Rewards of a base policy's candidates, in the scope in which it may be tilted.

    `center` (k,) is the base level, `scale` (k,) the unit of standardised rewards, `prompt` (n,)
    the prompt index of each row, `max_kl` the most nats that any tilt can spend.

    In scope `prompt` the probability of a prompt is fixed and each prompt's candidates are tilted;
    in scope `joint` all samples form one distribution.

    Args:
        rewards: (n, k) rewards, one row per candidate, one column per value.
        groups: (n,) integer prompt index; None makes each row its own prompt.
        scope: `prompt` or `joint` (`auto` is resolved by `resolve_scope`).
        prompt_weights: (number of prompts,) weights >= 0 of the prompts, by index; default equal.
            In scope `joint` p0 of a row is proportional to the weight of its prompt.
        scale: (k,) units in which rewards are standardised; default: their standard deviations
            under the base policy, with the signs.
        signs: (k,) 1 for a floor and -1 for a ceiling; default: floors.

    Raises:
        InputError: on shapes that do not match, numbers that are not finite, negative weights, or
            weights that are all zero.
    """

    def __init__(
        self,
        rewards: np.ndarray,
        groups: np.ndarray | None,
        scope: str,
        *,
        prompt_weights: np.ndarray | None = None,
        scale: np.ndarray | None = None,
        signs: np.ndarray | None = None,
    ) -> None:
        rewards = check_rewards(rewards)
        n, self.k = rewards.shape
        self.signs = np.ones(self.k) if signs is None else np.asarray(signs, dtype=np.float64)
        self.n_rows = n
        self.scope = resolve_scope(scope, n, groups)
        self.prompt = group = check_groups(groups, n)
        shares = check_weights(prompt_weights, n if groups is None else int(group.max()) + 1)
        rows = np.arange(n)
        if prompt_weights is not None:
            rows = np.flatnonzero(shares[group] > 0)
            if not rows.size:
                raise InputError("all weights are zero; expected at least one positive weight")
        self.n_samples = self.n_prompts = rows.size
        if groups is not None:
            self.n_prompts = int(np.count_nonzero(np.bincount(group[rows])))
        # The moments at lam = 0 are those by which the table is standardised.
        if self.scope == "joint":
            covariance = self._prepare_joint(
                rewards, shares[group] / shares[group].sum(), rows, scale
            )
        else:
            covariance = self._prepare_prompts(rewards, _tables(group, shares, rows), scale)
        self.fixed = self.constant | (
            np.sqrt(covariance.diagonal()) <= SAME * (np.abs(self.scale) + np.abs(self.center))
        )
        hessian = covariance / (self.scale[:, None] * self.scale)
        self._untilted = 0.0, np.zeros(self.k), hessian
        self.max_kl = float(sum((b.share * -b.log_p0.min(axis=0)).sum() for b in self.blocks))
        self._last: tuple[bytes, tuple[float, float, float]] | None = None
        self._known: tuple[np.ndarray, tuple[float, np.ndarray, np.ndarray]] | None = None
        self._single: list[np.ndarray] | None = None

    def _prepare_joint(
        self,
        rewards: np.ndarray,
        probability: np.ndarray,
        rows: np.ndarray,
        scale: np.ndarray | None,
    ) -> np.ndarray:
        """Set what scope `joint` needs; returns the covariance (k, k) under the base policy."""
        n = self.n_rows
        counted = slice(None) if rows.size == n else rows
        self.center = probability[counted] @ rewards[counted]
        # A row of ones above the rewards: one product yields the total, the levels and the squares.
        table = np.ones((self.k + 1, n))
        z = np.subtract(rewards.T, self.center[:, None], out=table[1:])
        covariance = np.dot(z[:, counted] * probability[counted], z[:, counted].T)
        self._set_scale(covariance.diagonal(), scale)
        z *= (1.0 / self.scale)[:, None]
        if rows.size < n:
            table, probability = table[:, rows], probability[rows]
        self._table = table
        log_p0 = np.log(probability)[:, None]
        self.blocks = [Block(rows[:, None], table[1:, :, None], log_p0, np.ones(1))]
        return covariance

    def _prepare_prompts(
        self,
        rewards: np.ndarray,
        tables: list[tuple[np.ndarray, np.ndarray]],
        scale: np.ndarray | None,
    ) -> np.ndarray:
        """Set what scope `prompt` needs; returns the mean covariance (k, k) within prompts."""
        k, self.blocks, levels = self.k, [], []
        covariance = np.zeros((k, k))
        stored, done = np.empty(k * sum(table.size for table, _ in tables)), 0
        size = min(stored.size, max(BLOCK_NUMBERS, k * max(len(table[0]) for table, _ in tables)))
        # One buffer for all blocks: it stays in the cache.
        buffers = np.empty((2, size))
        for table, shares in tables:
            count = table.shape[1]
            step = max(1, BLOCK_NUMBERS // (k * count))
            for start in range(0, len(table), step):
                rows, share = table[start : start + step], shares[start : start + step]
                z = stored[done : done + k * rows.size].reshape(k, count, -1)
                done += z.size
                z[:] = rewards.take(rows, axis=0).transpose(2, 1, 0)
                deviation, weighted = buffers[:, : z.size].reshape(2, *z.shape)
                level = z.sum(axis=1) / count
                np.subtract(z, level[:, None, :], out=deviation)
                np.multiply(deviation, share / count, out=weighted)
                covariance += np.dot(weighted.reshape(k, -1), deviation.reshape(k, -1).T)
                # The candidates of a prompt count alike.
                log_p0 = np.broadcast_to(-log(count), (count, len(rows)))
                self.blocks.append(Block(rows.T, z, log_p0, share))
                levels.append(level)
        level = np.concatenate(levels, axis=1)
        shares = np.concatenate([block.share for block in self.blocks])
        self.center = level @ shares
        between = (level - self.center[:, None]) ** 2 @ shares
        self._set_scale(covariance.diagonal() + between, scale)
        unit = 1.0 / self.scale[:, None, None]
        for block in self.blocks:
            np.subtract(block.z, self.center[:, None, None], out=block.z)
            np.multiply(block.z, unit, out=block.z)
        return covariance

    def _set_scale(self, variance: np.ndarray, scale: np.ndarray | None) -> None:
        spread = np.sqrt(variance)
        self.constant = ~(spread > SAME * np.abs(self.center))
        # A constant value has no spread: its unit is 1.
        spread = np.where(self.constant, 1.0, spread)
        self.scale = spread * self.signs if scale is None else np.asarray(scale, dtype=np.float64)

    def moments(self, lam: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Mean log Z_x, its gradient E z (k,) and Hessian (k, k) at lam (k,), standardised units.

        The Hessian is the mean within-prompt covariance under the tilt.
        """
        if not lam.any():
            return self._untilted
        return self._joint(lam) if self.scope == "joint" else self._prompts(lam)

    def rough(self) -> "Rough | None":
        """Cheaper moments to start with: in scope `prompt` those in single precision.

        Where one block holds the whole table, a Newton step costs little more than its calls.
        """
        if len(self.blocks) == 1:
            return None
        if self._single is None:
            self._single = [block.z.astype(np.float32) for block in self.blocks]
        return Rough(self._single_moments, self._slopes)

    def _prompts(self, lam: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        value, mean, square, hessian = self._products(lam, [block.z for block in self.blocks])
        if _digits_lost(hessian, square):
            hessian[:] = 0.0
            for block in self.blocks:
                p = tilt(block, lam)[1]
                level = np.einsum("kjx,jx->kx", block.z, p)
                root = block.z - level[:, None, :]
                root *= np.sqrt(p * block.share)
                hessian += root.reshape(self.k, -1) @ root.reshape(self.k, -1).T
        return value, mean, hessian

    def _single_moments(self, lam: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        if not lam.any():
            return self._untilted
        assert self._single is not None
        value, mean, _, hessian = self._products(lam, self._single)
        return value, mean, hessian

    def _products(
        self, lam: np.ndarray, tables: list[np.ndarray]
    ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """Value, gradient, second moments and Hessian, in the precision of the blocks' z."""
        k, value, mean = self.k, 0.0, np.zeros(self.k)
        square, hessian = np.zeros((k, k)), np.zeros((k, k))
        # One buffer for all blocks: it stays in the cache.
        buffer = np.empty(max(z.size for z in tables), dtype=tables[0].dtype)
        for block, z in zip(self.blocks, tables, strict=True):
            p, total, log_z = _exponentials(block, z, lam)
            value += float(np.dot(block.share, log_z))
            share = block.share.astype(z.dtype, copy=False)
            p *= share / total
            products = buffer[: z.size].reshape(z.shape)
            np.multiply(z, p, out=products)
            level = products.sum(axis=1)
            mean += level.sum(axis=1)
            square += np.dot(products.reshape(k, -1), z.reshape(k, -1).T)
            hessian -= np.dot(level / share, level.T)
        hessian += square
        return value, mean, square, hessian

    def _slopes(self, lam: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient of mean log Z alone, in half the time of the Hessian."""
        value, mean = 0.0, np.zeros(self.k)
        ess = mean_ess = largest = 0.0
        for block in self.blocks:
            p, total, log_z = _exponentials(block, block.z, lam)
            value += float(np.dot(block.share, log_z))
            # The best candidate's term is 1, so its probability is 1 / total.
            weight = block.share / total
            largest += float(weight.sum())
            sizes = total * total / np.einsum("jx,jx->x", p, p)
            ess += float(sizes.sum())
            mean_ess += float(np.dot(block.share, sizes))
            p *= weight
            mean += np.dot(block.z.reshape(self.k, -1), p.ravel())
        self._last = lam.tobytes(), (ess, mean_ess, largest)
        return value, mean

    def _joint(self, lam: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        known = self._known
        # A solution that is the next one's start comes back in other units, changed by rounding.
        if known is not None and (np.abs(lam - known[0]) <= SAME_LAM * known[0]).all():
            return known[1]
        table = self._table
        e = np.dot(lam, table[1:])
        e += self.blocks[0].log_p0[:, 0]
        top = float(e.max())
        e -= top
        np.exp(e, out=e)
        products = np.dot(table * e, table.T)
        total = float(products[0, 0])
        products /= total
        level, second = products[0, 1:], products[1:, 1:]
        covariance = second - level[:, None] * level
        if _digits_lost(covariance, second):
            root = (table[1:] - level[:, None]) * np.sqrt(e / total)
            covariance = root @ root.T
        ess = total * total / float(np.dot(e, e))
        self._last = lam.tobytes(), (ess, ess, 1.0 / total)
        for shared in (level, covariance):
            shared.setflags(write=False)
        self._known = lam.copy(), (top + log(total), level, covariance)
        return self._known[1]

    def weights(self, lam: np.ndarray) -> np.ndarray:
        """Tilted probabilities (n,) by row at standardised lam.

        They sum to 1 within each prompt, or over the whole table in scope `joint`.
        """
        result = np.zeros(self.n_rows)
        for block in self.blocks:
            result[block.rows] = tilt(block, lam)[1]
        return result

    def prompt_levels(self, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Levels (G, k) of each prompt under the tilt, standardised, and the prompts' shares (G,).

        In scope `joint` there is one group, the whole table.
        """
        levels = [np.einsum("kjx,jx->xk", block.z, tilt(block, lam)[1]) for block in self.blocks]
        return np.concatenate(levels), np.concatenate([block.share for block in self.blocks])

    def best(self, direction: np.ndarray) -> np.ndarray:
        """Standardised level (k,) of the policy that takes the best along `direction` (k,)."""
        level = np.zeros(self.k)
        for block in self.blocks:
            score = np.tensordot(direction, block.z, axes=1)
            best = score.argmax(axis=0)
            level += block.z[:, best, np.arange(best.size)] @ block.share
        return level

    def support(self, lam: np.ndarray) -> tuple[float, float, float]:
        """Effective sample size, its mean per prompt, and the largest weight, under the tilt.

        In scope `prompt` the size is the sum over prompts of 1 / sum_j p_xj^2, and the largest
        weight the mean over prompts of max_j p_xj. In scope `joint` both are of the whole table.
        """
        # The last moments have shown it already, if they were those at this lam.
        last = self._last
        if last is not None and last[0] == lam.tobytes():
            return last[1]
        tilts = self.tilts(lam[None, :])
        return float(tilts.ess[0]), float(tilts.mean_ess[0]), float(tilts.max_weight[0])

    def tilts(self, lams: np.ndarray) -> Tilts:
        """Levels and support at many standardised lam (m, k) at once."""
        m = len(lams)
        found = Tilts(np.zeros(m), np.zeros((m, self.k)), np.zeros(m), np.zeros(m), np.zeros(m))
        for block in self.blocks:
            k, count, prompts = block.z.shape
            flat = block.z.reshape(k, -1)
            for rows in chunks(m, count * prompts):
                logits = (lams[rows] @ flat).reshape(-1, count, prompts)
                logits += block.log_p0
                log_z, p = softmax(logits)
                sizes = 1.0 / np.einsum("mjx,mjx->mx", p, p)
                found.log_z[rows] += log_z @ block.share
                found.ess[rows] += sizes.sum(axis=1)
                found.mean_ess[rows] += sizes @ block.share
                found.max_weight[rows] += p.max(axis=1) @ block.share
                p *= block.share
                found.levels[rows] += p.reshape(len(p), -1) @ flat.T
        return found

    def shares_below(self, levels: np.ndarray) -> np.ndarray:
        """Shares (m, k) of the base policy's samples at or below standardised levels (m, k)."""
        weight = np.concatenate([(np.exp(b.log_p0) * b.share).ravel() for b in self.blocks])
        shares = np.empty(levels.shape)
        for i in range(self.k):
            sample = np.concatenate([b.z[i].ravel() for b in self.blocks])
            order = np.argsort(sample)
            total = np.append(0.0, np.cumsum(weight[order]))
            shares[:, i] = total[np.searchsorted(sample[order], levels[:, i], side="right")]
        return np.minimum(shares, 1.0)


def chunks(m: int, n: int) -> Iterator[slice]:
    """Slices of m lam, so that each handles about `CHUNK_CELLS` of n samples for each lam."""
    size = max(1, CHUNK_CELLS // n)
    for start in range(0, m, size):
        yield slice(start, min(start + size, m))


def softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log Z (m, G) and probabilities (m, K, G) over the K candidates; `logits` are overwritten."""
    if logits.shape[2] == 1:
        # One long column: reductions along the last axis are several times faster.
        log_z, p = softmax_rows(logits[:, :, 0])
        return log_z[:, None], p[:, :, None]
    top = logits.max(axis=1)
    logits -= top[:, None, :]
    np.exp(logits, out=logits)
    total = logits.sum(axis=1)
    logits /= total[:, None, :]
    return top + np.log(total), logits


def softmax_rows(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log Z (m,) and probabilities (m, n) of each row; `logits` are overwritten."""
    top = logits.max(axis=1)
    logits -= top[:, None]
    np.exp(logits, out=logits)
    total = logits.sum(axis=1)
    logits /= total[:, None]
    return top + np.log(total), logits


def tilt(block: Block, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log Z_x (G,) and tilted probabilities (K, G) of a block at standardised lam (k,)."""
    k, count, prompts = block.z.shape
    logits = (lam @ block.z.reshape(k, -1)).reshape(1, count, prompts)
    logits += block.log_p0
    log_z, p = softmax(logits)
    return log_z[0], p[0]


def _exponentials(
    block: Block, z: np.ndarray, lam: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (K, G) before they are divided by their total (G,), and log Z_x (G,).

    The largest of each prompt is 1. The candidates of a prompt must count alike. `z` is `block.z`,
    or the same in single precision, in which the result is then, too.
    """
    k, count, prompts = z.shape
    p = np.dot(lam.astype(z.dtype, copy=False), z.reshape(k, -1)).reshape(count, prompts)
    top = p.max(axis=0)
    p -= top
    np.exp(p, out=p)
    total = p.sum(axis=0)
    return p, total, top + np.log(total) + block.log_p0[0]


def resolve_scope(scope: str, n: int, groups: np.ndarray | None) -> str:
    """`prompt` or `joint`: `auto` is `prompt` from 8 candidates per prompt (on average) upwards.

    Raises:
        InputError: if `scope` is not one of `SCOPES`.
    """
    if scope not in SCOPES:
        raise InputError(f"scope: {scope!r} is unknown; expected one of {', '.join(SCOPES)}")
    if scope != "auto":
        return scope
    prompts = n if groups is None else np.unique(groups).size
    return "prompt" if n >= PROMPT_SCOPE_CANDIDATES * prompts else "joint"


def check_rewards(rewards: np.ndarray) -> np.ndarray:
    """Rewards as a float64 array (n, k).

    Raises:
        InputError: if the shape is another, the array is empty, or a number in it is not finite or
            above `LARGEST`.
    """
    rewards = np.asarray(rewards, dtype=np.float64)
    if rewards.ndim != 2 or 0 in rewards.shape:
        raise InputError(f"rewards: shape {rewards.shape}; expected (samples, values), not empty")
    finite = usable(rewards)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise InputError(
            f"rewards: {rewards[row, column]} in row {row}, column {column}; expected a finite "
            f"number of at most {LARGEST:g}: score it again or remove the row"
        )
    return rewards


def check_groups(groups: np.ndarray | None, n: int) -> np.ndarray:
    """Prompt index (n,) as integers >= 0; None makes each row its own prompt.

    Raises:
        InputError: if the array has another shape, or its numbers are not indices.
    """
    if groups is None:
        return np.arange(n)
    groups = np.asarray(groups)
    if groups.shape != (n,) or groups.dtype.kind not in "iu" or groups.min() < 0:
        raise InputError(
            f"groups: shape {groups.shape}, type {groups.dtype}; expected {n} integers >= 0, "
            "the prompt index of each row"
        )
    return groups.astype(np.intp, copy=False)


def check_weights(weights: np.ndarray | None, n: int) -> np.ndarray:
    """Weights (n,) as float64 >= 0; None is all ones.

    Raises:
        InputError: if the shape differs or a weight is negative or not finite.
    """
    if weights is None:
        return np.ones(n)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (n,):
        raise InputError(f"weights: shape {weights.shape}; expected ({n},), one per sample")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise InputError(f"weights: {weights[bad[0]]} in row {bad[0]}; expected a number >= 0")
    return weights


def check_target(target: np.ndarray, k: int, what: str = "target") -> np.ndarray:
    """A target (k,), or what `what` names, as float64.

    Raises:
        InputError: on another shape or a number that is not finite.
    """
    target = np.asarray(target, dtype=np.float64)
    if target.shape != (k,) or not np.isfinite(target).all():
        raise InputError(f"{what}: {target}; expected {k} finite numbers, one per value")
    return target


def check_names(names: Sequence[str] | None, k: int) -> list[str]:
    """Names of the k values; None numbers them.

    Raises:
        InputError: if their number is wrong or one is repeated.
    """
    if names is None:
        return [f"value{i}" for i in range(k)]
    if len(names) != k or len(set(names)) != k:
        raise InputError(f"names: {list(names)}; expected {k} different names, one per value")
    return list(names)


def base_probabilities(
    n: int, groups: np.ndarray | None, scope: str, weights: np.ndarray | None = None
) -> np.ndarray:
    """Probability (n,) of each sample under the base policy; sums to 1.

    In scope `prompt` all prompts count alike, however many candidates they have.
    """
    p0 = check_weights(weights, n)
    if not p0.any():
        raise InputError("all weights are zero; expected at least one positive weight")
    if resolve_scope(scope, n, groups) == "prompt":
        group = check_groups(groups, n)
        totals = np.bincount(group, weights=p0)
        p0 = p0 / np.where(totals > 0, totals, 1.0)[group]
    return p0 / p0.sum()


def _digits_lost(covariance: np.ndarray, second: np.ndarray) -> bool:
    """Whether second moments less squared levels have lost the digits of a variance.

    Deviations from the level lose none.
    """
    digits = zip(covariance.diagonal().tolist(), second.diagonal().tolist(), strict=True)
    return any(difference < 1e-6 * square for difference, square in digits)


def _tables(
    group: np.ndarray, shares: np.ndarray, rows: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows (G, K) and prompt probabilities (G,) for each number K of candidates that occurs."""
    group = group[rows]
    if (group[1:] < group[:-1]).any():
        order = np.argsort(group, kind="stable")
        group, rows = group[order], rows[order]
    starts = np.append(0, np.flatnonzero(group[1:] != group[:-1]) + 1)
    counts = np.diff(starts, append=group.size)
    share = shares[group[starts]]
    share = share / share.sum()
    tables = []
    for count in np.unique(counts):
        chosen = counts == count
        tables.append((rows[starts[chosen, None] + np.arange(count)], share[chosen]))
    return tables
