"""`polyalign why`: names of targets, what a dry run prints, and changes in words."""

import pytest

from polyalign.cli import why
from polyalign.errors import InputError
from polyalign.study import load

PRINTED = """Building DAG of jobs...
Job stats:
job             count
------------  -------
train_rloo          1

[Thu Nov 26 21:21:57 2026]
rule prompts:
    input: a.jsonl, b.jsonl
    output: results/small/prompts.parquet
    jobid: 5
    reason: Updated input files: b.jsonl
    resources: tmpdir=/tmp
[Thu Nov 26 21:21:57 2026]
localrule train_rloo:
    input: results/small/prompts.parquet
    output: results/small/models/rloo/p, results/small/models/rloo/p.json
    jobid: 4
    reason: Input files updated by another job: results/small/prompts.parquet
    wildcards: variant=p, n=2
    priority: 2
[Thu Nov 26 21:21:57 2026]
localrule all:
    input: results/small/report.html
    reason: Input files updated by another job: results/small/report.html
"""


def test_the_jobs_of_a_dry_run() -> None:
    prompts, train = why.parse_jobs(PRINTED)
    assert prompts == why.Job(
        "prompts",
        {},
        ["a.jsonl", "b.jsonl"],
        ["results/small/prompts.parquet"],
        "Updated input files: b.jsonl",
    )
    assert train.wildcards == {"variant": "p", "n": "2"}
    assert train.outputs == ["results/small/models/rloo/p", "results/small/models/rloo/p.json"]
    assert why.parse_jobs("Nothing to be done.") == []


SETTINGS = [
    ({"a": 1}, {"a": 1}, []),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}, ["setting a.b: 1 → 3"]),
    ({"a": 1}, {"b": None}, ["setting a: 1 → (not there)", "setting b: (not there) → null"]),
    ({"a": [1, {"x": 2}]}, {"a": [1, {"x": 3}]}, ["setting a[1].x: 2 → 3"]),
    ({"a": [1]}, {"a": [1, 2]}, ["setting a: [1] → [1, 2]"]),
    ({"a": 1}, {"a": True}, ["setting a: 1 → true"]),
    ({"a": "λ"}, {"a": "μ"}, ['setting a: "λ" → "μ"']),
    ("x", "y", ['setting: "x" → "y"']),
]


@pytest.mark.parametrize(("before", "now", "lines"), SETTINGS)
def test_settings_that_differ(before: object, now: object, lines: list[str]) -> None:
    assert why.setting_changes(before, now) == lines


def test_a_long_setting_is_cut() -> None:
    (line,) = why.setting_changes({"a": "x" * 500}, {"a": "y"})
    assert len(line) < 120
    assert line.endswith('…  → "y"'.replace("  ", " "))


def test_code_that_differs() -> None:
    before = "polyalign/map/__init__.py=1 polyalign/map/dual.py=2 scripts/solve.py=3"
    now = "mine.py=7 polyalign/map/__init__.py=1 polyalign/map/dual.py=5"
    assert why.code_changes(before, now) == [
        "code edited: polyalign.map.dual",
        "code now used: mine.py",
        "code no longer used: scripts/solve.py",
    ]
    assert why.code_changes(before, before) == []


def test_short_names(text: str, write) -> None:
    study = load(write(text))
    (palette, *_), (figure, *_) = study.palettes, study.plots
    (trained, *_) = study.of_kind("train")
    (decoded, *_) = study.of_kind("select")
    results = f"results/{study.study}"
    names = {
        trained.name: f"{results}/models/{trained.name}.json",
        f"{decoded.name}/": f"{results}/policies/{decoded.name}/rewards.parquet",
        palette: f"{results}/palettes/{palette}.json",
        figure: f"{results}/plots/{figure}.pdf",
        "summary": f"{results}/tables/summary.csv",
        "all": "all",
        f"{results}/any/file": f"{results}/any/file",
    }
    assert {name: why.path_of(study, name) for name in names} == names
    with pytest.raises(InputError, match=f"nothing of that name; did you mean {figure}\\?"):
        why.path_of(study, f"{figure}x")


def test_bad_input_is_said_and_fails(text: str, write, capsys) -> None:
    path = write(text)
    assert why.main(["nosuch", "--config", path]) == 2
    assert "makes nothing of that name" in capsys.readouterr().err
    assert why.main(["all", "absent.yaml"]) == 2
    assert why.main([path, "plots", "models"]) == 2
