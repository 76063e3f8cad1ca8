"""Keys: the columns of every table of samples, prompt ids and splits, seeds, keys of texts."""

import hashlib
import json

KEY = ["prompt_id", "candidate"]
SAMPLE_COLUMNS = [
    *KEY,
    "prompt",
    "response",
    "split",
    "n_tokens",
    "truncated",
    "end_token",
    "logprob",
    "logprob_base",
    "kl",
]
"""Columns of every table of samples; no value may have one of these names."""

CHANCE = "probability of the choice"
"""Column of candidates that a policy chooses among; with spaces, as no value's name has."""


def prompt_id(prompt: str) -> str:
    """Identifier of a prompt: the first 16 hex digits of the SHA-256 of its text."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def split_of(prompt: str, test_share: float) -> str:
    """`test` for about `test_share` of all texts, else `fit`; always the same for the same text."""
    digest = hashlib.sha256(b"split:" + prompt.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < test_share * 2**64 else "fit"


def batch_seed(seed: int, policy: str, batch: int) -> int:
    """Seed of one batch of one policy, the same on every machine, below 2**56."""
    digest = hashlib.sha256(f"{seed}:{policy}:{batch}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def content_key(*texts: str) -> str:
    """Key of what is scored, prompt and response or a response: 32 hex digits of its SHA-256."""
    text = json.dumps(texts)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
