"""The files that take longest come first, so that no worker still has one when the others end."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LONGEST = ("slurm/", "workflow/", "unit/train/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by folder; the order of files in a folder stays."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(TESTS).as_posix()
        starts = [name.startswith(folder) for folder in LONGEST]
        return starts.index(True) if True in starts else len(LONGEST)

    items.sort(key=place)
