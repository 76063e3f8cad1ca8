"""Data of the tests of the mathematics."""

import numpy as np

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
