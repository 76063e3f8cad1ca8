"""A pool of candidates for the tests of what is made from one."""

import numpy as np
import pandas as pd

from polyalign.data.keys import prompt_id


def pool(prompts: int = 400, candidates: int = 16, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    names = [f"prompt {number}" for number in range(prompts)]
    shift = generator.normal(size=(prompts, 1, 2)) * 0.7
    rewards = (shift + generator.normal(size=(prompts, candidates, 2))).reshape(-1, 2)
    texts = np.repeat(names, candidates)
    return pd.DataFrame(
        {
            "prompt_id": [prompt_id(text) for text in texts],
            "candidate": np.tile(np.arange(candidates), prompts),
            "prompt": texts,
            "response": [f"r{row}" for row in range(len(texts))],
            "split": np.repeat(["fit", "test"], len(texts) // 2),
            "n_tokens": 3,
            "logprob": -1.0,
            "humor": rewards[:, 0],
            "helpful": rewards[:, 1],
        }
    )
