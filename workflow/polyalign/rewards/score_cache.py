"""Scores kept by content: a text is scored once under a specification, in whatever policy.

A folder a specification; in it Parquet files of `key` and `score`, each written whole and never
changed. So jobs can share the folder without a lock, and a killed job loses only what it had not
yet written.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from polyalign.runtime.files import atomic_write, write_json


class ScoreCache:
    """The scores of one specification.

    Args:
        folder: folder of the value.
        name: what names the specification; a folder below.
        record: the specification, written there for whoever looks.
    """

    def __init__(self, folder: Path, name: str, record: dict[str, object]) -> None:
        self.folder = folder / name
        if not (self.folder / "spec.json").is_file():
            write_json(self.folder / "spec.json", record)

    def read(self) -> pd.Series:
        """All scores kept so far, float64, by key."""
        tables = [pq.read_table(file).to_pandas() for file in sorted(self.folder.glob("*.parquet"))]
        if not tables:
            return pd.Series(dtype=np.float64)
        scores = pd.concat(tables).drop_duplicates("key").set_index("key")["score"]
        return scores.astype(np.float64)

    def add(self, keys: Sequence[str], scores: np.ndarray) -> None:
        """Keep scores (n,) of n texts; one that is not finite is no score and is left out."""
        good = np.isfinite(scores)
        if not good.any():
            return
        frame = pd.DataFrame({"key": np.asarray(keys)[good], "score": scores[good]})
        name = hashlib.sha256("".join(sorted(frame["key"])).encode()).hexdigest()[:16]
        with atomic_write(self.folder / f"{name}.parquet") as draft:
            frame.to_parquet(draft, index=False)
