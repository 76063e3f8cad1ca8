"""Scores kept by content: a specification scores each text once, whichever policy wrote it.

The name of the value is no part of the specification, nor what comes after the reading of a text
(`ValueSpec.APART`): values that share a model share what it said. Each specification has a folder
with Parquet files of `key`, the numbers that one reading gives (`score`, or a column for each head
of a model) and `cut` (whether the model could not read the text whole). A file is
written whole and never changed, so jobs can share the folder without a lock, and a killed job loses
only what it had not yet written.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from polyalign.runtime.code import canonical, module_code, short_hash
from polyalign.runtime.files import atomic_write, write_json

if TYPE_CHECKING:
    from polyalign.rewards.spec import ValueSpec

CUT = "cut"
"""Column of whether a text was cut; those of heads begin with their places."""

NOTHING = pd.DataFrame({CUT: np.empty(0, dtype=bool)})
"""What a cache has before it keeps anything."""


class ScoreCache:
    """The scores of one specification.

    Args:
        folder: folder of all scores of a study.
        name: name of the specification; a folder below.
        record: the specification, written there for readers.
    """

    def __init__(self, folder: Path, name: str, record: dict[str, object]) -> None:
        self.folder = folder / name
        if not (self.folder / "spec.json").is_file():
            write_json(self.folder / "spec.json", record)

    @classmethod
    def of(cls, folder: Path, spec: "ValueSpec", identity: Mapping[str, Any]) -> "ScoreCache":
        """The scores of the entry of a value in the config, among those of a study.

        Args:
            folder: folder of all scores of a study.
            spec: the entry.
            identity: what its scores depend on (`ValueSpec.identity`).
        """
        code = module_code(f"polyalign.rewards.kinds.{spec.kind}")
        kept = {name: one for name, one in identity.items() if name not in spec.APART}
        made_by: dict[str, object] = {"spec": kept, "code": code}
        return cls(folder, f"{spec.kind}-{short_hash(canonical(made_by))}", made_by)

    def read(self) -> pd.DataFrame:
        """All numbers kept so far (float64), and `cut`, by key."""
        tables = [pq.read_table(file).to_pandas() for file in sorted(self.folder.glob("*.parquet"))]
        if not tables:
            return NOTHING
        return pd.concat(tables).drop_duplicates("key").set_index("key")

    def add(self, numbers: pd.DataFrame) -> None:
        """Keep the numbers of n texts; those that are not finite are left out.

        Args:
            numbers: columns of numbers, and `cut`, by key.
        """
        good = np.isfinite(numbers.drop(columns=CUT)).all(axis=1)
        if not good.any():
            return
        kept = numbers[good].rename_axis("key").reset_index()
        name = hashlib.sha256("".join(sorted(kept["key"])).encode()).hexdigest()[:16]
        with atomic_write(self.folder / f"{name}.parquet") as draft:
            kept.to_parquet(draft, index=False)
