"""Reading and writing tables: any supported format in, Parquet and CSV out, whole or not at all."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from polyalign.data.formats import TABLE_FILES
from polyalign.data.packed import file_of, opened
from polyalign.errors import InputError
from polyalign.paths import policy_of, repair
from polyalign.runtime.files import atomic_write

TEXTS = ("prompt_id", "prompt", "response", "generated", "text", "split")
"""Columns of a CSV table that are text whatever they say."""

NO_NUMBER = ("nan", "NaN", "NA")
"""Cells of a CSV table that say in a column of numbers that there is none."""


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a Parquet, CSV, JSONL or JSON (list of records) table, by its ending.

    It may be in an installed package or an archive (see `packed`).

    Raises:
        InputError: if the file is missing, unreadable, truncated, empty or of another format.
    """
    source, path = path, Path(path)
    if path.suffix not in TABLE_FILES:
        raise InputError(f"{path}: unknown table format; expected one of {', '.join(TABLE_FILES)}")
    if not file_of(source).is_file():
        raise InputError(f"{path}: no such table; check the path, or run the stage that makes it")
    try:
        if path.suffix == ".csv":
            frame = _read_csv(source)
        else:
            with opened(source) as stream:
                frame = (
                    pd.read_parquet(stream)
                    if path.suffix == ".parquet"
                    else pd.read_json(
                        stream, lines=path.suffix == ".jsonl", dtype=False, encoding="utf-8-sig"
                    )
                )
    except (ValueError, OSError, pa.ArrowException, pd.errors.ParserError) as fault:
        raise InputError(
            f"{path}: cannot be read as {path.suffix[1:]} ({fault}); it may be truncated: "
            f"{repair(path)}"
        ) from fault
    if frame.empty:
        raise InputError(f"{path}: the table has no rows; expected at least one")
    return frame


def read_parquet(source: str | Path) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file one by one, with lists and records as Python has them.

    Raises:
        InputError: if the file cannot be read.
    """
    try:
        with opened(source) as stream:
            for batch in pq.ParquetFile(stream).iter_batches():
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as fault:
        raise InputError(
            f"{source}: cannot be read as parquet ({fault}); it may be truncated: "
            f"{repair(Path(source))}"
        ) from fault


def _read_csv(source: str | Path) -> pd.DataFrame:
    """A CSV table; `NA` is a text in a column of texts, and no number in a column of numbers."""

    def read(**options: Any) -> pd.DataFrame:
        with opened(source) as stream:
            return pd.read_csv(
                stream, keep_default_na=False, dtype=dict.fromkeys(TEXTS, str), **options
            )

    frame = read()
    spoilt = {}
    for name in frame.columns:
        if name not in TEXTS and not pd.api.types.is_numeric_dtype(frame[name]):
            known = frame[name][~frame[name].isin(NO_NUMBER)]
            if len(known) < len(frame) and pd.to_numeric(known, errors="coerce").notna().all():
                spoilt[name] = list(NO_NUMBER)
    return read(na_values=spoilt) if spoilt else frame


def write_table(frame: pd.DataFrame, path: str | Path, settings: Mapping[str, Any]) -> None:
    """Write `frame` as Parquet, whole or not at all, with `settings` in the file's metadata.

    The same frame and settings give the same bytes.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    record = {b"polyalign": json.dumps(settings, sort_keys=True).encode()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **record})
    with atomic_write(path) as draft:
        pq.write_table(table, draft, compression="zstd")


def read_settings(path: str | Path) -> dict[str, Any]:
    """Settings that `write_table` stored in a Parquet file (empty if it has none)."""
    metadata = pq.read_schema(path).metadata or {}
    settings: dict[str, Any] = json.loads(metadata.get(b"polyalign", b"{}"))
    return settings


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a result table as CSV, whole or not at all, numbers in full.

    Undefined numbers are written as `nan`, which `read_table` reads back; an empty field would turn
    its column into text.
    """
    with atomic_write(path) as draft:
        frame.to_csv(draft, index=False, na_rep="nan")


def check_output(path: str | Path) -> None:
    """Raise InputError unless `save_table` can write a file of this name."""
    if Path(path).suffix not in (".parquet", ".csv"):
        raise InputError(f"{path}: expected a .parquet or .csv file; rename it")


def save_table(frame: pd.DataFrame, path: str | Path, settings: Mapping[str, Any]) -> None:
    """Write a table where somebody asks for it: as .parquet with `settings`, or as .csv without.

    Raises:
        InputError: on another ending, or a place that cannot be written.
    """
    check_output(path)
    try:
        if Path(path).suffix == ".csv":
            write_csv(frame, path)
        else:
            write_table(frame, path, settings)
    except OSError as fault:
        raise InputError(
            f"{path}: cannot be written ({fault.strerror}); name another file"
        ) from fault


def read_by_policy(paths: Iterable[Path], policies: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Tables `…/{family}/{variant}/NAME` by policy, in the policies' order, whatever the files'.

    Args:
        paths: the tables.
        policies: names `family/variant`.

    Raises:
        InputError: if a table cannot be read, or is of a policy that is not among `policies`.
    """
    tables = {}
    for path in map(Path, paths):
        tables[policy_of(path).name] = read_table(path)
    order = list(policies)
    unknown = sorted(set(tables) - set(order))
    if unknown:
        raise InputError(
            f"a table of {unknown[0]}, which is not a policy of the study; expected one of "
            f"{', '.join(order)}: add it to `policies`, or leave the file out"
        )
    return {policy: tables[policy] for policy in order if policy in tables}
