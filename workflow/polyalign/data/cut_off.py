"""Responses that the token limit ended: from a fifth on, every reader is warned of them."""

import math
from collections.abc import Mapping

import pandas as pd

MANY = 0.2
"""Share of responses without an end from which rewards are mostly of unfinished texts."""


def cut_share(samples: pd.DataFrame) -> float:
    """Share of the responses that the token limit ended; NaN where a table does not say so."""
    if "truncated" not in samples or not len(samples):
        return math.nan
    return float(pd.to_numeric(samples["truncated"], errors="coerce").mean())


def cut_warning(shares: Mapping[str, float]) -> str | None:
    """One sentence on the policies of which many responses were cut; None if there are none.

    Args:
        shares: policy → share of its responses that the token limit ended.
    """
    many = [f"{share:.0%} of {name}" for name, share in shares.items() if share >= MANY]
    if not many:
        return None
    return (
        f"cut off: the token limit ended {', '.join(many)}; their rewards are those of unfinished "
        "texts: raise sampling.max_new_tokens"
    )
