"""The manifest of a model, which jobs depend on, and the metrics of its training."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polyalign import __version__
from polyalign.data.packages import resolve
from polyalign.models.sources import MODEL_SUFFIXES, NO_ANSWERS, VERSIONS
from polyalign.runtime.files import atomic_write, sha256, versions, write_json, write_text
from polyalign.runtime.model_card import write_card

PASSING = {"seconds", "resumed_from", "versions"}
METRICS = "metrics.csv"


def write_manifest(
    folder: str | Path,
    manifest: str | Path,
    settings: dict[str, Any],
    record: dict[str, Any],
    inputs: Mapping[str, Sequence[Path]],
) -> None:
    """Write a model's manifest: settings, record of its training, hashes of its files.

    And its model card, for people who get the folder alone. Here a trained folder is finished.

    The hashes cover the files that answers depend on (weights, configuration, tokenizer). Facts
    that differ between two equal runs (times, where a run was resumed, versions of software) are
    left out. So a rebuild that gives the same model leaves the manifest unchanged, and no job that
    depends on it runs again. The versions are in the file VERSIONS in the model's folder.
    """
    # In a conda environment or a container the library is on the path, but not installed.
    used = {**versions("torch", "transformers"), "polyalign": __version__}
    write_json(Path(folder) / VERSIONS, used)
    files = {
        file.name: sha256(file)
        for file in sorted(Path(folder).iterdir())
        if file.suffix in MODEL_SUFFIXES and file.name not in NO_ANSWERS
    }
    kept = {name: fact for name, fact in record.items() if name not in PASSING}
    sources = _sources(settings, inputs)
    bases = {source: resolve(source) for source in sources}
    write_card(folder, manifest, settings, record, inputs, bases)
    write_json(manifest, {"settings": settings, "record": kept, "files": files})


def _sources(settings: dict[str, Any], inputs: Mapping[str, Sequence[Path]]) -> list[str]:
    """The models that a model was made from, as the config names them; a soup's are its parts."""
    parts = [str(paths[-1]) for name, paths in inputs.items() if name.startswith("model:")]
    model = settings.get("model")
    source = model["source"] if model else settings.get("source")
    return [source] if source else parts


def training_record(folder: str | Path) -> dict[str, Any]:
    """How a model of the workflow was trained, from its manifest; nothing of any other model."""
    manifest = Path(f"{folder}.json")
    if not manifest.is_file():
        return {}
    try:
        record = json.loads(manifest.read_text(encoding="utf-8")).get("record", {})
    except (ValueError, AttributeError):
        return {}
    settings: dict[str, Any] = record.get("settings", {})
    return settings


def write_metrics(folder: str | Path, metrics: str | Path) -> None:
    """Copy the metrics of a training: `step` and one column per metric; only `step` for a soup."""
    source = Path(folder) / METRICS
    if source.is_file():
        with atomic_write(metrics) as draft:
            shutil.copyfile(source, draft)
    else:
        write_text(metrics, "step\n")
