"""Writes every file that is generated: `python tools/generated.py` (`make generated`).

- docs/config.md and workflow/schemas/config.schema.json, from the typed model of the config;
- envs/light.yaml and envs/models.yaml, the conda environments, from requirements.lock. Versions are
  written into these files because Snakemake copies an environment's file to where it installs it,
  so a path in it would lead nowhere, and it installs again where the text has changed.
"""

from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from polyalign.runtime.files import write_text
from polyalign.study.reference import docs_text, schema_text

ROOT = Path(__file__).parents[1]
LIGHT = (
    "matplotlib",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "pygments",
    "pyyaml",
    "scipy",
    "snakemake",
)
"""What jobs import that load no model; Snakemake for those that plan or write the report."""

HEAD = """\
# For `--software-deployment-method conda`: {jobs}.
# Written by `make generated` from requirements.lock.
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def main() -> None:
    """Write every generated file and print its name."""
    for path, text in files().items():
        write_text(path, text)
        print(path.relative_to(ROOT))


def files() -> dict[Path, str]:
    """Path → text of each generated file."""
    return {
        ROOT / "workflow/schemas/config.schema.json": schema_text(),
        ROOT / "docs/config.md": docs_text(),
        **{ROOT / "envs" / name: text for name, text in environments().items()},
    }


def environments() -> dict[str, str]:
    """Name → text of each environment.

    The needs of packages are read from those that are installed here.
    """
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").split()
    locked = {canonicalize_name(line.partition("==")[0]): line for line in lines}
    needed = closure(LIGHT)
    light = [line for name, line in locked.items() if name in needed]
    return {
        "light.yaml": _text("jobs that load no model", light),
        "models.yaml": _text("jobs that load a model or a data set", lines),
    }


def closure(names: tuple[str, ...]) -> set[str]:
    """Distributions that the named ones need on this machine, at whatever depth, themselves too."""
    found: set[tuple[str, str]] = set()
    open_ends = [(canonicalize_name(name), "") for name in names]
    while open_ends:
        name, extra = open_ends.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for line in requires(name) or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                open_ends += [(canonicalize_name(need.name), e) for e in ("", *need.extras)]
    return {name for name, _ in found}


def _text(jobs: str, pins: list[str]) -> str:
    return HEAD.format(jobs=jobs) + "".join(f"      - {pin}\n" for pin in pins)


if __name__ == "__main__":
    main()
