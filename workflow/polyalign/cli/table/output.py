"""What a command on a table prints, and writes by `-o`: text, JSON, CSV or Parquet."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from polyalign.errors import InputError

STALLED, INFEASIBLE = 1, 3
"""Exit statuses."""

PRINTED_ROWS = 30
"""Rows of a table that are printed as text at most."""


@dataclass(frozen=True)
class Answer:
    """What a command prints.

    Attributes:
        record: all results, for `--json`.
        above: lines above the table.
        header: names of the table's columns; empty without a table.
        rows: rows of the table; numbers are rounded to four digits as text, and in full in files.
        below: lines below the table.
        status: exit status.
        printed: how many rows are printed as text at most.
    """

    record: dict[str, Any]
    above: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str | float]] = ()
    below: Sequence[str] = ()
    status: int = 0
    printed: int | None = None


def show(answer: Answer, *, as_json: bool, output: str | None = None) -> int:
    """Print an answer, and write it to a file if one is named; return its exit status."""
    if output is not None:
        write(answer, output)
    if as_json:
        from polyalign.map.dual import plain

        print(json.dumps(plain(answer.record), indent=2, allow_nan=False))
        return answer.status
    for line in answer.above:
        print(line)
    if answer.header:
        print_table(answer.header, answer.rows[: answer.printed])
    more = len(answer.rows) - (answer.printed or len(answer.rows))
    for line in [*answer.below, *([f"and {more} more; -o FILE has all"] if more > 0 else [])]:
        print(line)
    return answer.status


def write(answer: Answer, output: str) -> None:
    """Write an answer: all results as .json, or its table as .csv or .parquet.

    Raises:
        InputError: on another ending, or if the file cannot be written.
    """
    import pandas as pd

    from polyalign.data.tables import write_csv, write_table
    from polyalign.map.dual import plain
    from polyalign.runtime.files import write_json

    try:
        if output.endswith(".json"):
            write_json(output, plain(answer.record))
            return
        frame = pd.DataFrame(list(answer.rows), columns=list(answer.header))
        if output.endswith(".csv"):
            write_csv(frame, output)
        elif output.endswith(".parquet"):
            write_table(frame, output, {})
        else:
            raise InputError(
                f"-o {output}: unknown format; expected a .csv, .parquet or .json file; rename it"
            )
    except OSError as fault:
        raise InputError(
            f"-o {output}: cannot be written ({fault.strerror}); expected a file in a folder that "
            "can be written; name another"
        ) from fault


def cell(number: float) -> str:
    """Four digits; large numbers without an exponent."""
    if not isfinite(number):
        return "-"
    return f"{number:.0f}" if 1e4 <= abs(number) < 1e9 else f"{number:.4g}"


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    cells = [list(header)]
    cells += [[item if isinstance(item, str) else cell(item) for item in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        first, *rest = (
            cell.ljust(w) if not i else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]).rstrip())
