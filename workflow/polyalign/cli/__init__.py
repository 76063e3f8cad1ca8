"""The command `polyalign`: the mathematics on a table of rewards, and the study's helpers."""

from polyalign.cli.table import main

__all__ = ["main"]
