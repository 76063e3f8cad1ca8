"""The order of the files, and what garbage collection costs between their tests."""

import gc
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LONGEST = ("slurm/", "workflow/", "unit/train/")

# Nothing of what is imported here is garbage before the tests begin.
gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that no worker has one left when the others end."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(TESTS).as_posix()
        starts = [name.startswith(folder) for folder in LONGEST]
        return starts.index(True) if True in starts else len(LONGEST)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Let garbage collection leave out all that was imported.

    That is close to a million objects, half a second for each collection, and each training asks
    for one.
    """
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()
