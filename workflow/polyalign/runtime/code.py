"""What a stage depends on besides its files: its settings as text, and the code that it runs.

The code counts by what it computes. Docstrings, comments, annotations of functions and variables,
and the descriptions of config fields change neither a result nor a hash. How a job runs
(polyalign.runtime) and the package's version are left out for the same reason. So a text that a
job writes into a result must reach it in its settings, and not as a docstring of another module.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from polyalign.runtime import code_cache
from polyalign.runtime.files import sha256

ROOT = Path(__file__).parents[2]
"""The folder of the package polyalign and of the scripts."""

NOT_COMPUTED = ("polyalign/__init__.py", "polyalign/runtime/")
"""Files, and folders of files, that no result depends on."""

ANNOTATIONS = ("typing", "typing_extensions", "collections.abc", "__future__")
"""Modules that are imported for annotations, which do not count."""

UNSTABLE = ("ctx", "kind", "type_comment", "type_ignores", "type_params")
"""Fields of syntax nodes that change no result, or that some versions of Python lack."""


def canonical(settings: Any) -> str:
    """Settings as JSON with sorted keys: equal settings are equal text, whatever their order."""
    return json.dumps(settings, sort_keys=True, allow_nan=False)


def short_hash(text: str) -> str:
    """First 12 hex digits of the SHA-256 of `text`, to name a folder."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def code(script: str, *modules: str) -> str:
    """The files that a stage runs, each with a hash of what it computes, as one sorted text.

    Args:
        script: name of a script of workflow/scripts/.
        modules: modules that it chooses by its settings (`polyalign.rewards.kinds.column`), since
            no import statement names them.

    Returns:
        `file=hash` for the script and every module of polyalign that they import, directly or
        through others. Editing what one of them computes changes the text.
    """
    return _text(ROOT / "scripts" / f"{script}.py", *map(_library, modules))


def module_code(module: str) -> str:
    """As `code`, for a module of polyalign alone."""
    return _text(_library(module))


def imported(root: Path, script: Path) -> str:
    """As `code`, for a file of the user below `root` and the modules there that it imports."""
    return _text(script, root=root)


def fingerprint(source: str) -> str:
    """Hash of what a module computes, the same in every version of Python: 12 hex digits.

    Raises:
        SyntaxError: if `source` is not Python.
    """
    return short_hash(json.dumps(plain(computed_tree(source))))


def _library(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"


def _text(*starts: Path, root: Path = ROOT) -> str:
    open_ends, found = list(starts), {}
    while open_ends:
        file = open_ends.pop()
        name = file.relative_to(root).as_posix()
        if name in found or name.startswith(NOT_COMPUTED):
            continue
        found[name], more = _facts(file, root)
        open_ends += more
    code_cache.save()
    return " ".join(f"{name}={digest}" for name, digest in sorted(found.items()))


@cache
def _facts(file: Path, root: Path) -> tuple[str, tuple[Path, ...]]:
    """A file's fingerprint, and the files below `root` that it imports itself."""
    name, source = file.relative_to(root).as_posix(), file.read_text(encoding="utf-8")
    key = hashlib.sha256(f"{_this_module()} {name} {source}".encode()).hexdigest()
    known = code_cache.recall(key)
    if known is None:
        tree = computed_tree(source)
        known = [short_hash(json.dumps(plain(tree))), sorted(_imports(tree, name))]
        code_cache.keep(key, known)
    digest, modules = known
    files = {found for module in modules for found in module_files(module, root)}
    return digest, tuple(sorted(files))


@cache
def _this_module() -> str:
    """Hash of this file: what is computed here depends on it."""
    return sha256(__file__)


def _imports(tree: ast.AST, name: str) -> set[str]:
    """Dotted names that code imports, at its top level or in functions.

    Args:
        tree: the code.
        name: its path below the root of its package, which relative imports start from.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split("/")[: -node.level]
                base = ".".join([*package, *filter(None, [node.module])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def module_files(module: str, root: Path) -> Iterator[Path]:
    """The files below `root` that importing a module runs: its packages' and its own."""
    parts = module.split(".") if module else []
    for end in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:end])
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                yield file
                break
        else:
            if not place.is_dir():
                return


class _Computed(ast.NodeTransformer):
    """Keeps what a module computes."""

    def __init__(self, tree: ast.Module) -> None:
        # A module that reads docstrings computes with them.
        self.keeps_docstrings = any(
            (isinstance(node, ast.Name) and node.id == "__doc__")
            or (isinstance(node, ast.Attribute) and node.attr == "__doc__")
            for node in ast.walk(tree)
        )
        self.fields: set[ast.AnnAssign] = set()

    def visit_Expr(self, node: ast.Expr) -> Any:
        """Drop docstrings, also those of attributes."""
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text and not self.keeps_docstrings else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> Any:
        """Drop imports for annotations alone."""
        self.generic_visit(node)
        checked = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        return node.orelse if checked else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        """Drop imports of names for annotations."""
        return None if node.module in ANNOTATIONS and not node.level else node

    def visit_arg(self, node: ast.arg) -> Any:
        """Drop the annotation of a parameter."""
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Any:
        """Drop the annotation of what a function returns."""
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        """Keep the annotations of fields, which pydantic computes with and dataclasses do not."""
        dataclass = any("dataclass" in ast.unparse(line) for line in node.decorator_list)
        fields = [line for line in node.body if isinstance(line, ast.AnnAssign)]
        for field in fields:
            special = re.search("ClassVar|InitVar|KW_ONLY", ast.unparse(field.annotation))
            if dataclass and not special:
                field.annotation = ast.Constant(None)
        self.fields.update(fields)
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        """Drop the annotation of a variable; keep a field of a class as it is."""
        self.generic_visit(node)
        if node in self.fields:
            return node
        return None if node.value is None else ast.Assign([node.target], node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        """Drop the empty text that Python 3.12 adds after the width of a format."""
        self.generic_visit(node)
        node.values = [part for part in node.values if getattr(part, "value", None) != ""]
        return node

    def visit_Call(self, node: ast.Call) -> Any:
        """Drop the description of a config field."""
        if ast.unparse(node.func).rpartition(".")[2] == "Field":
            node.keywords = [word for word in node.keywords if word.arg != "description"]
        return self.generic_visit(node)


def computed_tree(source: str) -> ast.AST:
    """The syntax of what a module computes."""
    tree = ast.parse(source)
    computed: ast.AST = _Computed(tree).visit(tree)
    return computed


def plain(node: Any) -> Any:
    """Syntax as lists and texts, without places and without what is empty or unstable."""
    if isinstance(node, ast.AST):
        fields = {name: plain(part) for name, part in ast.iter_fields(node)}
        kept = {name: part for name, part in fields.items() if part not in (None, [])}
        named = [[name, part] for name, part in sorted(kept.items()) if name not in UNSTABLE]
        return [type(node).__name__, *named]
    if isinstance(node, list):
        return [plain(part) for part in node]
    return node if node is None else repr(node)
