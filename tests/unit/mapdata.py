"""Data of the tests of the mathematics."""

import numpy as np
from scipy.optimize import linprog

COLUMNS = {
    "humor": "humor",
    "helpful": "gpt2-helpful",
    "harmless": "gpt2-harmless",
    "diversity": "diversity",
    "coherence": "coherence",
    "perplexity": "perplexity",
}


def skewed(prompts: int, candidates: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated skew rewards (n, k) with variance between prompts, and the prompt index (n,)."""
    draws = np.random.default_rng(seed)
    within = draws.normal(size=(prompts, candidates, k)) + 0.3 * draws.gamma(
        1.0, size=(prompts, candidates, 1)
    )
    rewards = draws.normal(size=(prompts, 1, k)) + within * np.linspace(0.5, 2.0, k)
    return rewards.reshape(-1, k), np.repeat(np.arange(prompts), candidates)


def whole_programme(rewards, groups, offset, direction, shares):
    """Largest t with sum w r >= offset + t direction, w on one simplex per prompt: as written."""
    n = len(rewards)
    prompts = np.unique(groups)
    equal = np.array([np.append(groups == x, False) for x in prompts], dtype=float)
    result = linprog(
        np.append(np.zeros(n), -1.0),
        A_ub=np.hstack([-rewards.T, direction[:, None]]),
        b_ub=-offset,
        A_eq=equal,
        b_eq=shares,
        bounds=[(0, None)] * n + [(None, None)],
    )
    return result.x[-1] if result.status == 0 else None
