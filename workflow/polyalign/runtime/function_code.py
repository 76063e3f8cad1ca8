"""What one function of the user computes: its own code, and of each module the names that it uses.

As in `polyalign.runtime.code`, docstrings, comments and annotations do not count. Of the module of
the function count: the function, the names of the module that it uses, what these use, and all that
the module does when it is imported besides defining names. Names from other modules of the user are
followed there. Where it cannot be seen which names are used, the whole module counts.
"""

import ast
import json
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

from polyalign.runtime.code import computed_tree, module_files, plain, short_hash

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)

PURE_DECORATORS = ("cache", "lru_cache", "dataclass")
"""Decorators that only change what they decorate; others may enter it somewhere."""

DYNAMIC = {
    *("globals", "locals", "vars", "eval", "exec", "__import__", "import_module"),
    *("__init_subclass__", "metaclass", "modules"),
}
"""Names with which code can use, or change, names of its module that it does not write out."""

WHOLE = "*"
"""Stands for all names of a module."""


@cache
def function_code(root: Path, file: Path, name: str) -> str:
    """What a function of the user computes.

    Args:
        root: the folder that the user's modules are below.
        file: the module of the function.
        name: the function.

    Returns:
        `file=hash` for its module and all modules below `root` that it needs, sorted, as one text.

    Raises:
        SyntaxError: if a module is not Python.
    """
    modules: dict[Path, _Module] = {}
    open_ends = [(file, name)]
    while open_ends:
        path, wanted = open_ends.pop()
        if path not in modules:
            modules[path] = _Module(path, root)
        open_ends += modules[path].need(wanted)
    digests = {
        path.relative_to(root).as_posix(): module.digest()
        for path, module in modules.items()
        if module.needed
    }
    return " ".join(f"{name}={digest}" for name, digest in sorted(digests.items()))


class _Module:
    """The statements of a module, and which of them are needed so far."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, root
        tree = computed_tree(path.read_text(encoding="utf-8"))
        assert isinstance(tree, ast.Module)
        lines = (line for line in tree.body if not _is_main_block(line))
        self.statements = [part for line in lines for part in _single(line)]
        self.needed: set[int] = set()
        self.reached = False

    @cached_property
    def binders(self) -> dict[str, list[int]]:
        """Name → the statements that bind it."""
        found: dict[str, list[int]] = {}
        for number, line in enumerate(self.statements):
            for name in _bound(line):
                found.setdefault(name, []).append(number)
        return found

    @cached_property
    def is_dynamic(self) -> bool:
        """Whether it may use names that it does not write out."""
        words = {word for line in self.statements for word in _words(line)}
        return bool(words & DYNAMIC)

    def need(self, name: str) -> list[tuple[Path, str]]:
        """Note that a name is needed; empty: only what importing the module does.

        Returns:
            What that needs of other modules, as (file, name).
        """
        more: list[tuple[Path, str]] = []
        known = not name or name in self.binders
        if name == WHOLE or self.is_dynamic or not known:
            return self._take(range(len(self.statements)))
        if not self.reached:
            self.reached = True
            more += self._take(n for n, line in enumerate(self.statements) if _acts(line))
            # To import another module of the user may do something too.
            for line in self.statements:
                if isinstance(line, IMPORTS):
                    more += [(file, "") for file, _ in self._imported(line)]
        return more + self._take(self.binders.get(name, []))

    def _take(self, numbers: Iterator[int] | range | list[int]) -> list[tuple[Path, str]]:
        """Need some statements, and those of this module that they need."""
        more: list[tuple[Path, str]] = []
        waiting = list(numbers)
        while waiting:
            number = waiting.pop()
            if number in self.needed:
                continue
            self.needed.add(number)
            line = self.statements[number]
            for word in _words(line):
                waiting += self.binders.get(word, [])
            for node in ast.walk(line):
                if isinstance(node, IMPORTS):
                    more += self._imported(node)
        return more

    def _imported(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[Path, str]]:
        """The files below the root that an import runs, and what it needs of each."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from ((file, WHOLE) for file in module_files(alias.name, self.root))
            return
        base = node.module or ""
        if node.level:
            package = self.path.relative_to(self.root).parts[: -node.level]
            base = ".".join([*package, *filter(None, [node.module])])
        files = list(module_files(base, self.root))
        own = [file for file in files if _dotted(file, self.root) == base]
        yield from ((file, WHOLE) for file in files if file not in own)
        for alias in node.names:
            below = module_files(f"{base}.{alias.name}", self.root)
            parts = [file for file in below if file not in files]
            yield from ((file, WHOLE) for file in parts)
            if not parts:
                yield from ((file, alias.name) for file in own)
            else:
                yield from ((file, "") for file in own)

    def digest(self) -> str:
        """Hash of the needed statements."""
        lines = [plain(self.statements[number]) for number in sorted(self.needed)]
        return short_hash(json.dumps(lines))


def _dotted(file: Path, root: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_main_block(line: ast.stmt) -> bool:
    """Whether a statement runs only where its file is the program."""
    return isinstance(line, ast.If) and ast.unparse(line.test) == "__name__ == '__main__'"


def _single(line: ast.stmt) -> list[ast.stmt]:
    """A statement that imports several names as one statement per name."""
    if isinstance(line, ast.Import):
        return [ast.Import([alias]) for alias in line.names]
    if isinstance(line, ast.ImportFrom):
        return [ast.ImportFrom(line.module, [alias], line.level) for alias in line.names]
    return [line]


def _targets(line: ast.stmt) -> list[ast.expr]:
    if isinstance(line, ast.Assign):
        return line.targets
    return [line.target] if isinstance(line, ast.AnnAssign | ast.AugAssign) else []


def _acts(line: ast.stmt) -> bool:
    """Whether a statement at the top level may do more than define names."""
    if isinstance(line, DEFINITIONS):
        names = (ast.unparse(maker).partition("(")[0] for maker in line.decorator_list)
        return any(name.rpartition(".")[2] not in PURE_DECORATORS for name in names)
    if isinstance(line, IMPORTS):
        return any(alias.name == "*" for alias in line.names)
    stored = [node for target in _targets(line) for node in ast.walk(target)]
    plain = ast.Name | ast.Tuple | ast.List | ast.Starred | ast.expr_context
    named = all(isinstance(node, plain) and getattr(node, "id", "") != "_" for node in stored)
    return not (stored and named)


def _bound(line: ast.stmt) -> Iterator[str]:
    """Names of the module that a statement binds."""
    if isinstance(line, DEFINITIONS):
        yield line.name
        return
    for node in ast.walk(line):
        if isinstance(node, DEFINITIONS):
            yield node.name
        elif isinstance(node, IMPORTS):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id


def _words(line: ast.stmt) -> Iterator[str]:
    """Names that a statement may use; a text that is a name counts, as for `getattr`."""
    for node in ast.walk(line):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Global):
            yield from node.names
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.keyword):
            yield node.arg or ""
        elif isinstance(node, DEFINITIONS):
            yield node.name
