"""Policies are compared only where they sampled alike and were scored by the same rewards."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polyalign.errors import InputError
from polyalign.tables import read_spec


def check_same_spec(path: str | Path, other: str | Path) -> None:
    """Refuse two rewards tables whose sampling or reward specifications differ.

    Raises:
        InputError: naming the two files and the first setting that differs, or a file without a
            specification.
    """
    ours, theirs = read_spec(path), read_spec(other)
    for key, one, two in differences(ours, theirs):
        raise InputError(
            f"{path}: was made with {key} = {one}, but {other} with {two}; policies are compared "
            "where they sampled alike and were scored by the same rewards: delete the older file "
            "and let its stages make it again"
        )


def differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Settings that differ, as (key, ours, theirs), sorted; `nothing` for an absent one."""
    for name in sorted({*ours, *theirs}):
        one, two = ours.get(name, "nothing"), theirs.get(name, "nothing")
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            yield from differences(one, two, f"{above}{name}.")
        elif one != two:
            yield f"{above}{name}", str(one), str(two)
