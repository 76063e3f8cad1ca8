"""The forecast of a study: what is still to run, and what it needs."""

import json
import math
from pathlib import Path

import pytest

from polyalign.errors import InputError
from polyalign.plan import forecast, resources, stages
from polyalign.runtime import job_record
from polyalign.study import Study, load


def test_snakemake_plans_a_real_workflow(tmp_path: Path, text: str, write) -> None:
    (tmp_path / "Snakefile").write_text(
        "rule all:\n    input: expand('made/{i}.txt', i=range(3))\n"
        "rule make:\n    output: 'made/{i}.txt'\n    shell: 'touch {output}'\n",
        encoding="utf-8",
    )
    path = write(text)
    assert forecast.jobs_to_run(path) == {"all": 1, "make": 3}
    (tmp_path / "made").mkdir()
    for i in range(3):
        (tmp_path / "made" / f"{i}.txt").write_text("", encoding="utf-8")
    assert forecast.jobs_to_run(path) == {}
    (tmp_path / "Snakefile").write_text("rule all:\n    input: 'nothing'\n", encoding="utf-8")
    with pytest.raises(InputError, match="MissingInput"):
        forecast.jobs_to_run(path)


def test_times_are_measured_if_an_earlier_run_has_benchmarks(
    tmp_path: Path, text: str, write
) -> None:
    folder = tmp_path / "results" / "small" / "benchmarks"
    for name in ("annotate", "train"):
        (folder / name).mkdir(parents=True)
    jobs = {"annotate/humor": 30.0, "annotate/fluency": 90.0, "solve": 6.0, "train/rloo-funny": 7.0}
    for name, seconds in jobs.items():
        (folder / f"{name}.tsv").write_text(f"s\th:m:s\tmax_rss\n{seconds}\t-\t{10 * seconds}\n")
    counts = {"annotate": 2, "solve": 1, "generate": 1, "train_rloo": 1}
    steps = {step.rule: step for step in forecast.plan(load(write(text)), counts)}
    assert [steps[rule].seconds for rule in ("annotate", "solve", "train_rloo")] == [60.0, 6.0, 7.0]
    assert steps["annotate"].used_mb == 900.0
    assert [rule for rule in counts if not steps[rule].measured] == ["generate"]
    need = forecast.needs_of(load("study.yaml"), "generate")
    assert need is not None
    assert steps["generate"].seconds == need.seconds


def test_gpu_memory_is_the_peak_over_the_job_records_of_a_rule(tmp_path: Path, text, write) -> None:
    for name, vram in (("a_0-of-1", 700), ("b_0-of-1", 900), ("token-d-x_0-of-1", None)):
        record = job_record.started("generate", 1, "key", [], None) | {"vram_mb": vram}
        path = tmp_path / f"results/small/logs/generate/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    steps = forecast.plan(load(write(text)), {"generate": 1, "annotate": 1})
    assert [step.used_vram_mb for step in steps] == [900.0, None]


@pytest.mark.parametrize(
    ("benchmark", "rule"),
    [
        ("base_model", "base_model"),
        ("generate/dpo-beta-0.1_0-of-1", "generate"),
        ("generate/token-d-hhh_0-of-1", "generate_token_d"),
        ("decode/map-d-hhh", "decode_map_d"),
        ("train/dpo-beta-0.1", "train_dpo"),
    ],
)
def test_a_benchmark_counts_for_the_rule_that_wrote_it(
    tmp_path: Path, benchmark: str, rule: str
) -> None:
    path = tmp_path / f"{benchmark}.tsv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("s\th:m:s\tmax_rss\n3.0\t-\tNA\n")
    assert forecast.measured(tmp_path) == {rule: (3.0, 0.0)}


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
    assert "palette greedy" in greedy
    assert "lower levels" in greedy
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


def test_the_table_of_a_dry_run_is_parsed() -> None:
    printed = (
        "x\nJob stats:\njob    count\n-----  -----\nall        1\nsolve     12\ntotal     13\n\n"
    )
    assert forecast.parse_jobs(printed) == {"all": 1, "solve": 12}
    assert forecast.parse_jobs("Nothing to be done.") == {}


def test_the_jobs_of_a_rule_are_those_of_the_study(study: Study) -> None:
    assert forecast.jobs_of(study, "train_dpo") == (
        "train",
        [
            {"family": "dpo", "variant": "beta-0.1_mostly"},
            {"family": "dpo", "variant": "beta-0.5_mostly"},
        ],
    )
    assert forecast.jobs_of(study, "decode_map_d")[0] == "decode"
    assert forecast.jobs_of(study, "base_model") == ("base_model", [{}])
    assert forecast.jobs_of(study, "reward_model")[1] == [
        {"variant": "humor"},
        {"variant": "helpful"},
    ]
    _, generated = forecast.jobs_of(study, "generate")
    sampled = ["base/pool", "base/base", *(policy.name for policy in study.of_kind("train"))]
    assert [f"{job['family']}/{job['variant']}" for job in generated] == sampled
    _, scored = forecast.jobs_of(study, "annotate")
    assert len(scored) == len(generated) * len(study.values)
    for rule in ("merge", "all", "explore_random"):
        assert forecast.jobs_of(study, rule) == (rule, [])


def test_a_guided_policy_has_a_rule_of_its_family(text: str, write) -> None:  # type: ignore[no-untyped-def]
    guided = text.replace("  rloo:\n", "  token-d:\n    palettes: [plain]\n  rloo:\n")
    study = load(write(guided))
    job = {"family": "token-d", "variant": "plain"}
    assert forecast.jobs_of(study, "generate_token_d") == ("generate_guided", [job])
    assert job not in forecast.jobs_of(study, "generate")[1]
    assert {**job, "value": "humor"} in forecast.jobs_of(study, "annotate")[1]
    assert forecast.needs_of(study, "generate_token_d") is not None


def test_the_largest_need_covers_each_job(study: Study) -> None:
    largest = forecast.needs_of(study, "generate")
    assert largest is not None
    for variant in ("pool", "base"):
        wildcards = {"family": "base", "variant": variant}
        one = stages.STAGES["generate"].need(study, wildcards)
        assert one is not None
        assert one.vram_mb <= largest.vram_mb
        assert one.seconds <= largest.seconds
    for rule in ("merge", "decode_map_d", "all"):
        assert forecast.needs_of(study, rule) is None


def test_a_soup_holds_no_gpu_and_training_does(study: Study) -> None:
    soup, rloo = forecast.needs_of(study, "train_soup"), forecast.needs_of(study, "train_rloo")
    assert soup is not None
    assert rloo is not None
    assert (soup.gpu, rloo.gpu) == (0, 1)
    assert rloo.vram_mb > 16 * 7e3


def test_a_study_from_scores_takes_the_space_of_its_table_twice(study: Study) -> None:
    table = study.model_copy(update={"rewards": "scores.csv"})
    assert forecast.disk_bytes(table) == 2 * Path("scores.csv").stat().st_size
    assert forecast.out_of_reach(table) == []


def test_without_models_the_largest_need_is_none() -> None:
    small, large = resources.Need(0, 5, 10, 3.0), resources.Need(1, 2, 20, 1.0)
    assert resources.largest([small, None, large]) == resources.Need(1, 5, 20, 3.0)
    assert resources.largest([None]) is None
