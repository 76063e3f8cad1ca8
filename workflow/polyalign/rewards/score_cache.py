"""Scores kept by content: a specification scores each text once, whichever policy wrote it.

Each specification has a folder with Parquet files of `key` and `score`. A file is written whole and
never changed, so jobs can share the folder without a lock, and a killed job loses only what it had
not yet written.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from polyalign.rewards import spec_of
from polyalign.runtime.code import canonical, module_code, short_hash
from polyalign.runtime.files import atomic_write, write_json


def cache_of(folder: Path, spec: dict[str, Any]) -> "ScoreCache":
    """The scores of a reward, by what they depend on: settings, content of its model, and code.

    Args:
        folder: folder of all caches of a study.
        spec: what the rewards of a value depend on, as the config says it.

    Raises:
        InputError: if its model or code is not there.
    """
    code = module_code(f"polyalign.rewards.kinds.{spec['kind']}")
    made_by: dict[str, object] = {"spec": spec_of(spec).identity(), "code": code}
    return ScoreCache(folder, short_hash(canonical(made_by)), made_by)


class ScoreCache:
    """The scores of one specification.

    Args:
        folder: folder of all caches of a study.
        name: name of the specification; a folder below.
        record: the specification, written there for readers.
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
        """Keep scores (n,) of n texts; scores that are not finite are left out."""
        good = np.isfinite(scores)
        if not good.any():
            return
        frame = pd.DataFrame({"key": np.asarray(keys)[good], "score": scores[good]})
        name = hashlib.sha256("".join(sorted(frame["key"])).encode()).hexdigest()[:16]
        with atomic_write(self.folder / f"{name}.parquet") as draft:
            frame.to_parquet(draft, index=False)
