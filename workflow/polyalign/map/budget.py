"""KL that a palette needs, and KL that selection among K candidates can spend."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import erf, exp, hypot, inf, log, pi, sqrt

import numpy as np

from polyalign.errors import InputError
from polyalign.map.base import Base, check_target
from polyalign.map.dual import maximise
from polyalign.map.palette import SPREAD
from polyalign.map.words import QUANTILES, parse_level, rows_of

MAX_CANDIDATES = 10**9


@dataclass(frozen=True)
class Budget:
    """KL that a palette needs, and KL that selection among K candidates can spend.

    Attributes:
        kl: nats per prompt that the palette needs with unlimited candidates, in a Gaussian model of
            the rewards within a prompt.
        log_k: the most that selection among the table's candidates can spend, nats per prompt.
        candidates: candidates per prompt (mean).
        suffices: candidates with which, in that model, greedy selection reaches the palette; None
            if more than a billion.
    """

    kl: float
    log_k: float
    candidates: float
    suffices: int | None


def budget(base: Base, target: np.ndarray) -> Budget:
    """KL per prompt that a palette needs, against log K, and the K that would suffice.

    In a Gaussian model of the rewards within prompts the palette needs kl = max over nu >= 0 of
    nu . d - nu' S nu / 2 (d: asked gain, S: mean within-prompt covariance, without the bias of few
    candidates), and greedy selection among K candidates reaches it when the expected largest of K
    standard normals is sqrt(2 kl). Prompts with one candidate show no covariance and count as 0.

    Args:
        base: the base policy, in scope `prompt`.
        target: (k,) raw levels.

    Raises:
        InputError: in scope `joint`, where the candidates per prompt do not matter.
    """
    if base.scope != "prompt":
        raise InputError(
            "budget: the scope is joint; the candidates per prompt matter in scope prompt alone"
        )
    goal = base.standardise(check_target(target, base.k))
    covariance = _within(base)

    def gaussian(lam: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        return float(lam @ covariance @ lam) / 2, covariance @ lam, covariance

    # Beyond the KL of choosing among a billion candidates the answer is None anyway.
    optimum = maximise(gaussian, goal, 10 * log(MAX_CANDIDATES), tolerance=1e-8)
    kl = optimum.value if optimum.status == "solved" else np.inf
    return Budget(
        kl=kl,
        log_k=base.max_kl,
        candidates=base.n_samples / base.n_prompts,
        suffices=candidates_for(sqrt(2 * max(kl, 0.0)) if np.isfinite(kl) else np.inf),
    )


def _within(base: Base) -> np.ndarray:
    """Mean over prompts of the unbiased covariance (k, k) of their candidates, standardised."""
    covariance = np.zeros((base.k, base.k))
    for block in base.blocks:
        p0 = np.exp(block.log_p0)
        # With equal weights this is (K - 1) / K.
        left = 1.0 - (p0 * p0).sum(axis=0)
        share = np.where(left > 1e-12, block.share / np.maximum(left, 1e-12), 0.0)
        root = block.z - np.einsum("kjx,jx->kx", block.z, p0)[:, None, :]
        root *= np.sqrt(p0 * share)
        root = root.reshape(base.k, -1)
        covariance += root @ root.T
    return covariance


def budget_message(found: Budget) -> str:
    """A budget as text for messages about a palette that selection cannot reach."""
    needs = f"{found.kl:.3g} nats per prompt" if np.isfinite(found.kl) else "no finite KL"
    enough = f"about {found.suffices}" if found.suffices else "more than a billion"
    return (
        f"in a Gaussian model of the rewards it needs {needs}; selection among "
        f"{found.candidates:.3g} candidates can spend {found.log_k:.3g} nats, and {enough} would "
        "suffice"
    )


def shortfall_message(found: Budget) -> str:
    """As `budget_message`, for a palette that was shown to be out of reach of these candidates."""
    if found.suffices is None or found.suffices > found.candidates:
        return budget_message(found)
    return (
        f"a Gaussian model of the rewards, by which about {found.suffices} of the "
        f"{found.candidates:.3g} candidates would suffice, does not hold here: how many do is not "
        "known"
    )


def sd_above_base(levels: Iterable[str | float]) -> float:
    """How far a palette is above the base level, in standard deviations, before any sampling.

    For rewards that are normal, uncorrelated, and vary within prompts only, which is the easiest
    case but for correlation: the root of the sum of squares of the floors above the mean and the
    ceilings below it. Plain numbers, whose unit is not known, count as 0; `max` is infinitely far.

    Args:
        levels: the words of a palette.
    """
    rows = [row for word in levels for row in rows_of({"": word})]
    return hypot(*(max(0.0, row.sign * _above_mean(row.level)) for row in rows))


def _above_mean(level: str | float) -> float:
    kind, number = parse_level(level)
    if kind in QUANTILES:
        return normal_quantile(number / 100) if 0 < number < 100 else (inf if number else -inf)
    if kind == "percent":
        return number / 100 * (normal_quantile(SPREAD[1]) - normal_quantile(SPREAD[0]))
    return {"mean": number, "max": inf}.get(kind, 0.0)


def candidates_for(level: float) -> int | None:
    """Fewest candidates whose expected largest of standard normals is `level`; None beyond 1e9."""
    if level <= 0:
        return 1
    if expected_largest(MAX_CANDIDATES) < level:
        return None
    low, high = 1, MAX_CANDIDATES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if expected_largest(middle) >= level else (middle, high)
    return high


def expected_largest(count: int) -> float:
    """Expected largest of `count` standard normals, by quadrature (to 1e-6)."""
    x, below = _normal_distribution()
    return float(x[-1] - np.trapezoid(below**count, x))


@cache
def _normal_distribution() -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(-9.0, 9.0, 4001)
    return x, 0.5 * np.array([1 + erf(v / sqrt(2)) for v in x])


def normal_quantile(share: float) -> float:
    """Quantile of the standard normal, by Newton's method on its distribution function."""
    x = 0.0
    for _ in range(60):
        error = 0.5 * (1 + erf(x / sqrt(2))) - share
        step = error / (exp(-x * x / 2) / sqrt(2 * pi))
        x -= max(-1.0, min(1.0, step))
        if abs(step) < 1e-14:
            break
    return x
