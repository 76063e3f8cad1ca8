"""Writes every file that is generated: `python tools/generated.py` (`make generated`).

- docs/config.md and workflow/schemas/config.schema.json, from the typed model of the config;
- the tree in docs/architecture.md, from the first line of each module's docstring;
- envs/light.yaml and envs/models.yaml, the conda environments, from requirements.lock. Versions are
  written into these files because Snakemake copies an environment's file to where it installs it,
  so a path in it would lead nowhere, and it installs again where the text has changed.
"""

import ast
import re
from importlib.metadata import requires
from itertools import takewhile
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


TREE_BEGIN = "<!-- tree: written by `make generated` -->"
TREE_END = "<!-- end of tree -->"
ENTRIES = {
    "Snakefile": "entry point and targets",
    "config.yaml": "the default study, the sandbox; more in configs/",
    "profiles/slurm/": "the cluster profile (`slurm` is a link to it)",
    "envs/": "conda environments and the container, generated",
    "workflow/report/": "captions and style of the report",
    "workflow/schemas/": "the schema of the config, generated",
    "tools/generated.py": "writes every file that is generated",
    "tools/gallery.py": "writes docs/figures.md and its thumbnails from a finished study",
    "tools/pictures.py": "draws the pictures of docs/idea.md",
    "setup.py": "puts the workflow into the wheel, in the layout of a checkout",
    "tools/install.py": "installs requirements.lock, without CUDA libraries where there is no GPU",
    "benchmarks/": "speed and memory, against what people would use instead",
    "tests/": "see CONTRIBUTING.md",
    "docs/": "one page per topic; config.md is generated",
    "mkdocs.yml": "the site that `make site` makes of docs/",
}


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
        ROOT / "docs/architecture.md": architecture_text(),
        **{ROOT / "envs" / name: text for name, text in environments().items()},
    }


def architecture_text() -> str:
    """The page of the architecture, with the tree of today's files."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    before, begin, rest = text.partition(TREE_BEGIN)
    _, end, after = rest.partition(TREE_END)
    return f"{before}{begin}\n```\n{tree()}```\n{end}{after}"


def tree() -> str:
    """Every file of the workflow with the first sentence of what it says of itself."""
    lines = [f"{name:<40}{what}" for name, what in ENTRIES.items()]
    folders = [ROOT / "workflow/rules", ROOT / "workflow/scripts"]
    library = ROOT / "workflow/polyalign"
    folders += [library, *sorted(path for path in library.rglob("*") if path.is_dir())]
    for folder in folders:
        files = [file for file in sorted(folder.iterdir()) if file.suffix in (".py", ".smk")]
        if not files or folder.name == "__pycache__":
            continue
        said = {file.name: _sentence(file) for file in files}
        title = said.pop("__init__.py", "")
        lines.append(f"\n{folder.relative_to(ROOT)}/  {title}".rstrip())
        lines += [f"  {name:<22}{what}" for name, what in said.items()]
    return "\n".join(lines) + "\n"


def _sentence(file: Path) -> str:
    """The first sentence of a module's docstring, or of the comment at the head of a rule file."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        said = ast.get_docstring(ast.parse(text)) or ""
    else:
        head = takewhile(lambda line: line.startswith("#"), text.splitlines())
        said = "\n".join(line.removeprefix("# ") for line in head)
    paragraph = " ".join(said.partition("\n\n")[0].split())
    return re.split(r"(?<=[.;]) ", paragraph)[0].rstrip(".;")


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
