"""`polyalign check`: all errors, or the plan."""

import re
from pathlib import Path

import pytest

from polyalign.cli import check, run
from polyalign.plan.forecast import Forecast, Step, parse_jobs
from polyalign.plan.machine import REFERENCE, Machine
from polyalign.plan.resources import Need
from polyalign.study import load

PRINTED = """Building DAG of jobs...
rule annotate:
    wildcards: family=base, variant=base, value=humor, i=0, n=1
rule annotate:
    wildcards: family=base, variant=pool, value=humor, i=0, n=2
rule solve:
    wildcards: palette=funny
localrule all:
    input: report.html
"""
MACHINE = Machine(2, *REFERENCE, memory_mb=16_000)


@pytest.fixture
def text(text: str) -> str:
    """The small study, with no more pairs drawn than its files have."""
    return text.replace("  dpo:\n", "  dpo:\n    pairs: 900\n")


def test_a_config_with_errors_prints_them_and_fails(text: str, write, capsys) -> None:
    path = write(text.replace("seed: 3", "sed: 3"))
    assert check.main(["--config", path]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("study.yaml:2: sed: no key 'sed'")
    assert printed.out == ""


def test_a_good_config_prints_the_plan(
    text: str, write, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "jobs_to_run", lambda config: parse_jobs(PRINTED))
    monkeypatch.setattr(check, "this_machine", lambda: MACHINE)
    hub = text.replace("helpful: {path: data/hh}", "helpful: {path: owner/pairs}")
    assert check.main(["--config", write(hub)]) == 0
    printed = capsys.readouterr().out
    assert "study.yaml: no errors. Study small: values humor, diversity, fluency" in printed
    assert "2 map-d, 2 dpo, 1 soup, 1 rloo" in printed
    (row,) = [line.split() for line in printed.splitlines() if line.startswith("annotate")]
    # Nothing was learned: jobs, minutes, GPU, GPU memory, memory of the host.
    assert (row[1], row[3], len(row)) == ("2", "1", 6)
    assert re.search(r"^total +3\b", printed, re.M)
    assert "Time: about" in printed
    assert "on 2 cores (" in printed
    assert "Assumed: " in printed
    assert "Disk: about" in printed


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("data/hh/train.jsonl", '{"question": "a", "good": "b", "bad": "c"}\n', "no usable pair"),
        ("data/hh/test.jsonl", '{"question": "a"}\n', "no prompt found"),
        ("data/humor.csv", "text,humorous\nha,1\n", "no column 'label'"),
    ],
)
def test_files_that_jobs_will_refuse_are_errors(
    text: str, write, capsys, path: str, content: str, says: str
) -> None:
    Path(path).write_text(content)
    for command in (check, run):
        assert command.main([write(text)]) == 2
        lines = capsys.readouterr().err.splitlines()
        named = path.removesuffix("/train.jsonl").removesuffix("/test.jsonl")
        assert any(named in line and says in line for line in lines), lines


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("text,humor\nhi,1\n", "no column 'prompt'"),
        ("prompt,humour\nhi,1\n", "no column 'humor'"),
        ("prompt,humor\nhi,\n", "value 'humor' is ''"),
    ],
)
def test_score_tables_that_lack_something_are_errors(
    write, text: str, capsys, rows: str, says: str
) -> None:
    Path("scores.csv").write_text(rows)
    study = "{study: s, rewards: scores.csv, values: {humor: {kind: column}}, plots: []}"
    assert check.main([write(study)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rewards: scores.csv: ")
    assert says in line


def test_a_word_that_is_no_config(capsys) -> None:
    assert check.main(["all"]) == 2
    assert "expected `polyalign check my.yaml`" in capsys.readouterr().err


def test_a_study_for_cuda_is_forecast_with_a_gpu(
    text: str, write, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "jobs_to_run", lambda config: parse_jobs(PRINTED))
    monkeypatch.setattr(check, "this_machine", lambda: MACHINE)
    cuda = text.replace("dtype: float32", "dtype: float32\n  device: cuda", 1)
    assert check.main(["--config", write(cuda)]) == 0
    printed = capsys.readouterr().out
    assert "on 2 cores and a data-centre GPU" in printed
    assert "GPU hours: about" in printed
    assert "warning: the study has `device: cuda`, but this machine has no GPU" in printed


def test_a_plan_that_snakemake_cannot_make(
    text: str, write, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("Snakefile").write_text("rule all:\n    input: 'nothing'\n")
    Path("workflow/polyalign").mkdir(parents=True)
    assert check.main(["--config", write(text)]) == 1
    assert "Snakemake cannot plan this study" in capsys.readouterr().err


def forecast(*steps: Step, seconds: float = 660.0) -> Forecast:
    return Forecast([*steps], MACHINE, seconds, seconds / 1.5, seconds * 1.5, ["x is assumed"])


def test_used_memory_is_beside_what_is_asked_for(text: str, write) -> None:
    need = Need(1, 3000, 4000, 60.0)
    steps = [
        Step("generate", 6, 360.0, 4, need, 2500.0, 1200.0),
        Step("annotate", 2, 60.0, need=Need(1, 500, 4000, 30.0)),
        Step("merge", 3, 30.0),
    ]
    head, *rows = check.plan_text(load(write(text)), forecast(*steps)).splitlines()
    columns = "rule jobs minutes learned GPU VRAM GB used RAM GB used"
    assert head.split() == columns.split()
    assert rows[0].split() == ["generate", "6", "6.0", "4", "1", "3.0", "1.2", "4.0", "2.5"]
    assert rows[1].split() == ["annotate", "2", "1.0", "1", "0.5", "4.0"]
    assert rows[2].split() == ["merge", "3", "0.5"]
    # Aligned.
    assert rows[0].index("   4 ") + 4 == head.index("learned") + len("learned")
    assert rows[0].index("1.2 ") + len("1.2") == head.index("used") + len("used")
    assert rows[3].split()[:3] == ["total", "11", "7.5"]
    assert rows[4] == "Time: about 11 minutes on 2 cores (7 to 16 minutes)."
    assert rows[5] == "Assumed: x is assumed."


def test_the_time_with_a_gpu_is_said_where_that_is_faster(text: str, write) -> None:
    held = Step("generate", 6, 360.0, need=Need(1, 3000, 4000, 60.0), gpu_seconds=360.0)
    here, study = forecast(held), load(write(text))
    faster = check.plan_text(study, here, forecast(held, seconds=120.0))
    assert "With a data-centre GPU: about 2 minutes, 0.1 GPU hours." in faster
    assert "With a data-centre GPU" not in check.plan_text(study, here, here)


def test_gpu_hours_are_those_of_jobs_that_hold_a_gpu(text: str, write) -> None:
    held = Step("generate", 6, 7200.0, need=Need(1, 1000, 4000, 60.0), gpu_seconds=7200.0)
    light = Step("merge", 9, 1e6)
    printed = check.plan_text(load(write(text)), forecast(held, light))
    assert "GPU hours: about 2.0." in printed
    without = check.plan_text(load(write(text)), forecast(light))
    assert "GPU" not in without.splitlines()[2:][0]
    assert "GPU hours" not in without


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.2, "1 second"),
        (40, "40 seconds"),
        (718, "12 minutes"),
        (3 * 3600, "3 hours"),
        (1e6, "12 days"),
    ],
)
def test_a_time_has_the_unit_of_its_size(seconds: float, written: str) -> None:
    assert check.duration(seconds) == written


def test_a_range_names_its_unit_once() -> None:
    assert check.spread(480, 1020) == "8 to 17 minutes"
    assert check.spread(40, 120) == "40 seconds to 2 minutes"


def test_nothing_to_be_done(text: str, write) -> None:
    printed = check.plan_text(load(write(text)), forecast(seconds=0.0))
    assert printed.startswith("Nothing to be done.")
