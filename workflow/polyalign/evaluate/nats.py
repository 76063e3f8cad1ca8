"""The KL from the base model as a mean over responses."""

import pandas as pd


def nats(rows: pd.DataFrame) -> tuple["pd.Series[float] | None", str]:
    """Numbers (nats), one per response, whose mean over a policy's responses is its KL; its kind.

    Args:
        rows: of a rewards table.

    Returns:
        - Of a choice among candidates the upper bound of its prompt, in `kl`: `choice`.
        - Of samples `kl`, the sum of the exact divergences of the next token after each prefix (see
          `polyalign.models.logprobs.response_kl`), or log p(y|x) − log p0(y|x) in a table that has
          none: `samples`.
        - Otherwise None, and no kind.
    """
    if "kl" in rows:
        return rows["kl"], "samples" if "logprob" in rows else "choice"
    if {"logprob", "logprob_base"} <= set(rows):
        return rows["logprob"] - rows["logprob_base"], "samples"
    return None, ""
