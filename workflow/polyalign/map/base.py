"""The base policy as a finite table: candidates of prompts, their probabilities and rewards.

Everything else in `polyalign.map` asks this one object for expectations under a tilted policy
p_lam(j|x) = p0(j|x) exp(lam . r_xj) / Z_x(lam), so both scopes run through the same code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyalign.errors import InputError

SCOPES = ("auto", "prompt", "joint")
PROMPT_SCOPE_CANDIDATES = 8


@dataclass(frozen=True)
class Block:
    """Prompts with the same number K of candidates, stored so that sums over K are contiguous.

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


class Base:
    """Rewards of a base policy's candidates, in the scope in which it may be tilted.

    `center` (k,) is the base level, `scale` (k,) the unit of standardised rewards, `prompt` (n,)
    the prompt index of each row, `max_kl` the most nats that any tilt can spend.

    In scope `prompt` the probability of a prompt is fixed and each prompt's candidates are tilted;
    in scope `joint` all samples form one distribution.

    Args:
        rewards: (n, k) rewards, a row a candidate, a column a value.
        groups: (n,) integer prompt index; None makes each row its own prompt.
        scope: `prompt` or `joint` (`auto` is resolved by `resolve_scope`).
        weights: (n,) weights >= 0 of the samples. In scope `joint` p0 is proportional to them; in
            scope `prompt` they are the candidates' weights within a prompt.
        prompt_weights: (number of prompts,) weights of the prompts, by index; default equal. In
            scope `joint` they multiply the weights of their rows.
        scale: (k,) units in which rewards are standardised; default: what `spread` gives.

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
        weights: np.ndarray | None = None,
        prompt_weights: np.ndarray | None = None,
        scale: np.ndarray | None = None,
    ) -> None:
        rewards = check_rewards(rewards)
        n, self.k = rewards.shape
        self.n_rows = n
        self.scope = resolve_scope(scope, n, groups)
        group = check_groups(groups, n)
        p0 = check_weights(weights, n)
        shares = check_weights(prompt_weights, int(group.max()) + 1)
        row_share = shares[group]
        keep = (p0 > 0) & (row_share > 0)
        if not keep.any():
            raise InputError("all weights are zero; expected at least one positive weight")
        rows = np.arange(n) if keep.all() else np.flatnonzero(keep)
        self.n_samples = rows.size
        self.prompt = group
        self.n_prompts = int(np.count_nonzero(np.bincount(group[rows])))
        if self.scope == "joint":
            p0 = p0 * row_share
            group = np.zeros(n, dtype=np.intp)
            shares = np.ones(1)
        self.center, spread = _moments(rewards, p0, group, shares, rows)
        self.scale = spread if scale is None else np.asarray(scale, dtype=np.float64)
        self.blocks = self._blocks(rewards, p0, group, shares, rows)
        self.max_kl = float(sum((b.share * -b.log_p0.min(axis=0)).sum() for b in self.blocks))

    def _blocks(
        self,
        rewards: np.ndarray,
        p0: np.ndarray,
        group: np.ndarray,
        shares: np.ndarray,
        rows: np.ndarray,
    ) -> list[Block]:
        if self.scope == "joint":
            tables = [(rows[:, None], np.ones(1))]
        else:
            tables = _tables(group, shares, rows)
        blocks = []
        for table, share in tables:
            z = np.ascontiguousarray(np.moveaxis(rewards[table], 2, 0))
            z -= self.center[:, None, None]
            z /= self.scale[:, None, None]
            weight = p0[table]
            blocks.append(Block(table, z, np.log(weight / weight.sum(axis=0)), share))
        return blocks

    def standardise(self, levels: np.ndarray) -> np.ndarray:
        """Levels (..., k) in units of `scale`, counted from the base level."""
        return (np.asarray(levels, dtype=np.float64) - self.center) / self.scale

    def raw(self, levels: np.ndarray) -> np.ndarray:
        """Inverse of `standardise`."""
        return np.asarray(levels) * self.scale + self.center

    def moments(self, lam: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Mean log Z_x, its gradient E z (k,) and Hessian (k, k) at lam (k,), standardised units.

        The Hessian is the mean within-prompt covariance under the tilt.
        """
        value, mean, hessian = 0.0, np.zeros(self.k), np.zeros((self.k, self.k))
        for block in self.blocks:
            log_z, p = tilt(block, lam)
            if block.share.size == 1:
                z, q = block.z[:, :, 0], p[:, 0] * block.share[0]
                level = z @ q / block.share[0]
                mean += level * block.share[0]
                # Weighting by the root makes this one symmetric product, and never negative.
                root = (z - level[:, None]) * np.sqrt(q)
            else:
                level = np.einsum("kjx,jx->kx", block.z, p)
                mean += level @ block.share
                root = block.z - level[:, None, :]
                root *= np.sqrt(p * block.share)
                root = root.reshape(self.k, -1)
            hessian += root @ root.T
            value += float(block.share @ log_z)
        return value, mean, hessian

    def weights(self, lam: np.ndarray) -> np.ndarray:
        """Tilted probabilities (n,) by row, standardised lam: sum 1 a prompt, or sum 1 (joint)."""
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
        """Level (k,), standardised, of always the best candidate along `direction` (k,)."""
        level = np.zeros(self.k)
        for block in self.blocks:
            score = np.tensordot(direction, block.z, axes=1)
            best = score.argmax(axis=0)
            level += block.z[:, best, np.arange(best.size)] @ block.share
        return level

    def spent(self, lam: np.ndarray) -> tuple[float, float, float]:
        """Effective sample size, its mean a prompt, and the largest weight, under the tilt.

        In scope `prompt` the size is the sum over prompts of 1 / sum_j p_xj^2, and the largest
        weight the mean over prompts of max_j p_xj. In scope `joint` both are of the whole table.
        """
        total, mean, largest = 0.0, 0.0, 0.0
        for block in self.blocks:
            p = tilt(block, lam)[1]
            size = 1.0 / np.einsum("jx,jx->x", p, p)
            total += float(size.sum())
            mean += float(size @ block.share)
            largest += float(p.max(axis=0) @ block.share)
        return total, mean, largest


def tilt(block: Block, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log Z_x (G,) and tilted probabilities (K, G) of a block at standardised lam (k,)."""
    k, count, prompts = block.z.shape
    logits = (lam @ block.z.reshape(k, -1)).reshape(count, prompts)
    logits += block.log_p0
    if prompts == 1:
        # One long column: reductions along the flat array are several times faster.
        flat = logits[:, 0]
        top = flat.max()
        flat -= top
        np.exp(flat, out=flat)
        total = flat.sum()
        flat /= total
        return np.array([top + np.log(total)]), logits
    top = logits.max(axis=0)
    logits -= top
    np.exp(logits, out=logits)
    total = logits.sum(axis=0)
    logits /= total
    return top + np.log(total), logits


def resolve_scope(scope: str, n: int, groups: np.ndarray | None) -> str:
    """`prompt` or `joint`: `auto` is `prompt` from 8 candidates a prompt (on average) upwards.

    Raises:
        InputError: on another word.
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
        InputError: if it has no such shape, is empty, or holds a number that is not finite.
    """
    rewards = np.asarray(rewards, dtype=np.float64)
    if rewards.ndim != 2 or 0 in rewards.shape:
        raise InputError(f"rewards: shape {rewards.shape}; expected (samples, values), not empty")
    bad = np.argwhere(~np.isfinite(rewards))
    if bad.size:
        row, column = bad[0]
        raise InputError(
            f"rewards: {rewards[row, column]} in row {row}, column {column}; expected a finite "
            "number: score it again or remove the row"
        )
    return rewards


def check_groups(groups: np.ndarray | None, n: int) -> np.ndarray:
    """Prompt index (n,) as integers >= 0; None makes each row its own prompt.

    Raises:
        InputError: if it has another shape, or numbers that are no index.
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
        raise InputError(f"weights: shape {weights.shape}; expected ({n},), one a sample")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise InputError(f"weights: {weights[bad[0]]} in row {bad[0]}; expected a number >= 0")
    return weights


def check_target(target: np.ndarray, k: int) -> np.ndarray:
    """Target (k,) as float64.

    Raises:
        InputError: on another shape or a level that is not finite.
    """
    target = np.asarray(target, dtype=np.float64)
    if target.shape != (k,) or not np.isfinite(target).all():
        raise InputError(f"target: {target}; expected {k} finite levels, one a value")
    return target


def check_names(names: Sequence[str] | None, k: int) -> list[str]:
    """Names of the k values; None numbers them.

    Raises:
        InputError: if their number is wrong or one is repeated.
    """
    if names is None:
        return [f"value{i}" for i in range(k)]
    if len(names) != k or len(set(names)) != k:
        raise InputError(f"names: {list(names)}; expected {k} different names, one a value")
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


def _moments(
    rewards: np.ndarray, p0: np.ndarray, group: np.ndarray, shares: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Base level (k,) and standard deviation over all samples (k,); 1 for a constant value."""
    totals = np.bincount(group[rows], weights=p0[rows], minlength=shares.size)
    present = np.where(totals > 0, shares, 0.0)
    factor = present / np.where(totals > 0, totals, 1.0) / present.sum()
    probability = p0[rows] * factor[group[rows]]
    table = rewards if rows.size == len(rewards) else rewards[rows]
    center = probability @ table
    shifted = table - center
    spread = np.sqrt(np.einsum("ij,ij,i->j", shifted, shifted, probability))
    size = np.maximum(np.abs(center), np.abs(table).max(axis=0))
    return center, np.where(spread > 1e-12 * size, spread, 1.0)


def _tables(
    group: np.ndarray, shares: np.ndarray, rows: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows (K, G) and prompt probabilities (G,) for each number K of candidates that occurs."""
    order = rows[np.argsort(group[rows], kind="stable")]
    members, starts, counts = np.unique(group[order], return_index=True, return_counts=True)
    share = shares[members] / shares[members].sum()
    tables = []
    for count in np.unique(counts):
        chosen = counts == count
        tables.append((order[starts[chosen] + np.arange(count)[:, None]], share[chosen]))
    return tables
