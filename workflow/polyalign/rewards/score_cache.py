"""Scores kept by content: a specification scores each text once, whichever policy wrote it.

The name of the value is no part of the specification. Each specification has a folder with Parquet
files of `key`, `score` and `cut` (whether the model could not read the text whole). A file is
written whole and never changed, so jobs can share the folder without a lock, and a killed job loses
only what it had not yet written.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from polyalign.runtime.files import atomic_write, write_json

NOTHING = pd.DataFrame({"score": np.empty(0), "cut": np.empty(0, dtype=bool)})
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

    def read(self) -> pd.DataFrame:
        """All scores kept so far: `score` (float64) and `cut` by key."""
        tables = [pq.read_table(file).to_pandas() for file in sorted(self.folder.glob("*.parquet"))]
        if not tables:
            return NOTHING
        return pd.concat(tables).drop_duplicates("key").set_index("key")

    def add(self, keys: Sequence[str], scores: np.ndarray, cut: np.ndarray) -> None:
        """Keep scores (n,) of n texts; scores that are not finite are left out.

        Args:
            keys: n keys.
            scores: n scores.
            cut: (n,) whether the model could not read the text whole.
        """
        good = np.isfinite(scores)
        if not good.any():
            return
        columns = {"key": np.asarray(keys), "score": scores, "cut": cut}
        frame = pd.DataFrame({name: column[good] for name, column in columns.items()})
        name = hashlib.sha256("".join(sorted(frame["key"])).encode()).hexdigest()[:16]
        with atomic_write(self.folder / f"{name}.parquet") as draft:
            frame.to_parquet(draft, index=False)
