"""The commit of a checkout."""

import os
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
"""The checkout that holds this library."""


def commit(checkout: Path = CHECKOUT) -> str:
    """The commit of a checkout, with `-dirty` if files differ; empty where git knows none."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    # A checkout without history inside somebody else's repository is not of that repository.
    within = {**os.environ, "GIT_CEILING_DIRECTORIES": str(checkout.resolve().parent)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, env=within, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
