"""What a stage depends on besides its files: its settings as text, and the code that it runs."""

import hashlib
import json
from functools import cache
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def canonical(settings: Any) -> str:
    """Settings as JSON with sorted keys: equal settings are equal text, whatever their order."""
    return json.dumps(settings, sort_keys=True, allow_nan=False)


def short_hash(text: str) -> str:
    """First 12 hex digits of the SHA-256 of `text`, to name a folder."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def _imports(script: Path, root: Path = ROOT) -> dict[str, str]:
    """Modules below `root` that a script imports, itself included, each with a hash."""
    finder = ModuleFinder(path=[str(root)])
    finder.run_script(str(script))
    modules = (getattr(module, "__file__", None) for module in finder.modules.values())
    files = {Path(file) for file in modules if file}
    return {
        file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        for file in files
    }


@cache
def code(script: str, *modules: str) -> str:
    """The files that a stage runs, each with a hash of its content, as one sorted text.

    Args:
        script: name of a script of workflow/scripts/.
        modules: modules of polyalign that it chooses by its settings (`values.ngram_diversity`),
            since no import statement names them.

    Returns:
        `file=hash` for the script and every module of polyalign that they import, at whatever
        depth. Editing one of them changes the text; touching it does not.
    """
    return _text(ROOT / "scripts" / f"{script}.py", *map(_library, modules))


def module_code(module: str) -> str:
    """As `code`, for a module of polyalign alone."""
    return _text(_library(module))


def _library(module: str) -> Path:
    return ROOT / "polyalign" / f"{module.replace('.', '/')}.py"


def imported(root: Path, script: Path) -> str:
    """As `code`, for a file of the user's below `root` and the modules there that it imports."""
    return _text(script, root=root)


def _text(*starts: Path, root: Path = ROOT) -> str:
    files: dict[str, str] = {}
    for start in starts:
        files.update(_imports(start, root))
    return " ".join(f"{file}={digest}" for file, digest in sorted(files.items()))
