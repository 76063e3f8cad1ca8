"""The wheel brings the commands and the mathematics into an empty environment, without torch."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from polyalign import __version__
from polyalign.cli.extras import EXTRAS

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
TABLE = REPOSITORY / "configs/data/sandbox-rewards.csv"
NO_INDEX = ("No matching distribution", "Could not find a version", "ConnectionError")
"""What pip says where it reaches no package index."""


def called(*command: object, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """The library of the checkout is not on the path of what is called."""
    words = [str(word) for word in command]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )


def pip(*words: object) -> None:
    done = called(*PIP, *words)
    if any(said in done.stderr for said in NO_INDEX):
        pytest.skip("needs a package index: pip finds none")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what it is built from."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "Snakefile"):
        shutil.copy(REPOSITORY / name, folder)
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("workflow", "envs"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=unwanted)
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "dist", folder)
    (built,) = (folder / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an environment that holds the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    assert called(sys.executable, "-m", "venv", "--without-pip", folder).returncode == 0
    lock = REPOSITORY / "requirements.lock"
    python = folder / "bin/python"
    pip("--python", python, "install", "--quiet", "--no-compile", "--constraint", lock, wheel)
    return folder / "bin"


def test_the_wheel_solves_a_palette_without_torch(environment: Path, tmp_path: Path) -> None:
    polyalign = environment / "polyalign"
    assert called(polyalign, "--version").stdout == f"polyalign {__version__}\n"
    palette = ["--target", "helpful=q60", "--target", "harmless=mean", "--json"]
    solved = called(polyalign, "solve", TABLE, *palette, folder=tmp_path)
    assert solved.returncode == 0, solved.stderr
    here = called(sys.executable, "-m", "polyalign", "solve", TABLE, *palette, folder=tmp_path)
    assert json.loads(solved.stdout) == json.loads(here.stdout)
    drawn = called(polyalign, "solve", TABLE, *palette, "--plot", "way.png", folder=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "way.png").read_bytes().startswith(b"\x89PNG")
    (site,) = environment.parent.glob("lib/*/site-packages")
    assert not (site / "torch").exists()
    library = called(environment / "python", "-c", "from polyalign import app; print(app.__file__)")
    assert Path(library.stdout.strip()).with_name("page.css").is_file()


APP = "gradio is not installed; expected it for `polyalign app`; pip install 'polyalign[app]'"
RUN = (
    "snakemake is not installed; expected it for `polyalign run`; pip install 'polyalign[workflow]'"
)


@pytest.mark.parametrize(
    ("words", "said"), [("app TABLE", APP), ("run study.yaml", RUN)], ids=["app", "run"]
)
def test_a_command_names_the_extra_that_it_needs(
    environment: Path, tmp_path: Path, words: str, said: str
) -> None:
    study = (REPOSITORY / "configs/scores-only.yaml").read_text()
    (tmp_path / "study.yaml").write_text(study.replace("configs/data", f"{TABLE.parent}"))
    given = [str(TABLE) if word == "TABLE" else word for word in words.split()]
    done = called(environment / "polyalign", *given, folder=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.removeprefix("polyalign: ") == said


def test_the_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    made_by = {
        module: {canonicalize_name(name) for name in names}
        for module, names in packages_distributions().items()
    }
    for extra, modules in EXTRAS.items():
        wanted = {Requirement(line).name for line in project["optional-dependencies"][extra]}
        wanted -= {"polyalign", "snakemake-executor-plugin-slurm"}
        assert {canonicalize_name(name) for name in modules} == wanted
        assert all(wanted & made_by[module] for module in modules)
    core = {Requirement(line).name for line in project["dependencies"]}
    assert not core & {"torch", "transformers", "snakemake", "gradio"}


def test_the_wheel_holds_the_workflow(environment: Path) -> None:
    """Every file of it, in the places of a checkout, and no file twice."""
    (site,) = environment.parent.glob("lib/*/site-packages")
    assert {file.name for file in (site / "polyalign").iterdir()} - {"__pycache__"} == {
        "__init__.py",
        "checkout",
    }
    checkout = site / "polyalign/checkout"
    for folder in ("workflow", "envs"):
        wanted, found = (
            {file.relative_to(root) for file in (root / folder).rglob("*.*") if file.is_file()}
            for root in (REPOSITORY, checkout)
        )
        lacking = {file for file in wanted - found if "__pycache__" not in file.parts}
        assert {file.suffix for file in lacking} <= {".def"}  # a container's recipe
    assert (checkout / "Snakefile").read_bytes() == (REPOSITORY / "Snakefile").read_bytes()


@pytest.fixture(scope="module")
def with_snakemake(environment: Path) -> Path:
    """The same environment with Snakemake, and still without torch; for the last tests here."""
    lock = REPOSITORY / "requirements.lock"
    python = environment / "python"
    pip("--python", python, "install", "--quiet", "--no-compile", "-c", lock, "snakemake")
    return environment


def test_the_wheel_runs_a_study_without_a_checkout(with_snakemake: Path, tmp_path: Path) -> None:
    study = (REPOSITORY / "configs/scores-only.yaml").read_text()
    (tmp_path / "study.yaml").write_text(study.replace("configs/data", f"{TABLE.parent}"))
    polyalign = with_snakemake / "polyalign"
    planned = called(polyalign, "check", "study.yaml", folder=tmp_path)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    ran = called(polyalign, "run", "study.yaml", "hhh-60", folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    made = tmp_path / "results/scores-only/palettes/hhh-60.json"
    assert json.loads(made.read_text())["verdict"] == "supported"
    (site,) = with_snakemake.parent.glob("lib/*/site-packages")
    assert not (site / "torch").exists()
