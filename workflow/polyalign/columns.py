"""Names of the columns that every table of samples has; no value may have one of them."""

KEY = ["prompt_id", "candidate"]
SAMPLE_COLUMNS = [
    *KEY,
    "prompt",
    "response",
    "split",
    "n_tokens",
    "truncated",
    "logprob",
    "logprob_base",
    "kl",
]
