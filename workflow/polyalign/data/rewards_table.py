"""Rewards tables: reading any supported format, checking, joining, and arrays of rewards.

A rewards table has one row per candidate: `prompt_id`, `candidate`, `prompt`, `response`, `split`,
`n_tokens`, `truncated`, `end_token`, `logprob` (and `logprob_base`, `kl`), then one float column
per value. The metadata of its file holds `spec`: how its samples were drawn and how each value was
scored.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from polyalign.data.cells import as_prompt
from polyalign.data.json_lines import is_chat
from polyalign.data.keys import CHANCE, KEY, SAMPLE_COLUMNS, prompt_id, split_of
from polyalign.data.specs import check_same_spec
from polyalign.data.tables import read_table
from polyalign.errors import InputError, nearest
from polyalign.finite import LARGEST, usable

TEST_SHARE = 0.5
"""Default share of the prompts in `test`, for a table without splits."""


def value_columns(frame: pd.DataFrame) -> list[str]:
    """Names of the value columns: all numeric columns except those of samples, in order."""
    return [
        str(name)
        for name in frame.columns
        if _may_be_value(name) and pd.api.types.is_numeric_dtype(frame[name])
    ]


def _may_be_value(name: object) -> bool:
    """Whether a column may hold a value: not one of samples, a chance, nor pandas' row numbers."""
    return name not in (*SAMPLE_COLUMNS, CHANCE) and not re.fullmatch(r"Unnamed: \d+", str(name))


def _meant_as_values(frame: pd.DataFrame) -> list[str]:
    """The value columns, and columns that would be if a few of their cells were numbers."""
    spoilt = [
        str(name)
        for name in frame.columns
        if _may_be_value(name)
        and name != "generated"
        and not pd.api.types.is_numeric_dtype(frame[name])
        and pd.to_numeric(frame[name], errors="coerce").notna().mean() > 0.5
    ]
    known = {*value_columns(frame), *spoilt}
    return [str(name) for name in frame.columns if name in known]


def read_rewards(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    negated: Collection[str] = (),
    above: Mapping[str, float] | None = None,
    test_share: float = TEST_SHARE,
) -> pd.DataFrame:
    """Read a rewards table in any format and add what can be derived.

    MAP's JSON (records of `prompt`, `generated` = prompt + response, and one key per value) is one
    of the formats. A prompt without text is called by its `prompt_id`. Missing `prompt_id`,
    `candidate` (order within the prompt) and `split` (by hash of the prompt) are filled in.

    Args:
        path: the table.
        columns: value name → name of its column in the file; None keeps all numeric columns, and
            refuses one in which only a few cells are not numbers.
        negated: values whose columns are taken with the other sign.
        above: value → number, for values that are 1 where their column is above it, else 0.
        test_share: share of prompts that an absent `split` column puts into `test`, in [0, 1].

    Returns:
        The table with sample columns first, then one float64 column per value.

    Raises:
        InputError: on an unreadable file, a missing column, repeated keys, or values that are not
            finite; the message names the file and the row.
    """
    frame = read_table(path)
    check_prompts(frame.columns, path)
    # A cell of a CSV file cannot be missing in another way than being empty.
    empty = Path(path).suffix == ".csv"
    for name in ("prompt", "prompt_id"):
        if name in frame:
            cells = frame[name]
            missing = cells.isna() | (cells == "") if empty else cells.isna()
            check_missing(missing.to_numpy(), name, path)
    if "prompt" not in frame:
        frame["prompt"] = frame["prompt_id"]
    asked = [as_prompt(cell) if is_chat(cell) else str(cell) for cell in frame["prompt"]]
    if None in asked:
        raise InputError(
            f"{path}: the prompt in row {asked.index(None)} is a list of chat messages that cannot "
            "be read; expected texts of the user and the assistant, the user first: correct it"
        )
    frame["prompt"] = pd.Series(asked, index=frame.index, dtype=object).astype(str)
    if "response" not in frame and "generated" in frame:
        pairs = zip(frame["prompt"], frame["generated"].astype(str), strict=True)
        frame["response"] = [text.removeprefix(prompt).strip() for prompt, text in pairs]
    if "prompt_id" not in frame:
        frame["prompt_id"] = [prompt_id(text) for text in frame["prompt"]]
    frame["prompt_id"] = frame["prompt_id"].astype(str)
    if "candidate" not in frame:
        frame["candidate"] = frame.groupby("prompt_id", sort=False).cumcount()
    if "split" not in frame:
        frame["split"] = [split_of(text, test_share) for text in frame["prompt"]]
    names = dict(columns) if columns else {name: name for name in _meant_as_values(frame)}
    absent = [column for column in names.values() if column not in frame]
    if absent:
        there = value_columns(frame)
        raise InputError(
            f"{path}: no column {', '.join(map(repr, absent))}; value columns there: "
            f"{', '.join(there) or 'none'}; {nearest(absent[0], there)}"
        )
    samples = frame[[name for name in SAMPLE_COLUMNS if name in frame]]
    values = frame[list(names.values())].set_axis(list(names), axis="columns")
    check_values(samples, values, path)
    check_keys(samples, path)
    values = values.astype(np.float64)
    values[list(negated)] *= -1
    for name, number in (above or {}).items():
        values[name] = (values[name] > number).astype(np.float64)
    return pd.concat([samples, values], axis="columns")


def columns_of(path: str | Path) -> list[str]:
    """Names of the columns of a table, in any format."""
    if str(path).endswith(".parquet"):
        return list(pq.read_schema(path).names)
    return list(map(str, read_table(path).columns))


def check_prompts(columns: Collection[object], source: str | Path) -> None:
    """Raise InputError unless a rewards table says of each row which prompt it is of."""
    if "prompt" not in columns and "prompt_id" not in columns:
        raise InputError(
            f"{source}: no column 'prompt' and no 'prompt_id'; it has "
            f"{', '.join(map(str, columns))}; rename the one with the prompts"
        )


def check_missing(missing: np.ndarray, column: str, source: str | Path) -> None:
    """Raise InputError naming the first row of a mask (n,) of the cells that are missing."""
    rows = np.flatnonzero(missing)
    if rows.size:
        raise InputError(
            f"{source}: no {column} in row {rows[0]} ({rows.size} such rows); expected one in "
            "every row: add it or remove the row"
        )


def check_splits(splits: Collection[object], source: str | Path) -> None:
    """Raise InputError if a rewards table has other splits than `fit` and `test`.

    Args:
        splits: what its column `split` says.
        source: the table, for the message.
    """
    foreign = sorted({repr(split) for split in splits} - {"'fit'", "'test'"})
    if foreign:
        raise InputError(
            f"{source}: the column 'split' says {', '.join(foreign)}; expected fit (λ is fitted on "
            "these prompts) and test (policies are judged on these): write them so, or remove the "
            "column"
        )


def check_values(samples: pd.DataFrame, values: pd.DataFrame, source: str | Path) -> None:
    """Raise InputError naming the first row and value that is not a finite number."""
    for name in values.columns:
        bad = np.flatnonzero(~usable(as_numbers(values[name])))
        if bad.size:
            row, cell = samples.iloc[bad[0]], values[name].tolist()[bad[0]]
            raise InputError(
                f"{source}: value '{name}' is {cell!r} in row {bad[0]} "
                f"(prompt_id {row['prompt_id']}, candidate {row['candidate']}; {bad.size} such "
                f"rows); expected a finite number of at most {LARGEST:g}: score it again or remove "
                "the row"
            )


def as_numbers(column: pd.Series) -> np.ndarray:
    """A column as float64, NaN where it holds something else; dates are no numbers."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return np.full(len(column), np.nan)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)


def check_keys(samples: pd.DataFrame, source: str | Path) -> None:
    """Raise InputError naming the first (prompt_id, candidate) that occurs more than once.

    Its row is that of the table's index; an index of (file, row) names the file too.
    """
    repeated = np.flatnonzero(samples.duplicated(KEY).to_numpy())
    if repeated.size:
        place = samples.index[repeated[0]]
        file, row = place if isinstance(place, tuple) else (source, place)
        raise InputError(
            f"{file}: {_key(samples.iloc[repeated[0]])} occurs twice, again in row {row}; expected "
            "each candidate once, in all files together: remove the repeated rows"
        )


def stacked(shards: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """One table of (source, table) shards.

    Raises:
        InputError: naming the first (prompt_id, candidate) that occurs more than once, by the file
            and the row there.
    """
    sources, tables = zip(*shards, strict=True)
    frame = pd.concat([table.reset_index(drop=True) for table in tables], keys=sources)
    check_keys(frame, "shards")
    return frame.reset_index(drop=True)


def _key(row: pd.Series) -> str:
    return f"(prompt_id {row['prompt_id']}, candidate {row['candidate']})"


def join(samples: pd.DataFrame, scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Join each value's scores to the samples by (prompt_id, candidate).

    Args:
        samples: the sample columns, one row per candidate.
        scores: source name (for messages) → table of `prompt_id`, `candidate` and one value column.
            Several tables of one value are its shards and are stacked.

    Returns:
        Samples sorted by prompt and candidate, with one column per value. The order and the number
        of the shards change nothing.

    Raises:
        InputError: if a key is missing, repeated, or unknown in one of the scores.
    """
    check_keys(samples, "samples")
    by_value: dict[str, list[tuple[str, pd.DataFrame]]] = {}
    for source, table in scores.items():
        (value,) = [name for name in table.columns if name not in KEY]
        check_values(table, table[[value]], source)
        by_value.setdefault(value, []).append((source, table))
    frame = samples.sort_values(KEY, kind="stable").reset_index(drop=True)
    expected = pd.MultiIndex.from_frame(frame[KEY])
    for value, shards in by_value.items():
        table = stacked(shards)
        found = pd.MultiIndex.from_frame(table[KEY])
        for source, part in shards:
            alien = np.flatnonzero(~pd.MultiIndex.from_frame(part[KEY]).isin(expected))
            if alien.size:
                raise InputError(
                    f"{source}: value '{value}' does not join: {alien.size} rows have no samples, "
                    f"first {_key(part.iloc[alien[0]])} in row {alien[0]}; the shards come from "
                    "different runs: delete them and annotate again"
                )
        lacking = frame[~expected.isin(found)]
        if len(lacking):
            raise InputError(
                f"{', '.join(source for source, _ in shards)}: value '{value}' does not join: "
                f"{len(lacking)} samples have no scores, first {_key(lacking.iloc[0])}; the shards "
                "come from different runs: delete them and annotate again"
            )
        frame[value] = table.set_index(KEY)[value].reindex(expected).to_numpy(dtype=np.float64)
    return frame


def rewards_array(frame: pd.DataFrame, values: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Rewards (n, k) float64 of `values`, and the integer prompt index (n,) of each row.

    Raises:
        InputError: if a value has no column in the table.
    """
    absent = [name for name in values if name not in frame]
    if absent:
        raise InputError(
            f"no value {', '.join(map(repr, absent))} in the table; it has "
            f"{', '.join(value_columns(frame))}"
        )
    groups = pd.factorize(frame["prompt_id"])[0]
    return frame[list(values)].to_numpy(dtype=np.float64), groups


def hold_out(
    frame: pd.DataFrame, *, judge_on_all: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide a given table into the pool and an independent reference sample of the base policy.

    A policy that selects among candidates must not be compared with the same candidates. So the
    last quarter of each prompt's candidates (at least one) is held out. If a prompt has only one
    candidate, nothing can be selected, and pool and reference are the same rows.

    Args:
        frame: a rewards table.
        judge_on_all: whether a table without a test split is its own reference, as a whole: for
            studies without policies.

    Returns:
        The pool (both splits) and the reference (test split).
    """
    if judge_on_all and not (frame["split"] == "test").any():
        return frame, frame.assign(split="test")
    rank = frame.groupby("prompt_id", sort=False)["candidate"].rank(method="first")
    size = frame.groupby("prompt_id", sort=False)["candidate"].transform("size")
    held = rank > size - np.maximum(1, size // 4)
    if size.min() == 1:
        return frame, frame[frame["split"] == "test"].reset_index(drop=True)
    test = held & (frame["split"] == "test")
    return frame[~held].reset_index(drop=True), frame[test].reset_index(drop=True)


def read_scored(samples: Sequence[Path], scores: Sequence[Path]) -> pd.DataFrame:
    """Read and join the shards of one policy's samples and of some values' scores.

    Raises:
        InputError: if a table cannot be read or rows do not join.
    """
    frame = stacked([(str(path), read_table(path)) for path in samples])
    return join(frame, {str(path): read_table(path) for path in scores})


def read_pool(inputs: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """The base model's candidates with their rewards, from the inputs of a job.

    Args:
        inputs: `pool`, a rewards table; or `samples` and `scores`, the shards of one.

    Raises:
        InputError: as `read_table` and `read_scored`.
    """
    if "pool" in inputs:
        (path,) = inputs["pool"]
        return read_table(path)
    return read_scored(inputs["samples"], inputs["scores"])


def read_policies(policies: Sequence[str], paths: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """Rewards tables by policy.

    Args:
        policies: names of the policies.
        paths: their tables, in the same order.

    Raises:
        InputError: if a table cannot be read, or two were sampled or scored differently.
    """
    for path in paths:
        check_same_spec(path, paths[0])
    return dict(zip(policies, map(read_table, paths), strict=True))
