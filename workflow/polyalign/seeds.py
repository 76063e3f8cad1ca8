"""Seeds of parts of a study, derived from the study's one seed."""

import hashlib


def batch_seed(seed: int, policy: str, batch: int) -> int:
    """Seed of one batch of one policy, the same on every machine, below 2**56."""
    digest = hashlib.sha256(f"{seed}:{policy}:{batch}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
