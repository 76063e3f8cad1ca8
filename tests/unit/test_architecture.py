"""Who may import whom: the rooms of the library are layers (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "workflow/polyalign"
SCRIPTS = LIBRARY.parent / "scripts"
LAYERS = (
    ("errors", "finite", "settings"),
    ("runtime", "map", "families"),
    ("paths",),
    ("models", "data"),
    ("rewards", "palettes"),
    ("sampling", "train", "evaluate"),
    ("report", "plots", "sandbox"),
    ("study",),
    ("plan", "answer"),
    ("app",),
    ("cli",),
    ("__main__",),
)
LAYER = {room: number for number, layer in enumerate(LAYERS) for room in layer}
ALONE = {"map": {"errors", "finite"}, "families": {"settings"}}
TORCH = {"models", "rewards", "sampling", "train", "sandbox", "answer"}
PLANNED = {"study", "plan", "cli", "answer", "app"}


def imported(file: Path) -> Iterator[str]:
    """Dotted names that a file imports, in functions too, but not for type annotations."""
    open_ends: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while open_ends:
        node = open_ends.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        open_ends += ast.iter_child_nodes(node)


def rooms(file: Path) -> set[str]:
    """Rooms of the library that a file imports from; the package's version is in none."""
    names = [name.split(".") for name in imported(file)]
    return {name[1] for name in names if name[0] == "polyalign"} - {"__version__"}


FILES = sorted(LIBRARY.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(LIBRARY)))
def test_a_room_imports_from_layers_below_it(file: Path) -> None:
    room = file.relative_to(LIBRARY).parts[0].removesuffix(".py")
    others = rooms(file) - {room}
    if room != "__init__":
        assert not {other for other in others if LAYER[other] > LAYER[room]}
    assert others <= ALONE.get(room, others)
    if room not in TORCH:
        heavy = {name.partition(".")[0] for name in imported(file)} & {"torch", "transformers"}
        assert not heavy
    if room != "app":
        assert "gradio" not in {name.partition(".")[0] for name in imported(file)}


@pytest.mark.parametrize("file", sorted(SCRIPTS.glob("*.py")), ids=lambda file: file.stem)
def test_what_a_job_runs_never_imports_what_plans(file: Path) -> None:
    assert not rooms(file) & PLANNED


def test_the_library_has_few_entries_at_its_top() -> None:
    entries = {path.name for path in LIBRARY.iterdir()} - {"__pycache__", "__init__.py"}
    assert {entry.removesuffix(".py") for entry in entries} == set(LAYER)
    assert len(entries) <= 23
