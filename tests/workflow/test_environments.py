"""Each way to install the software takes its versions from the lock file."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LOCK = dict(
    line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if line
)


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_conda_environment_is_the_lock_file() -> None:
    environment = yaml.safe_load((ROOT / "envs/polyalign.yaml").read_text())
    *others, pip = environment["dependencies"]
    assert pip == {"pip": ["-r ../requirements.lock"]}
    assert [package.partition("=")[0] for package in others] == ["python", "pip"]


def test_the_container_is_the_lock_file() -> None:
    recipe = (ROOT / "envs/polyalign.def").read_text()
    assert "requirements.lock /opt/requirements.lock" in recipe
    (installed,) = re.findall(r"pip install (.*)", recipe)
    assert installed == "--no-cache-dir -r /opt/requirements.lock"


def test_all_have_one_python() -> None:
    conda = re.search(r"python=(\d+\.\d+)", (ROOT / "envs/polyalign.yaml").read_text())
    container = re.search(r"From: python:(\d+\.\d+)", (ROOT / "envs/polyalign.def").read_text())
    assert conda is not None
    assert container is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert conda[1] == container[1] == project["requires-python"].removeprefix(">=")


def test_what_the_project_imports_is_locked_and_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {plain(re.split(r"[<>=!\[ ]", name)[0]) for name in project["dependencies"]}
    locked = {plain(name): number for name, number in LOCK.items()}
    assert wanted <= set(locked)
    for name in wanted:
        try:
            installed = version(name)
        except PackageNotFoundError:
            pytest.fail(f"{name} is locked but not installed")
        assert installed.partition("+")[0] == locked[name], name
