"""A table as a paper prints it, or a wide one by topics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Printed:
    """A table as readers see it, and its numbers.

    Attributes:
        head: titles of the columns; the first `texts` are left-aligned.
        rows: the cells, as text.
        numbers: the same table for a program, in full.
        texts: number of leading columns that hold text. The first one groups the rows.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: pd.DataFrame
    texts: int = 2


@dataclass(frozen=True)
class Topics:
    """A table that is too wide to be read as a whole.

    Attributes:
        frame: the table for a program, in full.
        parts: topic → what readers see of it.
    """

    frame: pd.DataFrame
    parts: Mapping[str, Printed]
