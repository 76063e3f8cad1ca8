"""Model sources: where they are, and what tells two models apart."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyalign.data import packages
from polyalign.errors import InputError
from polyalign.models import sources


def test_a_path_in_a_package_is_resolved_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_models").mkdir()
    (tmp_path / "some_models/__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    found = packages.resolve("package:some_models/tiny/a.gguf")
    assert found == str(tmp_path / "some_models/tiny/a.gguf")
    assert packages.resolve("owner/name") == "owner/name"


@pytest.mark.parametrize("name", ["no_such_package_here", "json.decoder", "..", "", "sys"])
def test_a_package_that_is_not_installed_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"no package .* is installed; expected `package:NAME/PA"):
        packages.resolve(f"package:{name}/model")


def test_sources_are_resolved_without_torch() -> None:
    code = "import sys, polyalign.data.packages as s; s.resolve('a'); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_the_fingerprint_ignores_the_versions_of_software(base: Path) -> None:
    before = sources.fingerprint(str(base))
    (base / sources.VERSIONS).write_text('{"torch": "1.0"}')
    assert sources.fingerprint(str(base)) == before
    (base / "other.json").write_text("{}")
    assert sources.fingerprint(str(base)) != before


def test_the_fingerprint_of_a_model_is_that_of_its_files(base: Path, adapter: Path) -> None:
    before, above = sources.fingerprint(str(base)), sources.fingerprint(str(adapter))
    for file in base.iterdir():
        os.utime(file)
    (base / "README.md").write_text("notes")
    assert sources.fingerprint(str(base)) == before
    weights = bytearray((base / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (base / "model.safetensors").write_bytes(weights)
    assert sources.fingerprint(str(base)) != before
    assert sources.fingerprint(str(adapter)) != above


def test_large_files_are_told_apart_by_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "WHOLE", 2**21)
    file = tmp_path / "model.gguf"
    data = bytearray(4 * 2**20)
    file.write_bytes(data)
    before = sources.fingerprint(str(file))
    for place in (0, 2 * 2**20, len(data) - 1):
        changed = bytearray(data)
        changed[place] = 1
        file.write_bytes(changed)
        assert sources.fingerprint(str(file)) != before
    file.write_bytes(data[:-1])
    assert sources.fingerprint(str(file)) != before


def test_a_model_of_the_workflow_is_its_manifest(base: Path) -> None:
    manifest = base.with_name("base.json")
    manifest.write_text(json.dumps({"files": {"model.safetensors": "abc"}, "record": 1}))
    one = sources.fingerprint(str(base))
    manifest.write_text(json.dumps({"files": {"model.safetensors": "abc"}, "record": 2}))
    assert sources.fingerprint(str(base)) == one
    manifest.write_text(json.dumps({"files": {"model.safetensors": "abd"}}))
    assert sources.fingerprint(str(base)) != one


def test_a_hub_model_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the cache where the hub cannot be reached; a full commit is its own fingerprint."""
    import huggingface_hub

    def unreachable(*args: object, **options: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert sources.fingerprint("some/model", "a" * 40) == f"commit:{'a' * 40}"
    with pytest.raises(InputError, match="no network"):
        sources.fingerprint("some/model")
    refs = tmp_path / "models--some--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("b" * 40)
    assert sources.fingerprint("some/model") == f"commit:{'b' * 40}"
