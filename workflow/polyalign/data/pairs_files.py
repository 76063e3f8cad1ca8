"""Files of preference pairs: how their names tell what is in them, without reading any."""

from pathlib import Path

PAIRS_FILES = (".jsonl.gz", ".jsonl")
"""Endings of files of preference pairs."""


HELD_OUT = 0.1
"""Share of the prompts of a single file of preference pairs that are its test pairs."""


def has_splits(source: str) -> bool:
    """Whether a preference data set has test pairs of its own: all have but a single file."""
    return not source.endswith(PAIRS_FILES)


def split_file(folder: str | Path, split: str) -> Path | None:
    """The file of a split in a folder in Anthropic HH's layout; None if there is none."""
    files = [Path(folder) / f"{split}{ending}" for ending in PAIRS_FILES]
    return next((file for file in files if file.is_file()), None)
