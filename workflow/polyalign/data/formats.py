"""Formats of input files, which their names tell without reading them."""

from pathlib import Path

TABLE_FILES = (".parquet", ".csv", ".jsonl", ".json")
"""Endings of tables."""

PAIRS_FILES = (".jsonl.gz", ".jsonl", ".parquet")
"""Endings of files of preference pairs."""

PROMPT_TABLE_FILES = tuple(ending for ending in TABLE_FILES if ending not in PAIRS_FILES)
"""Endings of tables of prompts; prompts in other files are read as those of preference pairs."""

HELD_OUT = 0.1
"""Share of the prompts of a single file of preference pairs that are its test pairs."""


def has_splits(source: str) -> bool:
    """Whether a preference data set has separate test pairs: all have, except a single file."""
    return not source.endswith(PAIRS_FILES)


def split_file(folder: str | Path, split: str) -> Path | None:
    """The file of a split in a folder in Anthropic HH's layout; None if there is none."""
    files = [Path(folder) / f"{split}{ending}" for ending in PAIRS_FILES]
    return next((file for file in files if file.is_file()), None)
