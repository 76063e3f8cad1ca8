"""`polyalign check`: faults, or the plan."""

import json
import math
from pathlib import Path

import pytest

from polyalign.cli import check
from polyalign.errors import InputError
from polyalign.plan.forecast import Step
from polyalign.plan.resources import Need, largest_need
from polyalign.runtime import job_record
from polyalign.study import load

PRINTED = """Building DAG of jobs...
Job stats:
job          count
---------  -------
all              1
annotate        12
solve            4
total           17

"""


def test_a_faulty_config_prints_the_faults_and_fails(text: str, write, capsys) -> None:
    path = write(text.replace("seed: 3", "sed: 3"))
    assert check.main(["--config", path]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("study.yaml:2: sed: no key 'sed'")
    assert printed.out == ""


def test_a_good_config_prints_the_plan(
    text: str, write, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "jobs_to_run", lambda config: check.parse_jobs(PRINTED))
    assert check.main(["--config", write(text)]) == 0
    printed = capsys.readouterr().out
    assert "study.yaml: no fault. Study small: values humor, diversity, fluency" in printed
    assert "2 map-d, 2 dpo, 1 soup, 1 rloo" in printed
    (row,) = [line.split() for line in printed.splitlines() if line.startswith("annotate")]
    # Nothing was measured: jobs, estimated minutes, GPU, its memory, that of the host.
    assert (row[1], row[3], len(row)) == ("12", "1", 6)
    assert "total       17" in printed
    assert "GPU hours: about" in printed
    assert "Disk: about" in printed


def test_a_plan_that_snakemake_cannot_make(
    text: str, write, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check.main(["--config", write(text)]) == 1
    assert "Snakemake cannot plan this study" in capsys.readouterr().err


def test_snakemake_plans_a_real_workflow(tmp_path: Path, text: str, write) -> None:
    (tmp_path / "Snakefile").write_text(
        "rule all:\n    input: expand('made/{i}.txt', i=range(3))\n"
        "rule make:\n    output: 'made/{i}.txt'\n    shell: 'touch {output}'\n",
        encoding="utf-8",
    )
    path = write(text)
    assert check.jobs_to_run(path) == {"all": 1, "make": 3}
    (tmp_path / "made").mkdir()
    for i in range(3):
        (tmp_path / "made" / f"{i}.txt").write_text("", encoding="utf-8")
    assert check.jobs_to_run(path) == {}
    (tmp_path / "Snakefile").write_text("rule all:\n    input: 'nothing'\n", encoding="utf-8")
    with pytest.raises(InputError, match="MissingInput"):
        check.jobs_to_run(path)


def test_times_are_measured_where_a_run_left_them(tmp_path: Path, text: str, write) -> None:
    folder = tmp_path / "results" / "small" / "benchmarks"
    for name in ("annotate", "train"):
        (folder / name).mkdir(parents=True)
    jobs = {"annotate/humor": 30.0, "annotate/fluency": 90.0, "solve": 6.0, "train/rloo-funny": 7.0}
    for name, seconds in jobs.items():
        (folder / f"{name}.tsv").write_text(f"s\th:m:s\tmax_rss\n{seconds}\t-\t{10 * seconds}\n")
    counts = {"annotate": 2, "solve": 1, "generate": 1, "train_rloo": 1}
    steps = {step.rule: step for step in check.plan(load(write(text)), counts)}
    assert [steps[rule].seconds for rule in ("annotate", "solve", "train_rloo")] == [60.0, 6.0, 7.0]
    assert steps["annotate"].used_mb == 900.0
    assert [rule for rule in counts if not steps[rule].measured] == ["generate"]
    need = largest_need(load("study.yaml"), "generate")
    assert need is not None
    assert steps["generate"].seconds == need.seconds


def test_what_was_measured_stands_beside_what_is_estimated(text: str, write) -> None:
    measured = Step("generate", 6, 60.0, 120.0, Need(1, 3000, 4000, 60.0), 2500.0, 1200.0)
    steps = [
        measured,
        Step("annotate", 2, 30.0, need=Need(1, 500, 4000, 30.0)),
        Step("merge", 3, 10.0),
    ]
    head, *rows = check.plan_text(load(write(text)), steps).splitlines()
    columns = [
        "rule",
        "jobs",
        "minutes",
        "measured",
        "GPU",
        "VRAM",
        "GB",
        "used",
        "RAM",
        "GB",
        "used",
    ]
    assert head.split() == columns
    assert rows[0].split() == ["generate", "6", "6.0", "12.0", "1", "3.0", "1.2", "4.0", "2.5"]
    assert rows[1].split() == ["annotate", "2", "1.0", "1", "0.5", "4.0"]
    assert rows[2].split() == ["merge", "3", "0.5"]
    # Aligned, and the sum takes what was measured.
    assert rows[0].index("12.0") + len("12.0") == head.index("measured") + len("measured")
    assert rows[0].index("1.2 ") + len("1.2") == head.index("used") + len("used")
    assert rows[3].split()[:3] == ["total", "11", "13.5"]


def test_gpu_memory_is_what_the_markers_of_a_rule_say_at_most(tmp_path: Path, text, write) -> None:
    for name, vram in (("a_0-of-1", 700), ("b_0-of-1", 900), ("token-d-x_0-of-1", None)):
        record = job_record.started("generate", 1, "key", [], None) | {"vram_mb": vram}
        path = tmp_path / f"results/small/logs/generate/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    steps = check.plan(load(write(text)), {"generate": 1, "annotate": 1})
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
    assert check.measured(tmp_path) == {rule: (3.0, 0.0)}


def test_gpu_hours_are_those_of_jobs_that_hold_a_gpu(text: str, write) -> None:
    with_gpu = Step("generate", 6, 60.0, 1200.0, Need(1, 1000, 4000, 60.0))
    without = Step("train_soup", 6, 60.0, 1200.0, Need(0, 0, 4000, 60.0))
    printed = check.plan_text(load(write(text)), [with_gpu, without, Step("merge", 9, 10.0, 1e6)])
    assert "GPU hours: about 2.0." in printed


def test_nothing_to_be_done(text: str, write) -> None:
    assert check.plan_text(load(write(text)), []).startswith("Nothing to be done.")


def test_disk_grows_with_the_policies_that_are_models(text: str, write) -> None:
    big = text.replace("results/small/models/base/base", "x/llama-7b")
    six = check.disk_bytes(load(write(big)))
    five = check.disk_bytes(load(write(big.replace("beta: [0.1, 0.5]", "beta: [0.1, 0.5, 1.0]"))))
    assert math.isclose(five - six, 7e9 * 4, rel_tol=0.01)


def test_palettes_that_selection_cannot_reach_are_named(text: str, write) -> None:
    assert check.out_of_reach(load(write(text))) == []
    funny = "funny: {humor: q70, diversity: mean}"
    wild = f"{funny}\n  far: {{humor: q99}}\n  greedy: {{humor: max}}"
    harder = text.replace(funny, wild).replace("candidates: 16", "candidates: 8")
    far, greedy = check.out_of_reach(load(write(harder)))
    assert "palette far asks for about 2.3 standard deviations" in far
    assert "the best of 8 candidates lies about 1.4" in far
    assert "needs about 6" in far
    assert "palette greedy" in greedy
    assert "lower levels" in greedy
    # Decoding chooses within prompts whatever the scope of the dual.
    joint = harder.replace("scope: auto", "scope: joint")
    assert check.out_of_reach(load(write(joint))) == [far, greedy]
