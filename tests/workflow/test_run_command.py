"""`polyalign run` starts Snakemake, shows how far it is, and says what came out."""

import html
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import copy_checkout

from polyalign.runtime.job_record import read_record, runs_here

CONFIG = "configs/scores-only.yaml"
RESULTS = Path("results/scores-only")
LAMBDA = str(RESULTS / "palettes/lam/hhh-60.json")
RECORD = RESULTS / "logs/solve/hhh-60.json"


def start(folder: Path, *targets: str) -> "subprocess.Popen[str]":
    """`polyalign run` in a checkout."""
    call = "import sys; from polyalign.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", call, "run", "--config", CONFIG, *targets],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder / "workflow")},
    )


def run(folder: Path, *targets: str) -> tuple[int, list[str]]:
    """Run to the end: exit status, and the lines of the output."""
    process = start(folder, *targets)
    printed, _ = process.communicate()
    return process.returncode, printed.splitlines()


def solve_by(folder: Path, main: str) -> str:
    """Replace what the script `solve` does; returns the script as it was."""
    script = folder / "workflow/scripts/solve.py"
    kept = script.read_text()
    changed = kept.replace("run(main)", f"run(lambda job, **settings: {main})")
    script.write_text(f"import os\nimport time\n{changed}")
    return kept


def test_a_whole_study_ends_with_its_outcome(checkout: Path) -> None:
    status, printed = run(checkout)
    assert status == 0, printed
    assert any(line.startswith("Study scores-only: 39 jobs, ") for line in printed), printed
    complete, levels, outcome, report, _, took = printed[-6:]
    assert complete == (
        "Study scores-only is complete: 4 palettes, 5 policies, 5 figures, 8 tables."
    )
    page = (checkout / RESULTS / "overview.html").read_text()
    assert outcome.startswith("Better than the base model in all of Humor, Helpful, Harmless")
    assert html.escape(outcome, quote=False) in page
    assert levels.startswith("Raised levels: ")
    assert levels in (checkout / RESULTS / "plots/delivery.txt").read_text()
    assert report == f"Report: {RESULTS}/report.html"
    assert took.endswith(" for 39 jobs.")
    status, printed = run(checkout)
    assert status == 0
    assert printed[-6:-2] == [complete, levels, outcome, report]
    assert printed[-1].startswith("Nothing had to be done")


def test_a_failed_job_is_named_with_reason_and_log(checkout: Path) -> None:
    kept = solve_by(checkout, "os.kill(os.getpid(), 11)")
    status, printed = run(checkout, LAMBDA)
    assert status == 1
    told = [
        "failed: solve/hhh-60 (killed)",
        "  killed by signal 11 (SIGSEGV)",
        f"  log: {RECORD.with_suffix('.log')}",
    ]
    assert "\n".join(printed).count("\n".join(told)) == 2  # at once, and at the end
    assert "Not complete: 1 jobs failed, 1 of 2 are done." in printed
    (checkout / "workflow/scripts/solve.py").write_text(kept)
    status, printed = run(checkout, "hhh-60")
    assert (status, printed[-2]) == (0, f"Done: {RESULTS}/palettes/hhh-60.json.")
    assert (checkout / LAMBDA).is_file()


def test_an_unknown_target_is_one_sentence(checkout: Path) -> None:
    status, printed = run(checkout, "winrate")
    assert status == 1
    *_, fault, stopped = printed
    assert fault.startswith("no target 'winrate': the study that was read is 'scores-only'")
    assert fault.endswith("write 'winrates'")
    assert stopped.startswith("Snakemake stopped after ")


def test_a_study_elsewhere_and_a_checkout_below_a_path_with_a_space(tmp_path: Path) -> None:
    """The config stands in another folder, and the checkout is found through the library."""
    checkout = copy_checkout(tmp_path / "my folder/checkout")
    study = tmp_path / "my study"
    shutil.copytree(checkout / "configs", study / "configs")
    call = [sys.executable, "-m", "polyalign", "run", CONFIG, LAMBDA]
    done = subprocess.run(
        call,
        cwd=study,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(checkout / "workflow")},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (study / LAMBDA).is_file()


def test_an_interrupt_ends_snakemake_and_its_jobs(checkout: Path) -> None:
    solve_by(checkout, "time.sleep(600)")
    process = start(checkout, LAMBDA)
    try:
        end = time.monotonic() + 600
        while (record := read_record(checkout / RECORD)) is None:
            assert time.monotonic() < end
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode != 0
    assert not runs_here(record)
    found = read_record(checkout / RECORD)
    assert found is not None
    assert (found["state"], found["reason"]) == ("failed", "stopped")
