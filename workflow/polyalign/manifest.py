"""What stands beside a model folder: its manifest, which jobs depend on, and its metrics."""

import shutil
from pathlib import Path
from typing import Any

from polyalign import __version__
from polyalign.files import sha256, versions, whole, write_json, write_text
from polyalign.sources import ANSWERS_WITH

PASSING = {"seconds", "resumed_from", "versions"}
METRICS = "metrics.csv"


def write_manifest(
    folder: str | Path, manifest: str | Path, settings: dict[str, Any], record: dict[str, Any]
) -> None:
    """Write a model's manifest: settings, record of its training, hashes of its files, versions.

    The hashes cover what a model answers with (weights, configuration, tokenizer). What differs
    between two identical runs (times, where a run was resumed) is left out, so a rebuild that gives
    the same model leaves the manifest, and all that hangs on it, as it was.
    """
    files = {
        file.name: sha256(file)
        for file in sorted(Path(folder).iterdir())
        if file.suffix in ANSWERS_WITH
    }
    kept = {name: fact for name, fact in record.items() if name not in PASSING}
    write_json(
        manifest,
        {
            "settings": settings,
            "record": kept,
            "files": files,
            # In a conda environment or a container the library is on the path, but not installed.
            "versions": {**versions("torch", "transformers"), "polyalign": __version__},
        },
    )


def write_metrics(folder: str | Path, metrics: str | Path) -> None:
    """Copy the metrics of a model's training, `step` and a column each; none for a soup."""
    source = Path(folder) / METRICS
    if source.is_file():
        with whole(metrics) as draft:
            shutil.copyfile(source, draft)
    else:
        write_text(metrics, "step\n")
