"""The table of rewards that a command reads, and what a reader of it must know."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from polyalign.cli.table.options import asked_levels
from polyalign.data.keys import CHANCE, SAMPLE_COLUMNS
from polyalign.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from polyalign.map.base import Base
    from polyalign.map.problem import Problem
    from polyalign.palettes.streamed import Stream

STREAM_CELLS = 50_000_000
"""Rows times values above which a Parquet table is read in parts."""

EVERY = 3.0
"""Seconds between lines that say how far a long read is."""


@dataclass(frozen=True)
class Table:
    """The rows of a table that a command uses.

    Attributes:
        base: the base policy of the rewards.
        names: names of the k values.
        rewards: (n, k) rewards.
        groups: (n,) prompt index of each row.
    """

    base: "Base"
    names: list[str]
    rewards: "np.ndarray"
    groups: "np.ndarray"


def is_large(table: str, values: int) -> bool:
    """Whether so many values of this table are read in parts."""
    if not table.endswith(".parquet"):
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(pq.read_metadata(table).num_rows * values > STREAM_CELLS)
    except (OSError, pa.ArrowException):
        return False  # the reader of small tables says what is wrong with the file


def read_stream(
    options: argparse.Namespace,
    values: list[str],
    scope: str,
    asked: Mapping[str, str | float] | None = None,
) -> "Stream":
    """A large table, with a line on stderr every few seconds where that is a terminal.

    Args:
        options: of the command.
        values: names of the rows of a palette, or values.
        scope: `prompt`, `joint` or `auto`.
        asked: row → level, of groups of prompts at least.
    """
    from polyalign.data.rewards_table import check_prompts, columns_of
    from polyalign.palettes.streamed import Stream

    columns = columns_of(options.table)
    check_prompts(columns, options.table)
    say_derived_split(options, columns)
    report = Progress(options.table) if sys.stderr.isatty() else None
    return Stream(options.table, values, scope, options.split, report, asked)


class Progress:
    """Says how far a long read is, at most every `EVERY` seconds.

    Args:
        table: the table that is read.
    """

    def __init__(self, table: str) -> None:
        self.table, self.said = table, monotonic()

    def __call__(self, number: int, share: float) -> None:
        """Say it, if it is time."""
        if monotonic() - self.said >= EVERY:
            self.said = monotonic()
            print(f"reading {self.table}: pass {number}, {share:.0%}", file=sys.stderr)


def problem(options: argparse.Namespace) -> "Problem":
    """What `--target` asks of the table.

    Raises:
        InputError: if no policy within the budget of a value to maximise keeps the other levels.
    """
    found = pose_asked(options)
    if found.beyond:
        raise InputError(found.beyond)
    return found


def pose_asked(options: argparse.Namespace) -> "Problem":
    """As `problem`, also where the budget does not suffice."""
    from polyalign.map.problem import pose
    from polyalign.map.words import labels_of, values_of
    from polyalign.palettes.solve import cells_of

    levels = asked_levels(options.target)
    frame = read_frame(options, values_of(levels))
    columns, groups = cells_of(with_labels(options.table, frame, labels_of(levels)), levels)
    return pose(levels, columns, groups, options.scope)


def with_labels(path: str, frame: "pd.DataFrame", labels: list[str]) -> "pd.DataFrame":
    """The frame of `read_frame`, with the columns that groups of prompts are named by."""
    from polyalign.data.tables import read_table

    if not labels:
        return frame
    table = read_table(path)
    absent = [name for name in labels if name not in table]
    if absent:
        raise InputError(
            f"{path}: no column {', '.join(map(repr, absent))}; it has "
            f"{', '.join(map(str, table.columns))}"
        )
    return frame.assign(**{name: table[name].iloc[frame.index].to_numpy() for name in labels})


def read(options: argparse.Namespace, values: list[str] | None) -> Table:
    """The rows of the chosen split, with the given values (None: all of the table)."""
    from polyalign.data.rewards_table import rewards_array, value_columns
    from polyalign.map.base import Base

    frame = read_frame(options, values)
    names = values or value_columns(frame)
    if len(set(names)) != len(names):
        raise InputError(f"a value is named twice: {', '.join(names)}; name each once")
    if not names:
        raise InputError(f"{options.table}: no column of numbers to take as a value")
    rewards, groups = rewards_array(frame, names)
    return Table(Base(rewards, groups, options.scope), names, rewards, groups)


def read_frame(options: argparse.Namespace, values: list[str] | None) -> "pd.DataFrame":
    """The rows of the chosen split, as `read_whole` reads them."""
    frame = read_whole(options, values)
    if options.split != "all":
        frame = frame[frame["split"] == options.split]
        if frame.empty:
            raise InputError(f"{options.table}: no rows in split {options.split!r}")
    return frame


def read_whole(options: argparse.Namespace, values: list[str] | None) -> "pd.DataFrame":
    """The rewards table, with the given values (None: all of them).

    Its index has the numbers of the rows in the file.
    """
    from polyalign.data.rewards_table import check_splits, columns_of, read_rewards

    check_names(values or [])
    frame = read_rewards(options.table, columns={name: name for name in values or []})
    if options.split != "all":
        check_splits(set(frame["split"]), options.table)
        say_derived_split(options, columns_of(options.table))
    return frame.reset_index(drop=True)


def check_names(values: Iterable[str]) -> None:
    """Refuse columns of samples, which are in every table."""
    for name in values:
        if name in (*SAMPLE_COLUMNS, CHANCE):
            raise InputError(
                f"{name!r} is a column of every table of samples, and no value; expected a reward; "
                "for its levels copy it to a column of another name"
            )


def say_derived_split(options: argparse.Namespace, columns: Iterable[str]) -> None:
    """Say so, on stderr, where the table does not say which rows a split has."""
    if options.split != "all" and "split" not in columns:
        print(
            f"note: {options.table} has no column 'split'; {options.split} is one half of the "
            "prompts, by a hash of their texts",
            file=sys.stderr,
        )


def caveat_of(table: "Table | Problem") -> list[str]:
    return caveat(table.base.scope, len(set(table.groups.tolist())))


def caveat(scope: str, prompts: int) -> list[str]:
    """What a reader must know of lam that weighs the samples of all prompts together."""
    if scope != "joint" or prompts < 2:
        return []
    return [
        "caution: scope joint weighs prompts too, so a level may be reached by another choice of "
        "prompts and not by better answers"
    ]
