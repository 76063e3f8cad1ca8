"""Specifications: how a rewards table was sampled and scored, stored in the same file.

Policies are compared only if they were sampled alike and scored by the same rewards.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyalign.data.cut_off import unread
from polyalign.data.tables import read_settings
from polyalign.errors import InputError
from polyalign.runtime.files import sha256


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
            "only if they were sampled alike and scored by the same rewards: delete the older file "
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


def read_spec(path: str | Path) -> dict[str, Any]:
    """How a rewards table was made: `sampling` (p0's rule, template, base model), and `values`.

    `values` has the whole reward specification of each value, with the fingerprint of its model.
    Rewards of two tables compare only if both parts are equal.

    Raises:
        InputError: if the file carries no specification.
    """
    spec: dict[str, Any] | None = read_settings(path).get("spec")
    if spec is None:
        raise InputError(
            f"{path}: carries no specification of its samples and rewards; expected a rewards "
            "table of this workflow; delete it and let its stage make it again"
        )
    return spec


def imported_spec(
    path: str | Path,
    columns: Mapping[str, str],
    negated: Collection[str] = (),
    above: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The `spec` of a table of scores that the user gives: its file and its columns.

    Args:
        path: the file.
        columns: value → name of its column.
        negated: the values whose column is taken with the other sign.
        above: value → number, of those that are 1 where the column is above it, else 0.
    """
    return {
        "sampling": {"imported": Path(path).name, "content": f"sha256:{sha256(path)[:16]}"},
        "values": {
            value: {
                "kind": "column",
                "column": column,
                "sign": -1 if value in negated else 1,
                "above": (above or {}).get(value),
            }
            for value, column in columns.items()
        },
    }


def common_spec(paths: Sequence[str | Path], what: str) -> dict[str, Any]:
    """The one specification that files (shards of `what`) carry.

    Raises:
        InputError: if one carries none, or two differ; the message names files and settings.
    """
    specs = [read_spec(path) for path in paths]
    for path, spec in zip(paths, specs, strict=True):
        if spec != specs[0]:
            keys = [key for key in {**spec, **specs[0]} if spec.get(key) != specs[0].get(key)]
            raise InputError(
                f"{path}: {what} was made with another {', '.join(keys)} than {paths[0]}; expected "
                "the same in all shards; delete them and let their stage make them again"
            )
    return specs[0]


def rewards_record(samples: Sequence[Path], scores: Sequence[Path]) -> dict[str, Any]:
    """The record of a merged table: the settings of its parts, their common `spec`, and `cut`: of
    each value, how many texts its model could not read whole, and of how many.

    Args:
        samples: shards of the samples.
        scores: shards of all values' scores.

    Raises:
        InputError: if shards of the samples, or of one value, were made in different ways.
    """
    by_value: dict[str, list[Path]] = {}
    for path in scores:
        by_value.setdefault(str(read_settings(path).get("value")), []).append(path)
    return {
        "samples": [read_settings(path) for path in samples],
        "spec": {
            "sampling": common_spec(samples, "samples"),
            "values": {
                value: common_spec(shards, f"value '{value}'") for value, shards in by_value.items()
            },
        },
        "cut": unread(scores),
    }
