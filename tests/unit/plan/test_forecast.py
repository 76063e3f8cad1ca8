"""The forecast of a study: what is still to run, and what it needs."""

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from polyalign.errors import InputError
from polyalign.plan import forecast, resources, stages, work
from polyalign.plan.calls import Given
from polyalign.plan.counts import counts
from polyalign.plan.forecast import Finished, Planned, plan
from polyalign.plan.machine import DATA_CENTRE, REFERENCE, Machine
from polyalign.plan.work import Work
from polyalign.runtime import job_record
from polyalign.study import Study, load


def test_snakemake_plans_a_real_workflow(tmp_path: Path, text: str, write) -> None:
    (tmp_path / "Snakefile").write_text(
        "rule all:\n    input: expand('made/{i}.txt', i=range(3))\n"
        "checkpoint make:\n    output: 'made/{i}.txt'\n    shell: 'touch {output}'\n",
        encoding="utf-8",
    )
    (tmp_path / "workflow/polyalign").mkdir(parents=True)
    given = Given(write(text))
    jobs = [forecast.Planned("make", {"i": str(i)}) for i in range(3)]
    assert sorted(forecast.jobs_to_run(given), key=lambda job: job.wildcards["i"]) == jobs
    (tmp_path / "made").mkdir()
    for i in range(3):
        (tmp_path / "made" / f"{i}.txt").write_text("", encoding="utf-8")
    assert forecast.jobs_to_run(given) == []
    (tmp_path / "Snakefile").write_text("rule all:\n    input: 'nothing'\n", encoding="utf-8")
    with pytest.raises(InputError, match="MissingInput"):
        forecast.jobs_to_run(given)


MACHINE = Machine(2, *REFERENCE, memory_mb=16_000)
WITH_GPU = replace(MACHINE, gpus=(DATA_CENTRE,))
SCORING = [
    Planned(
        "annotate",
        {"family": "base", "variant": variant, "value": value, "i": "0", "n": "1"},
    )
    for variant in ("pool", "base")
    for value in ("humor", "diversity")
]


def test_each_job_is_charged_its_own_time(study: Study) -> None:
    """The pool has 16 candidates of all prompts in two shards, the base 4 of two fifths."""
    single = [plan(study, [job], MACHINE).steps[0].seconds for job in SCORING]
    assert single[0] > 2 * single[2] > 0
    assert single[1] < 3
    together = plan(study, SCORING, MACHINE)
    (step,) = together.steps
    assert (step.rule, step.jobs, step.finished) == ("annotate", 4, 0)
    assert step.seconds == pytest.approx(sum(single))
    assert together.low < together.seconds < together.high
    half = plan(study, SCORING, replace(MACHINE, cores=1))
    assert half.seconds == pytest.approx(step.seconds + forecast.WORKFLOW)


def test_the_total_is_never_below_the_longest_chain(study: Study) -> None:
    jobs = [
        Planned("reward_model", {"variant": "humor"}),
        Planned("train_rloo", {"variant": "funny"}),
        Planned("report", {}),
    ]
    each = [plan(study, [job], MACHINE).steps[0].seconds for job in jobs]
    many = plan(study, jobs, replace(MACHINE, cores=64))
    assert many.seconds == pytest.approx(sum(each) + forecast.WORKFLOW)


def test_finished_jobs_of_similar_size_correct_the_estimate(study: Study) -> None:
    before = plan(study, SCORING[:1], MACHINE)
    expected = before.steps[0].seconds
    job = work.of_job(study, "annotate", SCORING[0].wildcards, counts(study))
    slow = Finished("annotate", 3 * expected, job)
    after = plan(study, SCORING[:1], MACHINE, [slow, slow])
    assert after.steps[0].seconds == pytest.approx(3 * expected)
    assert after.steps[0].finished == 2
    assert after.high / after.seconds < before.high / before.seconds
    # Of another rule, or far smaller: neither says anything about this job.
    for other in (replace(slow, rule="generate"), replace(slow, work=Work())):
        assert plan(study, SCORING[:1], MACHINE, [other]).steps == before.steps


def test_jobs_of_any_study_in_the_folder_are_learned_from(
    study: Study, tmp_path: Path, text: str
) -> None:
    config = yaml.safe_load(text.replace("results/small/", "results/other/"))
    for name in ("small", "other"):
        folder = tmp_path / "results" / name
        (folder / "logs/annotate").mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({**config, "study": name}))
        record = job_record.started("solve", 1, "key", [], None) | {"state": "done", "seconds": 2.0}
        scored = json.dumps(record | {"seconds": 30.0, "rss_mb": 300})
        for variant in ("pool", "base"):
            (folder / f"logs/annotate/base-{variant}_humor_0-of-2.json").write_text(scored)
        (folder / "logs/solve").mkdir(parents=True)
        (folder / "logs/solve/plain.json").write_text(json.dumps(record))
        running = record | {"state": "running"}
        (folder / "logs/solve/funny.json").write_text(json.dumps(running))
    found = forecast.finished_here(study, tmp_path / "results")
    assert sorted((job.rule, job.seconds) for job in found) == [
        *[("annotate", 30.0)] * 4,
        *[("solve", 2.0)] * 2,
    ]
    assert plan(study, SCORING[:1], MACHINE).steps[0].used_mb == 300.0
    # A study whose config is not valid any more is left out.
    (tmp_path / "results/other/config.json").write_text('{"study": "other"}')
    assert len(forecast.finished_here(study, tmp_path / "results")) == 3


def test_jobs_use_a_gpu_where_the_machine_has_one(study: Study) -> None:
    job = [Planned("train_rloo", {"variant": "funny"})]
    without, on_gpu = plan(study, job, MACHINE), plan(study, job, WITH_GPU)
    assert without.gpu_hours == 0
    assert on_gpu.gpu_hours == pytest.approx(on_gpu.steps[0].seconds / 3600)
    assert on_gpu.seconds < without.seconds / 5
    assert without.steps[0].need == on_gpu.steps[0].need
    assert study.model is not None
    on_cpu = study.model_copy(update={"model": study.model.model_copy(update={"device": "cpu"})})
    chosen = plan(on_cpu, job, WITH_GPU)
    assert (chosen.gpu_hours, chosen.seconds) == (0, without.seconds)
    assert chosen.steps[0].need is not None
    assert chosen.steps[0].need.gpu == 0


def test_what_does_not_suffice_is_said(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    monkeypatch.setattr(forecast, "disk_bytes", lambda study: 1e6)
    job = [Planned("train_rloo", {"variant": "funny"})]
    large = replace(MACHINE, memory_mb=1e6)
    assert forecast.warnings(study, plan(study, job, large)) == []
    (memory,) = forecast.warnings(study, plan(study, job, MACHINE))
    assert "this machine has 16 GB" in memory
    small_gpu = replace(large, gpus=(replace(DATA_CENTRE, name="Small", memory_mb=8000),))
    (gpu,) = forecast.warnings(study, plan(study, job, small_gpu))
    assert re.match(r"train_rloo takes about \d+ GB of GPU memory, but Small has 8 GB", gpu)
    assert study.model is not None
    cuda = study.model_copy(update={"model": study.model.model_copy(update={"device": "cuda"})})
    (none,) = forecast.warnings(cuda, plan(cuda, job, large))
    assert "no GPU" in none
    monkeypatch.setattr(forecast, "disk_bytes", lambda study: 1e15)
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    disk, busy = forecast.warnings(study, plan(study, job, large))
    assert "1000000.0 GB of disk" in disk
    assert "load 9.0 on 2 cores" in busy


def test_jobs_side_by_side_may_need_more_memory_than_there_is(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    monkeypatch.setattr(forecast, "disk_bytes", lambda study: 1e6)
    jobs = [Planned("reward_model", {"variant": name}) for name in ("humor", "helpful")]
    (step,) = plan(study, jobs, MACHINE).steps
    one = replace(MACHINE, memory_mb=1.5 * forecast._host_mb(step))
    (warning,) = forecast.warnings(study, plan(study, jobs, one))
    assert warning.startswith("2 jobs at once may take")
    assert warning.endswith("run with --cores 1")


def test_gpu_memory_is_the_peak_over_the_job_records_of_a_rule(tmp_path: Path, study) -> None:
    for name, vram in (("a_0-of-1", 700), ("b_0-of-1", 900), ("token-d-x_0-of-1", None)):
        record = job_record.started("generate", 1, "key", [], None) | {"vram_mb": vram}
        path = tmp_path / f"results/small/logs/generate/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    jobs = [Planned("generate", {"family": "base", "variant": "base"}), SCORING[0]]
    assert [step.used_vram_mb for step in plan(study, jobs, MACHINE).steps] == [900.0, None]


@pytest.mark.parametrize(
    ("job", "rule"),
    [
        ("base_model", "base_model"),
        ("generate/dpo-beta-0.1_0-of-1", "generate"),
        ("generate/token-d-hhh_0-of-1", "generate_token_d"),
        ("decode/map-d-hhh", "decode_map_d"),
        ("train/dpo-beta-0.1", "train_dpo"),
        ("explore/fronts", "explore_fronts"),
    ],
)
def test_a_record_counts_for_the_rule_that_wrote_it(tmp_path: Path, job: str, rule: str) -> None:
    path = tmp_path / f"{job}.json"
    path.parent.mkdir(exist_ok=True)
    record = job_record.ended(job_record.started("stage", 1, "key", [], None))
    path.write_text(json.dumps(record | {"rss_mb": 12, "vram_mb": None}))
    assert forecast.rule_of(path.relative_to(tmp_path)) == rule
    assert forecast.most_used(tmp_path, "rss_mb") == {rule: 12.0}
    assert forecast.most_used(tmp_path, "vram_mb") == {}


def test_disk_grows_with_the_policies_that_are_models(text: str, write) -> None:
    big = text.replace("results/small/models/base/base", "x/llama-7b")
    six = forecast.disk_bytes(load(write(big)))
    five = forecast.disk_bytes(
        load(write(big.replace("beta: [0.1, 0.5]", "beta: [0.1, 0.5, 1.0]")))
    )
    assert math.isclose(five - six, 7e9 * 4, rel_tol=0.01)


def test_palettes_that_selection_cannot_reach_are_named(text: str, write) -> None:
    assert forecast.out_of_reach(load(write(text))) == []
    funny = "funny: {humor: q70, diversity: mean}"
    wild = f"{funny}\n  far: {{humor: q99}}\n  greedy: {{humor: max}}"
    harder = text.replace(funny, wild).replace("candidates: 16", "candidates: 8")
    far, greedy = forecast.out_of_reach(load(write(harder)))
    assert "palette far asks for about 2.3 standard deviations" in far
    assert "the best of 8 candidates is about 1.4" in far
    assert "needs about 6" in far
    assert greedy.startswith("palette greedy asks for the highest reward there is (humor max):")
    assert "inf " not in greedy
    # Decoding selects within prompts, whatever the scope of the dual is.
    joint = harder.replace("scope: auto", "scope: joint")
    assert forecast.out_of_reach(load(write(joint))) == [far, greedy]


@pytest.fixture
def study(text: str, write) -> Study:  # type: ignore[no-untyped-def]
    return load(write(text.replace("results/small/models/base/base", "org/model-7b")))


def test_the_summary_counts_the_policies_of_each_family(study: Study) -> None:
    assert forecast.summary(study) == (
        "Study small: values humor, diversity, fluency; 2 palettes; "
        "policies: 2 map-d, 2 dpo, 1 soup, 1 rloo."
    )


def test_the_jobs_of_a_dry_run_are_parsed() -> None:
    printed = (
        "Building DAG of jobs...\n"
        "[Thu Nov 26 18:50:03 2026]\n"
        "rule merge:\n    wildcards: family=base, variant=base\n\n"
        "checkpoint solve:\n    input: a\n    wildcards: palette=hhh-60\n\n"
        "localcheckpoint solve:\n    input: a\n    wildcards: palette=hhh-65\n\n"
        "localrule plot:\n    output: b\n    wildcards: figure=radar\n"
        "rule generate:\n    wildcards: family=base, variant=pool, i=0, n=2\n"
        "localrule all:\n    input: c\n"
    )
    pool = {"family": "base", "variant": "pool", "i": "0", "n": "2"}
    assert forecast.parse_jobs(printed) == [
        Planned("merge", {"family": "base", "variant": "base"}),
        Planned("solve", {"palette": "hhh-60"}),
        Planned("solve", {"palette": "hhh-65"}),
        Planned("plot", {"figure": "radar"}),
        Planned("generate", pool),
    ]
    assert forecast.parse_jobs("Nothing to be done.") == []


@pytest.mark.parametrize(
    ("rule", "stage", "fixed"),
    [
        ("train_dpo", "train", {"family": "dpo"}),
        ("decode_map_d", "decode", {"family": "map-d"}),
        ("generate_token_d", "generate_guided", {"family": "token-d"}),
        ("explore_random", "explore", {"name": "random"}),
        ("generate", "generate", {}),
        ("report", "report", {}),
    ],
)
def test_a_rule_has_a_stage_and_the_wildcards_in_its_name(
    text: str, write, rule: str, stage: str, fixed: dict[str, str]
) -> None:
    guided = text.replace("  rloo:\n", "  token-d:\n    palettes: [plain]\n  rloo:\n")
    assert forecast.stage_of(load(write(guided)), rule) == (stage, fixed)


def test_the_need_of_a_step_covers_each_of_its_jobs(study: Study) -> None:
    jobs = [Planned("generate", {"family": "base", "variant": name}) for name in ("pool", "base")]
    largest = plan(study, jobs, MACHINE).steps[0].need
    assert largest is not None
    for job in jobs:
        one = stages.STAGES["generate"].need(study, job.wildcards)
        assert one is not None
        assert one.vram_mb <= largest.vram_mb
        assert one.seconds <= largest.seconds
    light = [Planned("merge", {"family": "base", "variant": "pool"}), Planned("overview", {})]
    assert [step.need for step in plan(study, light, MACHINE).steps] == [None, None]


def test_a_study_from_scores_takes_the_space_of_its_table_twice(study: Study) -> None:
    table = study.model_copy(update={"rewards": "scores.csv"})
    assert forecast.disk_bytes(table) == 2 * Path("scores.csv").stat().st_size
    assert forecast.out_of_reach(table) == []


def test_without_models_the_largest_need_is_none() -> None:
    small, large = resources.Need(0, 5, 10, 3.0), resources.Need(1, 2, 20, 1.0)
    assert resources.largest([small, None, large]) == resources.Need(1, 5, 20, 3.0)
    assert resources.largest([None]) is None
