from pathlib import Path

import pandas as pd
import pytest

from polyalign.data.specs import check_same_spec, differences
from polyalign.data.tables import write_table
from polyalign.errors import InputError

SPEC = {
    "sampling": {"temperature": 1.0, "top_k": 0},
    "values": {"humor": {"kind": "sequence_classifier", "model": "one"}},
}


def write(path: Path, spec: dict) -> Path:  # type: ignore[type-arg]
    write_table(pd.DataFrame({"humor": [1.0]}), path, {"spec": spec})
    return path


def test_the_same_specification_passes(tmp_path: Path) -> None:
    check_same_spec(write(tmp_path / "a.parquet", SPEC), write(tmp_path / "b.parquet", SPEC))


@pytest.mark.parametrize(
    ("change", "key", "one", "two"),
    [
        ({"sampling": {"temperature": 0.7, "top_k": 0}}, "sampling.temperature", "0.7", "1.0"),
        ({"values": {"humor": {"kind": "x", "model": "one"}}}, "values.humor.kind", "x", "seq"),
        ({"values": {}}, "values.humor", "nothing", "{'kind'"),
    ],
)
def test_other_sampling_or_rewards_are_refused(
    tmp_path: Path,
    change: dict,
    key: str,
    one: str,
    two: str,  # type: ignore[type-arg]
) -> None:
    ours = write(tmp_path / "ours.parquet", SPEC | change)
    theirs = write(tmp_path / "theirs.parquet", SPEC)
    with pytest.raises(InputError) as fault:
        check_same_spec(ours, theirs)
    message = str(fault.value)
    assert message.startswith(f"{ours}: was made with {key} = {one}, but {theirs} with {two}")
    assert "delete the older file" in message


def test_differences_are_named_by_their_keys() -> None:
    found = list(differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}))
    assert found == [("a.c", "2", "4"), ("d", "3", "nothing"), ("e", "nothing", "5")]
