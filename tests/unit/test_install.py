"""`tools/install.py` never installs the CUDA build of PyTorch on a machine without a GPU."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import install
import pytest

Calls = list[list[str]]


def called(monkeypatch: pytest.MonkeyPatch, *, gpu: bool, fails: int = 0) -> tuple[int, Calls]:
    """Run the script on Linux with a pip that fails the first times: exit status, calls of pip."""
    calls: Calls = []

    def pip(command: list[str], **options: object) -> SimpleNamespace:
        calls.append(command[len(install.PIP) :])
        return SimpleNamespace(returncode=int(len(calls) <= fails))

    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setattr(install, "has_gpu", lambda: gpu)
    monkeypatch.setattr(install, "installed", lambda: None)
    monkeypatch.setattr(install.sys, "platform", "linux")
    return install.main(), calls


def test_without_a_gpu_the_cpu_build_comes_first(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    status, calls = called(monkeypatch, gpu=False)
    torch = install.locked_torch(install.LOCK.read_text(encoding="utf-8"))
    assert status == 0
    assert calls[0] == ["--no-deps", f"torch=={torch}+cpu"]
    assert [call[0] for call in calls[1:]] == ["-r", "--no-deps"]
    (line,) = capsys.readouterr().out.splitlines()
    assert "PyTorch as CPU build: about 0.6 GB to download" in line


def test_a_second_place_is_asked_for_the_cpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    status, calls = called(monkeypatch, gpu=False, fails=1)
    assert status == 0
    assert install.CPU_BUILDS in calls[1]
    assert calls[1][:2] == calls[0]


def test_without_a_cpu_build_nothing_else_is_installed(
    monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    status, calls = called(monkeypatch, gpu=False, fails=2)
    assert status == 1
    assert len(calls) == 2
    assert "pip found no CPU build of torch" in capsys.readouterr().err


def test_with_a_gpu_the_lock_file_is_installed(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    status, calls = called(monkeypatch, gpu=True)
    assert status == 0
    assert [call[0] for call in calls] == ["-r", "--no-deps"]
    assert "PyTorch as CUDA build: about 4 GB to download" in capsys.readouterr().out


def test_a_gpu_is_found_by_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    driver = tmp_path / "version"
    assert not install.has_gpu(driver)
    driver.touch()
    assert install.has_gpu(driver)
    driver.unlink()
    command = tmp_path / "nvidia-smi"
    command.touch()
    command.chmod(0o755)
    assert install.has_gpu(driver)


@pytest.mark.parametrize(
    ("platform", "gpu", "build"),
    [("linux", True, "CUDA"), ("linux", False, "CPU"), ("darwin", False, "CPU")],
)
def test_builds(platform: str, gpu: bool, build: str) -> None:
    assert install.build_for(platform, has_gpu=gpu) == build


def test_an_old_python_is_refused_before_anything_is_installed(
    monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(install.sys, "version_info", (3, 10, 12))
    status, calls = called(monkeypatch, gpu=False)
    assert (status, calls) == (2, [])
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected 3.11 or newer" in line


@pytest.fixture
def makefile(tmp_path: Path) -> Path:
    """A folder with the Makefile, and stand-ins for an old and a new Python."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(install.ROOT / name, tmp_path)
    old = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.10.13\n[ "$1" != -c ]\n'
    new = '#!/bin/sh\necho "$@" >> calls\n'
    for name, text in (("old", old), ("new", new)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def make(folder: Path, python: str) -> "subprocess.CompletedProcess[str]":
    call = ["make", ".venv/ready", f"PYTHON={folder / python}"]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)


def test_make_names_an_old_python(makefile: Path) -> None:
    done = make(makefile, "old")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line == (
        f"error: {makefile / 'old'} is Python 3.10.13; expected Python 3.11 or newer; name one: "
        "make .venv/ready PYTHON=python3.12"
    )
    assert not (makefile / ".venv").exists()


def test_make_replaces_the_environment_of_an_old_python(makefile: Path) -> None:
    (makefile / ".venv/bin").mkdir(parents=True)
    shutil.copy(makefile / "old", makefile / ".venv/bin/python")
    make(makefile, "new")
    assert "-m venv --clear .venv" in (makefile / "calls").read_text()
    shutil.copy(makefile / "new", makefile / ".venv/bin/python")
    for made in ("calls", ".venv/ready"):
        (makefile / made).unlink()
    assert make(makefile, "old").returncode == 0
    calls = (makefile / "calls").read_text().splitlines()
    assert calls[-1] == "tools/install.py"
    assert not any("venv" in call for call in calls)
