"""`polyalign run` reads what Snakemake prints, and the records and logs of the jobs."""

import json
from pathlib import Path

import pytest

from polyalign.cli import run
from polyalign.cli.progress import Progress, progress
from polyalign.runtime import job_record

PLANNED = """\
Building DAG of jobs...
Job stats:
job               count
--------------  -------
solve                 2
palettes              1
total                 3

Select jobs to execute...
Execute 2 jobs...
"""

STARTED = """\
[Thu Jan  1 00:00:00 2026]
localrule solve:
    input: pool.parquet
    output: {folder}/{palette}.json
    log: {folder}/logs/solve/{palette}.log
    jobid: {number}
    reason: Missing output files
    resources: tmpdir=/tmp
"""

DONE = "Finished jobid: {number} (Rule: solve)\n1 of 3 steps (33%) done"

FAILED = """\
Error in rule solve:
    message: None
    jobid: {number}
    input: pool.parquet
    output: {folder}/{palette}.json
    log: {folder}/logs/solve/{palette}.log (check log file(s) for error details)
    shell:
        python solve.py
        (command exited with non-zero exit code)
Exiting because a job execution failed. Look above for error messages
Complete log(s): /here/.snakemake/log/now.log
"""


def read(state: run.Run, text: str, now: float = 0.0, **facts: object) -> list[str]:
    """Hand lines to a run; what it says at once."""
    lines = text.format(**facts).splitlines()
    return [said for line in lines for said in state.read(line, now)]


@pytest.fixture
def state(tmp_path: Path) -> run.Run:
    """A run with two jobs that started at 10 s."""
    made = run.Run()
    read(made, PLANNED)
    for number, palette in ((1, "a"), (2, "b")):
        read(made, STARTED, 10.0, folder=tmp_path, palette=palette, number=number)
    (tmp_path / "logs/solve").mkdir(parents=True)
    return made


def test_jobs_are_followed_from_plan_to_end(state: run.Run, tmp_path: Path) -> None:
    assert (state.total, state.done, state.left) == (3, 0, {"solve": 2, "palettes": 1})
    assert [(job.stage, job.name) for job in state.running.values()] == [
        ("solve", "a"),
        ("solve", "b"),
    ]
    read(state, DONE, 14.0, number=2)
    assert (state.done, state.left["solve"]) == (1, 1)
    assert list(state.running) == [1]
    assert state.seconds == {"solve": [4.0]}


def test_jobs_that_are_dropped_are_not_waited_for(state: run.Run) -> None:
    """A palette without a solution: what its policies would have needed is dropped."""
    read(state, "Finished jobid: 1 (Rule: solve)\n1 of 2 steps (50%) done")
    assert (state.total, state.done) == (2, 1)


def test_a_failed_job_is_told_at_once_and_once(state: run.Run, tmp_path: Path) -> None:
    log = tmp_path / "logs/solve/b.log"
    message = "killed by signal 11 (SIGSEGV)"
    job_record.write_record(job_record.record_path(log), job_record.killed(None, message))
    told = read(state, FAILED, folder=tmp_path, palette="b", number=2)
    assert told == ["failed: solve/b (killed)", f"  {message}", f"  log: {log}"]
    assert read(state, FAILED, folder=tmp_path, palette="b", number=2) == []
    assert list(state.running) == [1]
    assert state.log == "/here/.snakemake/log/now.log"


def test_a_failed_job_without_a_record_shows_the_end_of_its_log(
    state: run.Run, tmp_path: Path
) -> None:
    (tmp_path / "logs/solve/b.log").write_text("begins\nno such module\n\n")
    told = read(state, FAILED, folder=tmp_path, palette="b", number=2)
    assert told[:2] == ["failed: solve/b (error)", "  no such module"]


def test_time_left_is_corrected_by_what_is_done(state: run.Run) -> None:
    expected = {"solve": 10.0, "palettes": 30.0}
    assert run.seconds_left(state, expected, 1, 10.0) == 50.0
    assert run.seconds_left(state, expected, 2, 14.0) == (50.0 - 2 * 4.0) / 2
    read(state, DONE, 15.0, number=2)  # 5 s in place of 10 s
    # One short job says little about the long ones: 65 s in place of 70 s, not half of the time.
    assert run.seconds_left(state, expected, 1, 15.0) == pytest.approx(30.0 * 65 / 70)
    # After long ones their own times count.
    state.seconds["solve"] = [600.0] * 10
    expected["solve"] = 1200.0
    left = run.seconds_left(state, expected, 1, 15.0)
    assert left == pytest.approx(600.0 - 5.0 + 30.0 * 6060 / 12060)


def test_the_line_has_stage_jobs_time_and_the_progress_of_each_job(
    state: run.Run, tmp_path: Path
) -> None:
    log = tmp_path / "logs/solve/a.log"
    log.write_text("\r 3/12 [00:02<00:08, 1.20batch/s, 900 tokens/s]")
    record = job_record.started("solve", 1, "", [], None)
    job_record.write_record(job_record.record_path(log), record)
    assert run.progress_line(state, 300.0) == (
        "solve: 0 of 3 jobs done, about 5 min left | a 3/12 batches, 900 tokens/s, 00:08 left | b"
    )
    assert run.progress_line(run.Run(), 0.0) == "planning the jobs"


@pytest.mark.parametrize(
    ("log", "found", "words"),
    [
        (
            "5%| | 200/4000 [00:10<03:00, 20.10step/s]",
            Progress("200/4000", "", "step", "20.10 steps/s", "03:00"),
            "200/4000 steps, 20.10 steps/s, 03:00 left",
        ),
        (
            "5%| | 1/12 [00:10<03:00,  3.00s/batch]",
            Progress("1/12", "", "batch", "3.00 s/batch", "03:00"),
            "1/12 batches, 3.00 s/batch, 03:00 left",
        ),
        (
            "5%| | 0/64 [00:00<?, ?text/s]\r 5%| | 64/128 [00:01<00:01, 64.0text/s, 70 tokens/s]",
            Progress("64/128", "", "text", "70 tokens/s", "00:01"),
            "64/128 texts, 70 tokens/s, 00:01 left",
        ),
        ("0%| | 0/64 [00:00<?, ?text/s]", Progress("0/64", "", "text", ""), "0/64 texts"),
        (
            "Loading weights: 100%| | 272/272 [00:01<00:00, 250.10it/s]",
            Progress(),
            "",
        ),
        (
            "5%| | 3/40 [00:10<02:03, 1.20step/s]\r 16/16 [00:06<00:00, 3.00text/s]",
            Progress("3/40", "", "step", "1.20 steps/s", "02:03"),
            "3/40 steps, 1.20 steps/s, 02:03 left",
        ),
        (
            "9/9 [00:06<00:00, 3.0step/s]",
            Progress("9/9", "", "step", "3.0 steps/s"),
            "9/9 steps, 3.0 steps/s",
        ),
        ("no bar", Progress(), ""),
    ],
)
def test_progress_bars(tmp_path: Path, log: str, found: Progress, words: str) -> None:
    path = tmp_path / "a.log"
    path.write_text(log)
    assert progress(path, {}) == found
    assert str(found) == words


def test_progress_of_a_training(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,epoch,loss\n10,0.1,0.9\n20,0.2,0.25\n")
    assert str(progress(tmp_path / "no.log", {"work": str(tmp_path)})) == "step 20, loss 0.25"
    log = tmp_path / "a.log"
    log.write_text("Loading weights: 272/272 [00:01<00:00, 250.10it/s]\n 4/4 [00:01<0, 2.0text/s]")
    assert str(progress(log, {"work": str(tmp_path)})) == "step 20, loss 0.25"
    log.write_text("24/60 [00:30<00:45, 1.25s/step]\n 4/4 [00:01<00:00, 2.0text/s]")
    assert str(progress(log, {"work": str(tmp_path)})) == (
        "24/60 steps, 1.25 s/step, loss 0.25, 00:45 left"
    )


@pytest.mark.parametrize(
    ("seconds", "words"), [(7.6, "8 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min")]
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert run.duration(seconds) == words


def test_a_config_with_errors_starts_nothing(tmp_path: Path, capsys) -> None:
    config = tmp_path / "study.yaml"
    config.write_text(json.dumps({"study": "mine", "nonsense": 1}))
    assert run.main(["--config", str(config)]) == 2
    assert "nonsense" in capsys.readouterr().err
