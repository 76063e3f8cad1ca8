"""The one exception for faults in what a user gave us, and the mend for a misspelt name."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class InputError(ValueError):
    """Bad input: the message names the file, key or row, what was expected, and what to do.

    Scripts and the command line print the message alone, without a traceback, and exit with 2.
    """


def nearest(name: Any, known: Iterable[str]) -> str:
    """The mend for an unknown name: the nearest known one, if there is one near."""
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1, cutoff=0.6)
    if near:
        return f"write {near[0]!r}"
    return "correct or remove it"
