"""`polyalign check`: all errors, or the plan."""

import pytest

from polyalign.cli import check
from polyalign.plan.forecast import Step, parse_jobs
from polyalign.plan.resources import Need
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
    assert check.main(["--config", write(text)]) == 0
    printed = capsys.readouterr().out
    assert "study.yaml: no errors. Study small: values humor, diversity, fluency" in printed
    assert "2 map-d, 2 dpo, 1 soup, 1 rloo" in printed
    (row,) = [line.split() for line in printed.splitlines() if line.startswith("annotate")]
    # Nothing was measured: jobs, estimated minutes, GPU, GPU memory, memory of the host.
    assert (row[1], row[3], len(row)) == ("12", "1", 6)
    assert "total       17" in printed
    assert "GPU hours: about" in printed
    assert "Disk: about" in printed


def test_a_plan_that_snakemake_cannot_make(
    text: str, write, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check.main(["--config", write(text)]) == 1
    assert "Snakemake cannot plan this study" in capsys.readouterr().err


def test_measured_values_are_beside_the_estimates(text: str, write) -> None:
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
    # Aligned, and the total uses measured times.
    assert rows[0].index("12.0") + len("12.0") == head.index("measured") + len("measured")
    assert rows[0].index("1.2 ") + len("1.2") == head.index("used") + len("used")
    assert rows[3].split()[:3] == ["total", "11", "13.5"]


def test_gpu_hours_are_those_of_jobs_that_hold_a_gpu(text: str, write) -> None:
    with_gpu = Step("generate", 6, 60.0, 1200.0, Need(1, 1000, 4000, 60.0))
    without = Step("train_soup", 6, 60.0, 1200.0, Need(0, 0, 4000, 60.0))
    printed = check.plan_text(load(write(text)), [with_gpu, without, Step("merge", 9, 10.0, 1e6)])
    assert "GPU hours: about 2.0." in printed


def test_nothing_to_be_done(text: str, write) -> None:
    assert check.plan_text(load(write(text)), []).startswith("Nothing to be done.")
