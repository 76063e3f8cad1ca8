"""`package:NAME/PATH`: files that an installed Python package holds."""

import re
from importlib.util import find_spec
from pathlib import Path

from polyalign.errors import InputError

PACKAGE = "package:"


def resolve(source: str) -> str:
    """Path or hub id of `source`; `package:NAME/PATH` is a path in an installed package.

    The package is not imported, so a package that only holds a model needs no other software.

    Raises:
        InputError: if the package is not installed.
    """
    if not source.startswith(PACKAGE):
        return source
    name, _, inside = source.removeprefix(PACKAGE).partition("/")
    spec = find_spec(name) if re.fullmatch(r"\w+", name) else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{source}: no package {name!r} is installed; expected `package:NAME/PATH`; "
            f"pip install {name}, or correct the name"
        )
    return str(Path(spec.submodule_search_locations[0]) / inside)
