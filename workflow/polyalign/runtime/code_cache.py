"""What earlier runs found out of source files, by their content, in the user's cache folder.

To read the syntax of all files of this project takes half of the time of a dry run. An entry's key
is a hash of all that it depends on, so it never goes out of date. Without a cache that can be read
or written, everything is found out anew.
"""

import json
from contextlib import suppress
from functools import cache
from typing import Any

from polyalign.runtime.files import cache_folder, write_text

MOST = 4000
"""Entries that are kept, the latest ones: those of some ten versions of this project."""

_unsaved: set[str] = set()


@cache
def _entries() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads((cache_folder() / "code.json").read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def recall(key: str) -> Any:
    """What is known under a key; None if nothing is."""
    return _entries().get(key)


def keep(key: str, found: Any) -> None:
    """Remember something JSON-ready under a key; `save` writes it."""
    _entries()[key] = found
    _unsaved.add(key)


def save() -> None:
    """Write what is new.

    Of two processes that write at the same time, the second one writes only what it knows.
    """
    if not _unsaved:
        return
    entries = _entries()
    for key in list(entries)[:-MOST]:
        del entries[key]
    with suppress(OSError):
        write_text(cache_folder() / "code.json", json.dumps(entries))
    _unsaved.clear()
