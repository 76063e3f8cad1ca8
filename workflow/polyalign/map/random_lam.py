"""λ at random, without a palette: what solved λ are compared with (MORL, random weights)."""

from collections.abc import Sequence

import numpy as np


def dirichlet_lam(k: int, count: int, *, seed: int, cap: float) -> np.ndarray:
    """Random lam (count, k) without a palette: a flat Dirichlet direction, a uniform sum below cap.

    The first m of `count` draws are the same whatever `count` is.

    Args:
        k: number of values.
        count: number of draws.
        seed: of the draws.
        cap: largest sum of lam, in 1 / the rewards' units.
    """
    draws = np.random.default_rng([seed, 1])
    return np.array([draws.dirichlet(np.ones(k)) * cap * draws.random() for _ in range(count)])


def random_lam(values: Sequence[str], cap: float, seed: int) -> dict[str, float]:
    """λ with a uniform direction and a uniform sum, as a baseline for solved λ.

    Args:
        values: names of the values.
        cap: largest sum of λ, in 1 / the rewards' units.
        seed: seed of the draw.
    """
    (lam,) = dirichlet_lam(len(values), 1, seed=seed, cap=cap)
    return dict(zip(values, lam.tolist(), strict=True))
