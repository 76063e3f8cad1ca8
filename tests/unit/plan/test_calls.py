"""Snakemake is called from any folder, and where the home cannot be written."""

import sys
from pathlib import Path

import pytest

from polyalign.plan import calls
from polyalign.plan.calls import Given


def test_the_snakefile_of_the_working_folder_or_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    called = calls.command(Given("my.yaml", ["seed=2", "study=b"]), "--cores", "2", "--", "all")
    assert called == [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(calls.CHECKOUT / "Snakefile")),
        *("--max-jobs-per-timespan", "10000/4s"),
        *("--configfile", "my.yaml", "--config", "seed=2", "study=b", "--cores", "2", "--", "all"),
    ]
    assert (calls.CHECKOUT / "Snakefile").is_file()
    (tmp_path / "Snakefile").touch()  # of somebody else's workflow
    assert "--snakefile" in calls.command(Given("my.yaml"))
    (tmp_path / "workflow/polyalign").mkdir(parents=True)
    assert "--snakefile" not in calls.command(Given("my.yaml"))


def test_a_library_without_its_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calls, "CHECKOUT", tmp_path)
    with pytest.raises(calls.InputError, match="no Snakefile"):
        calls.command(Given("my.yaml"))


def test_a_cache_that_can_be_written_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = calls.environment()
    assert not {"XDG_CACHE_HOME", "HF_HOME"} & set(found)


@pytest.mark.parametrize("given", [None, "/models"])
def test_a_home_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    """A file in place of the home refuses folders below it, for root as well."""
    (tmp_path / "home").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if given:
        monkeypatch.setenv("HF_HOME", given)
    found = calls.environment()
    assert found["XDG_CACHE_HOME"] == str(tmp_path / ".snakemake/cache")
    assert found["HF_HOME"] == (given or str(tmp_path / "home/.cache/huggingface"))
