"""The command of a job is built from its files and resources, without Snakemake."""

import re
import shlex
from pathlib import Path

import pytest

from polyalign.errors import InputError
from polyalign.plan import command
from polyalign.runtime.code import short_hash


def test_files_are_given_by_name_and_quoted() -> None:
    text = command.arguments({"a": "x y.json", "b": ["1", "2"]}, {"out": "o.csv"}, {})
    words = shlex.split(text)
    assert words == ["--input", "a=x y.json", "b=1", "b=2", "--output", "out=o.csv"]


def test_gpus_and_a_second_attempt_are_told_and_nothing_else() -> None:
    plain = command.arguments({}, {}, {"gpu": 0, "attempt": 1, "mem_mb": 4000})
    assert plain == command.arguments({}, {}, {})
    text = command.arguments({}, {}, {"gpu": 2, "attempt": 3}, work="w", made_from="c=1")
    assert text.endswith(f"--gpus 2 --attempt 3 --work w --made-from {short_hash('c=1')}")


def test_a_stage_runs_its_script_and_says_how_it_failed() -> None:
    assert " '../my folder/workflow/scripts/solve.py' --" in command.shell_command(
        "../my folder", "solve"
    )
    text = command.shell_command("..", "annotate")
    started = " python -m polyalign.runtime.preloaded models ../workflow/scripts/annotate.py"
    assert f"{started} --settings {{params.told:q}} " in text
    assert text.endswith("|| python -m polyalign.runtime.exit_status $? {log:q}")
    assert " {params.launcher} ../" in command.shell_command("..", "train", launch=True)


def test_a_training_starts_once_per_gpu() -> None:
    assert command.launcher({}) == command.launcher({"gpu": 1})
    assert command.launcher({}) == "python -m polyalign.runtime.preloaded training"
    assert "--nproc_per_node 2" in command.launcher({"gpu": 2})
    spread = command.launcher({"gpu": 4, "nodes": 2, "mpi": "srun"})
    assert spread.startswith("srun --nodes=2 ")
    assert "--nnodes 2 --nproc_per_node 2" in spread
    for wrong in ({"gpu": 3, "mpi": "srun"}, {"gpu": 4}, {"gpu": 0, "mpi": "srun"}):
        with pytest.raises(InputError, match="same number of GPUs on each node"):
            command.launcher({**wrong, "nodes": 2})


def test_a_wildcard_that_is_one_of_some_names() -> None:
    pattern = command.one_of(["a.b", "c"])
    assert [name for name in ("a.b", "axb", "c", "cc") if re.fullmatch(pattern, name)] == [
        "a.b",
        "c",
    ]


def test_the_hash_of_texts_follows_their_content_alone(tmp_path: Path) -> None:
    for name in ("a.smk", "b.smk", "c.txt"):
        (tmp_path / name).write_text(name)
    before = command.text_hash(tmp_path, "*.smk")
    assert command.text_hash(tmp_path, "b.smk", "a.smk") == before
    (tmp_path / "c.txt").write_text("other")
    assert command.text_hash(tmp_path, "*.smk") == before
    (tmp_path / "b.smk").write_text("other")
    assert command.text_hash(tmp_path, "*.smk") != before
