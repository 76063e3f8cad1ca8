"""The manifest of a model."""

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from polyalign import __version__
from polyalign.models import sources
from polyalign.models.manifest import write_manifest
from polyalign.runtime.files import sha256

RECORD = {"steps": 3, "seconds": 1.5, "resumed_from": None, "versions": {"torch": "1.0"}}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_manifest_has_settings_record_and_hashes(base: Path, tmp_path: Path) -> None:
    write_manifest(base, tmp_path / "base.json", {"lr": 1}, RECORD, {})
    found = read(tmp_path / "base.json")
    assert (found["settings"], found["record"]) == ({"lr": 1}, {"steps": 3})
    assert found["files"]["model.safetensors"] == sha256(base / "model.safetensors")
    assert {"config.json", "tokenizer.json"} < set(found["files"])
    assert not {"README.md", sources.VERSIONS} & set(found["files"])


def test_another_version_of_the_software_leaves_the_manifest_as_it_was(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no job that depends on the model runs again; the versions are beside the model."""
    manifest = tmp_path / "base.json"
    written, versions, prints = [], [], []
    for version in ("1.0", "2.0"):
        monkeypatch.setattr("polyalign.models.manifest.__version__", version)
        monkeypatch.setattr("polyalign.runtime.files.version", lambda name, of=version: of)
        write_manifest(base, manifest, {"lr": 1}, {**RECORD, "versions": {"torch": version}}, {})
        written.append(manifest.read_bytes())
        versions.append(read(base / sources.VERSIONS))
        prints.append(sources.fingerprint(str(base)))
    assert written[0] == written[1]
    assert prints[0] == prints[1]
    assert versions[0] == {"torch": "1.0", "transformers": "1.0", "polyalign": "1.0"}
    assert versions[1] == {"torch": "2.0", "transformers": "2.0", "polyalign": "2.0"}


def test_a_manifest_is_written_where_the_library_is_not_installed(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a conda environment or a container it is on the path alone."""

    def installed(name: str) -> str:
        if name == "polyalign":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr("polyalign.runtime.files.version", installed)
    write_manifest(base, tmp_path / "made.json", {}, {}, {})
    written = read(base / sources.VERSIONS)
    assert written == {"torch": "1.0", "transformers": "1.0", "polyalign": __version__}


def test_the_card_names_what_the_model_was_made_from(base: Path, tmp_path: Path) -> None:
    """A base model, or the parts of a soup; never both."""
    inputs = {"model:dpo/x": [tmp_path / "x.json", tmp_path / "x"]}
    write_manifest(base, tmp_path / "soup.json", {}, {}, inputs)
    assert f"`{tmp_path / 'x'}`; licence" in (base / "README.md").read_text()
    for settings in ({"model": {"source": "org/llm"}}, {"source": "org/llm"}):
        write_manifest(base, tmp_path / "made.json", settings, {}, {})
        assert "`org/llm`; licence: not known" in (base / "README.md").read_text()
