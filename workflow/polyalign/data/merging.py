"""Tables of candidates from elsewhere, stacked and joined by their keys without a gap.

Tables with the same columns are shards of one table, and are stacked: each key once. Tables with
other columns are joined to them: each key in all of them, and columns that several have must agree.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.keys import KEY
from polyalign.data.rewards_table import read_rewards, stacked
from polyalign.data.specs import common_spec
from polyalign.data.tables import read_settings, read_table
from polyalign.errors import InputError


def read_keyed(path: str | Path) -> pd.DataFrame:
    """A table with all its columns, and with `prompt_id` and `candidate`, first.

    They are filled in as `read_rewards` does.

    Raises:
        InputError: as `read_rewards`.
    """
    keys = read_rewards(path)[KEY]
    rest = read_table(path).drop(columns=KEY, errors="ignore")
    return pd.concat([keys, rest], axis="columns")


def merge(paths: Sequence[str]) -> pd.DataFrame:
    """One table of several, sorted by prompt and candidate.

    Args:
        paths: the tables; their order gives that of the columns.

    Raises:
        InputError: if a key occurs twice in tables with the same columns, is missing in others, or
            a column differs; the message names file and key.
    """
    parts: dict[frozenset[str], list[tuple[str, pd.DataFrame]]] = {}
    for path in paths:
        table = read_keyed(path)
        parts.setdefault(frozenset(map(str, table.columns)), []).append((path, table))
    tables = [
        (", ".join(path for path, _ in shards), stacked(shards).set_index(KEY).sort_index())
        for shards in parts.values()
    ]
    first, whole = tables[0]
    for name, table in tables[1:]:
        _same_keys(first, whole, name, table)
        for column in table.columns:
            if column in whole:
                _same_cells(str(column), first, whole, name, table)
            else:
                whole[column] = table[column]
    return whole.reset_index()


def merged_spec(paths: Sequence[str]) -> dict[str, Any] | None:
    """How the samples and all values of a merged table were made; None where a table does not say.

    Raises:
        InputError: if two tables were sampled, or scored in one value, in different ways.
    """
    if any(not path.endswith(".parquet") or "spec" not in read_settings(path) for path in paths):
        return None
    specs = {path: read_settings(path)["spec"] for path in paths}
    first = paths[0]
    values: dict[str, Any] = {}
    for path, spec in specs.items():
        if spec["sampling"] != specs[first]["sampling"]:
            common_spec([first, path], "the table")
        for value, made in spec["values"].items():
            if values.setdefault(value, made) != made:
                raise InputError(
                    f"{path}: the value {value!r} was scored in another way than in the tables "
                    "before it; expected the same everywhere: score it again"
                )
    return {"sampling": specs[first]["sampling"], "values": values}


def _same_keys(first: str, whole: pd.DataFrame, name: str, table: pd.DataFrame) -> None:
    for here, ours, there, theirs in ((first, whole, name, table), (name, table, first, whole)):
        lacking = ours.index.difference(theirs.index)
        if len(lacking):
            prompt, candidate = lacking[0]
            raise InputError(
                f"{there}: lacks {len(lacking)} candidates of {here}, first (prompt_id {prompt}, "
                f"candidate {candidate}); expected the same candidates in all tables that are "
                "joined: score the others too, or leave them out"
            )


def _same_cells(
    column: str, first: str, whole: pd.DataFrame, name: str, table: pd.DataFrame
) -> None:
    ours, theirs = whole[column], table[column]
    equal = (ours == theirs) | (ours.isna() & theirs.isna())
    other = np.flatnonzero(~equal.to_numpy())
    if other.size:
        prompt, candidate = whole.index[other[0]]
        raise InputError(
            f"{name}: the column {column!r} says {theirs.iloc[other[0]]!r} of (prompt_id {prompt}, "
            f"candidate {candidate}), and {first} says {ours.iloc[other[0]]!r}; expected the same "
            "in all tables: rename one of the columns, or leave it out"
        )
