"""Whether a user's module has the function that the config names, without running the module."""

import ast
from collections.abc import Iterator

from polyalign.errors import InputError, nearest
from polyalign.rewards.kinds import python
from polyalign.rewards.spec import ValueSpec


def check_function(spec: ValueSpec) -> None:
    """Raise InputError if the module of a reward in Python clearly lacks its function."""
    if not isinstance(spec, python.Spec):
        return
    tree = ast.parse(spec.file().read_text(encoding="utf-8"))
    names = defined_names(tree)
    function = spec.function.partition(":")[2]
    if names is None or function in names:
        return
    functions = [node.name for node in _top_level(tree) if isinstance(node, ast.FunctionDef)]
    listed = f"one of {', '.join(functions)}" if functions else "one (it defines none)"
    raise InputError(
        f"{spec.file()} has no function {function!r}; expected {listed}; "
        f"{nearest(function, functions)}"
    )


def defined_names(tree: ast.Module) -> set[str] | None:
    """Names that may be functions at the top level of a module, in whatever branch.

    None if only running the module can tell: it imports `*`, has a `__getattr__`, or writes into
    its `globals()`.
    """
    found: set[str] = set()
    for node in _top_level(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Name) and node.id in ("globals", "setattr"):
            return None
    return None if found & {"*", "__getattr__"} else found


def _top_level(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a module, but not those inside of functions and classes."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            yield from _top_level(child)
