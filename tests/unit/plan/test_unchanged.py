"""What Snakemake compares of settings, and the number of shards that a finished pool keeps."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from snakemake.persistence.file import FilePersistence

from polyalign.families import POOL
from polyalign.plan import stages
from polyalign.plan.jobs import jobs
from polyalign.plan.recorded import METADATA, read_record, record_path
from polyalign.plan.stages import code_text, settings_text, shards
from polyalign.plan.unchanged import compared_text
from polyalign.study import Study, load

Edited = Callable[..., Study]


@pytest.fixture
def edited(text: str, write) -> Edited:
    """Function: the small study with some settings changed, by their dotted names."""

    def study(**changes: Any) -> Study:
        config = yaml.safe_load(text)
        for name, value in changes.items():
            *sections, key = name.split("__")
            place = config
            for section in sections:
                place = place.setdefault(section, {})
            place[key] = value
        return load(write(yaml.safe_dump(config, sort_keys=False)))

    return study


def record(path: str, settings: str, told: str, code: str = "polyalign/a.py=1") -> None:
    """Write the record of a file, and the file, if it is not there yet."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).touch()
    place = record_path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    params = sorted(map(repr, [settings, code]))
    command = f"python script.py --settings {shlex.quote(told)} --log a.log || python -m b"
    place.write_text(json.dumps({"params": params, "shellcmd": command, "endtime": 1.5}))


@pytest.mark.parametrize("length", [5, 100, 300, 1000])
def test_records_are_where_snakemake_keeps_them(length: int) -> None:
    path = f"results/{'λ' * length}.json"
    named = SimpleNamespace(_fetch_max_len=lambda subject: 255)
    assert str(record_path(path)) == FilePersistence._record_path(named, str(METADATA), path)


def test_a_record_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_record("made.json") is None
    told = {"a": "it's", "b": [1, None]}
    record("made.json", '{"a": 1}', json.dumps(told))
    found = read_record("made.json")
    assert found is not None
    assert (found.settings, found.code, found.told) == ('{"a": 1}', "polyalign/a.py=1", told)
    assert found.ended == 1.5
    record_path("made.json").write_text('{"params": ["{')
    assert read_record("made.json") is None


@pytest.mark.parametrize(("key", "value"), [("batch_size", 7), ("device", "cpu")])
def test_how_fast_a_value_is_scored_is_told_and_not_compared(
    edited: Edited, key: str, value: Any
) -> None:
    before = edited(policies__rloo={"palettes": ["funny"]})
    after = edited(**{f"values__humor__{key}": value, f"values__fluency__{key}": value})
    told = set()
    for stage, wildcards in jobs(before):
        assert compared_text(before, stage, wildcards) == compared_text(after, stage, wildcards)
        if settings_text(before, stage, wildcards) != settings_text(after, stage, wildcards):
            told.add(stage)
    assert {"annotate", "train"} <= told


ROUTES = ("rloo", "dpo", "dpo__labelled")


def with_trainings(edited: Edited, *pairs: int, **changes: Any) -> Study:
    """The small study with every way of training; changes by the names of their sections."""
    labelled = {"palettes": ["funny"], "pairs": pairs[0] if pairs else None}
    added = {"dpo__labelled": labelled, "sft": {"palettes": ["funny"]}}
    added["value-d"] = {"palettes": ["funny"]}
    return edited(**{f"policies__{name}": section for name, section in added.items()}, **changes)


def changed(before: Study, after: Study) -> set[str]:
    """The jobs whose settings Snakemake would find changed."""
    return {
        "/".join([stage, *wildcards.values()])
        for stage, wildcards in jobs(before)
        if compared_text(before, stage, wildcards) != compared_text(after, stage, wildcards)
    }


def test_where_a_training_reports_to_is_told_and_not_compared(edited: Edited) -> None:
    sections = [f"policies__{name}" for name in (*ROUTES, "sft")]
    changes = {f"{name}__report_to": "tensorboard" for name in sections}
    before = with_trainings(edited)
    after = with_trainings(edited, **changes, reward_models__helpful__report_to="tensorboard")
    assert changed(before, after) == set()
    told = [
        stage
        for stage, wildcards in jobs(before)
        if settings_text(before, stage, wildcards) != settings_text(after, stage, wildcards)
    ]
    assert told.count("train") == 5
    assert told.count("reward_model") == 1


def test_when_checkpoints_are_written_counts_where_the_best_one_is_taken(edited: Edited) -> None:
    changes = {f"policies__{name}__save_every": 7 for name in (*ROUTES, "sft", "value-d")}
    changes["reward_models__helpful__save_every"] = 7
    listwise = with_trainings(edited), with_trainings(edited, **changes)
    assert changed(*listwise) == {"train/sft/funny", "train/dpo/funny"}
    assert changed(with_trainings(edited, 5), with_trainings(edited, 5, **changes)) == {
        "train/sft/funny"
    }


def test_the_device_of_the_model_is_compared_where_the_model_is_sampled(edited: Edited) -> None:
    before, after = edited(), edited(model__device="cpu")
    changed = {
        stage
        for stage, wildcards in jobs(before)
        if compared_text(before, stage, wildcards) != compared_text(after, stage, wildcards)
    }
    assert "generate" in changed
    assert "annotate" not in changed


LIMITS = [
    # told before, now, prompts in the table, and whether the table is the same
    (None, 70, 60, True),
    (None, 60, 60, True),
    (None, 59, 60, False),
    (70, 80, 60, True),
    (70, None, 60, True),
    (60, 70, 60, False),
    (60, None, 60, False),
    (70, 50, 60, False),
]


@pytest.mark.parametrize(("before", "now", "prompts", "same"), LIMITS)
def test_a_limit_that_cuts_nothing_off_is_not_compared(
    edited: Edited, before: int | None, now: int | None, prompts: int, same: bool
) -> None:
    old, new = edited(prompts__limit=before), edited(prompts__limit=now)
    path = "results/small/prompts.parquet"
    was = settings_text(old, "prompts", {})
    record(path, was, was)
    pd.DataFrame({"prompt": ["p"] * prompts}).to_parquet(path)
    assert (compared_text(new, "prompts", {}) == was) == same
    assert compared_text(old, "prompts", {}) == was
    # Another setting counts as ever.
    other = edited(prompts__limit=now, prompts__test_share=0.3)
    assert compared_text(other, "prompts", {}) != was


def pool_in(study: Study, n: int) -> None:
    """Note that the pool was sampled in n items."""
    for i in range(n):
        job = {"family": POOL.family, "variant": POOL.variant, "i": str(i), "n": str(n)}
        path = stages.paths(study).shard(POOL, "samples", i, n)
        text = settings_text(study, "generate", job)
        record(path, text, text, code_text(study, "generate", job))


def test_a_finished_pool_keeps_its_shards(edited: Edited) -> None:
    two, three = edited(), edited(sampling__shards=3)
    assert (shards(two, POOL), shards(three, POOL)) == (2, 3)
    pool_in(two, 2)
    assert shards(three, POOL) == 2
    # What would be sampled again is sampled in as many items as are asked for.
    assert shards(edited(sampling__shards=3, seed=4), POOL) == 3
    record_path(stages.paths(two).shard(POOL, "samples", 0, 2)).unlink()
    assert shards(three, POOL) == 2, "results that were copied without records are complete"
    Path(stages.paths(two).shard(POOL, "samples", 1, 2)).unlink()
    assert shards(three, POOL) == 3
    pool_in(two, 2)
    pool_in(three, 3)
    assert (shards(two, POOL), shards(three, POOL)) == (2, 3)


def test_a_pool_of_other_code_is_sampled_in_the_shards_asked_for(edited: Edited) -> None:
    two = edited()
    pool_in(two, 2)
    path = stages.paths(two).shard(POOL, "samples", 1, 2)
    found = read_record(path)
    assert found is not None
    record(path, found.settings, found.settings, "polyalign/sampling/generate.py=0")
    assert shards(edited(sampling__shards=3), POOL) == 3
