"""Each way to install the software takes its versions from the lock file, and is enough."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import generated
import pytest
import yaml

from polyalign import families, plots
from polyalign.plan import stages
from polyalign.runtime.code import ROOT as LIBRARY
from polyalign.runtime.code import code

ROOT = Path(__file__).parents[2]
LOCK = dict(
    line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if line
)


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> list[str]:
    """What pip installs into an environment of `envs/`."""
    environment = yaml.safe_load((ROOT / "envs" / name).read_text())
    *others, pip = environment["dependencies"]
    assert [package.partition("=")[0] for package in others] == ["python", "pip"]
    found: list[str] = pip["pip"]
    return found


def test_the_conda_environments_are_the_lock_file() -> None:
    for name, text in generated.files().items():
        assert (ROOT / "envs" / name).read_text() == text, "run `make envs`"
    lines = [f"{name}=={number}" for name, number in LOCK.items()]
    assert pins("models.yaml") == lines
    assert set(pins("light.yaml")) < set(lines)


def test_the_light_environment_is_light_and_whole() -> None:
    names = {plain(pin.partition("==")[0]) for pin in pins("light.yaml")}
    assert {"numpy", "scipy", "matplotlib", "snakemake"} <= names
    heavy = {"torch", "transformers", "trl", "accelerate", "peft", "datasets", "mypy", "pytest"}
    assert not heavy & names
    assert generated.closure(generated.LIGHT) == names


# Modules that the settings of a light stage choose, none of which may load a model.
CHOSEN = {
    "plot": [plots.module(name).__name__ for name in plots.names()],
    "explore": [f"polyalign.palettes.sweeps.{sweep.module}" for sweep in stages.SWEEPS.values()],
    "decode": [
        families.family(name).module
        for name in families.NAMES
        if families.family(name).kind == "select"
    ],
}
LIGHT = sorted(name for name, stage in stages.STAGES.items() if stage.environment == "light")


def imported(node: ast.AST) -> Iterator[str]:
    """Top-level names of the modules that code imports, also in functions, but not for types."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.module:
        yield node.module.partition(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_job_imports_what_the_light_environment_has(name: str) -> None:
    light = {plain(pin.partition("==")[0]) for pin in pins("light.yaml")}
    there = {
        package
        for package, made_by in packages_distributions().items()
        if light & {plain(one) for one in made_by}
    }
    for entry in code(stages.STAGES[name].script, *CHOSEN.get(name, [])).split():
        file = entry.partition("=")[0]
        tree = ast.parse((LIBRARY / file).read_text())
        known = there | sys.stdlib_module_names | {"polyalign"}
        assert set(imported(tree)) <= known, file


def test_a_job_that_imports_a_model_has_the_environment_for_it() -> None:
    heavy = {name for name, stage in stages.STAGES.items() if stage.environment == "models"}
    assert heavy == {
        *("annotate", "base_model", "generate", "generate_guided"),
        *("prompts", "reward_model", "steer", "train", "value_model"),
    }


def test_every_rule_has_the_environment_of_its_stage() -> None:
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for body in re.split(r"^ *rule\b", path.read_text(), flags=re.M)[1:]:
            conda = re.search(r'conda:\s+environment\("(\w+)"\)', body)
            runs = re.search(r'job\("(\w+)"', body.partition("shell:")[2])
            assert conda is not None, f"{path.name}: give each rule `conda: environment(…)`"
            assert conda[1] == (runs[1] if runs else "light")


def test_the_container_is_the_lock_file() -> None:
    recipe = (ROOT / "envs/polyalign.def").read_text()
    assert "requirements.lock /opt/requirements.lock" in recipe
    (installed,) = re.findall(r"pip install (.*)", recipe)
    assert installed == "--no-cache-dir -r /opt/requirements.lock"


def test_all_have_one_python() -> None:
    texts = [(ROOT / "envs" / name).read_text() for name in ("light.yaml", "models.yaml")]
    conda = re.findall(r"python=(\d+\.\d+)", "".join(texts))
    container = re.search(r"From: python:(\d+\.\d+)", (ROOT / "envs/polyalign.def").read_text())
    assert container is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert [*conda, container[1]] == 3 * [oldest]


def test_what_the_project_imports_is_locked_and_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["workflow"]]
    wanted = {plain(re.split(r"[<>=!\[ ]", line)[0]) for line in lines}
    locked = {plain(name): number for name, number in LOCK.items()}
    assert wanted <= set(locked)
    for name in wanted:
        try:
            installed = version(name)
        except PackageNotFoundError:
            pytest.fail(f"{name} is locked but not installed")
        assert installed.partition("+")[0] == locked[name], name
