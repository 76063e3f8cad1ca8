"""`polyalign run`: run a study with one line of progress, and say at the end what came out.

It goes on past jobs that fail, and makes the report of the rest.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any

from polyalign.cli.arguments import add_study, load_study, read_words
from polyalign.cli.extras import require
from polyalign.cli.progress import progress
from polyalign.cli.why import short_names
from polyalign.errors import InputError
from polyalign.paths import JobFile, Paths, parse_job
from polyalign.plan import calls, left_out, shown, work
from polyalign.plan.counts import counts
from polyalign.plan.data_check import check_data
from polyalign.plan.forecast import TARGETS
from polyalign.plan.jobs import jobs as planned_jobs
from polyalign.plan.jobs import rule_of_job
from polyalign.plan.machine import this_machine
from polyalign.runtime.job_record import read_record, record_path
from polyalign.study import Study

LOOK = 0.5
"""Seconds between two looks at the jobs."""

PLAIN = 15.0
"""Seconds between two lines of progress where the output is not a terminal."""

TAIL = 40
"""Lines of Snakemake's output that are shown if it fails and no job failed."""

CLEAR = "\r\x1b[K"
"""Goes to the start of a terminal's line and clears it."""


@dataclass(frozen=True)
class Started:
    """A job that Snakemake started: its rule, its log (if it has one), and when (s)."""

    rule: str
    log: Path | None
    at: float

    @property
    def stage(self) -> str:
        """Its stage, or its rule if it has no log."""
        return self._file.stage if self.log else self.rule

    @property
    def name(self) -> str:
        """Its name within the stage, or the stage if it is the only job."""
        return (self._file.name if self.log else "") or self.stage

    @property
    def _file(self) -> JobFile:
        return self.file()

    def file(self, values: Iterable[str] = ()) -> JobFile:
        """What its log's path says of it; `values` as for `parse_job`."""
        assert self.log is not None
        parts = self.log.parts
        below = parts[parts.index("logs") + 1 :] if "logs" in parts else parts[-1:]
        return parse_job(Path(*below), values)


@dataclass
class Run:
    """What Snakemake's output says so far.

    Attributes:
        total: jobs to run; 0 until Snakemake has planned them.
        done: jobs that are done.
        left: rule → its jobs that are not done.
        running: number of a job → the job.
        failed: number of a job → why it failed: its name and reason, and lines on it.
        lost: the jobs that failed.
        seconds: rule → seconds of each finished job.
        log: Snakemake's own log.
    """

    total: int = 0
    done: int = 0
    left: dict[str, int] = field(default_factory=dict)
    running: dict[int, Started] = field(default_factory=dict)
    failed: dict[int, list[str]] = field(default_factory=dict)
    lost: list[Started] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    log: str = ""
    _counting: str = ""
    _block: dict[str, str] = field(default_factory=dict)

    def read(self, line: str, now: float) -> list[str]:
        """Take in one line.

        Returns:
            What to tell at once of a job that failed: its name and reason, message and log.
        """
        told = self._in_block(line, now)
        if head := re.match(r"(?:local)?(?:rule|checkpoint) (\w+):$", line):
            self._block = {"rule": head[1]}
        elif head := re.match(r"Error in rule (\w+)", line):
            self._block = {"rule": head[1], "error": "yes"}
        elif found := re.match(r"Finished jobid: (\d+) \(Rule: (\w+)\)", line):
            self.done += 1
            self.left[found[2]] = self.left.get(found[2], 1) - 1
            job = self.running.pop(int(found[1]), None)
            if job:
                self.seconds.setdefault(job.rule, []).append(now - job.at)
        elif line.startswith("Job stats:"):
            self._counting = line
        elif self._counting:
            self._counting += f"\n{line}"
            if line.startswith("total"):
                self.left = job_counts(self._counting)
                self.total, self._counting = sum(self.left.values()), ""
        elif steps := re.match(r"\d+ of (\d+) steps ", line):
            # Fewer than planned where a palette has no solution.
            self.total = int(steps[1])
        elif line.startswith("Complete log(s): "):
            self.log = line.partition(": ")[2]
        return told

    def _in_block(self, line: str, now: float) -> list[str]:
        """The facts of a job are indented lines below its first one."""
        if not self._block:
            return []
        fact = re.match(r"    (\w+): (\S+)", line)
        if fact:
            self._block[fact[1]] = fact[2]
            if fact[1] == "jobid" and "error" not in self._block:
                log = self._block.get("log")
                job = Started(self._block["rule"], Path(log) if log else None, now)
                self.running[int(fact[2])] = job
        elif not line.startswith("    "):
            block, self._block = self._block, {}
            number = int(block.get("jobid", -1))
            # Snakemake repeats all errors when it ends.
            if "error" in block and number not in self.failed:
                self.running.pop(number, None)
                log = block.get("log")
                self.lost.append(Started(block["rule"], Path(log) if log else None, now))
                self.failed[number] = failure(self.lost[-1])
                return self.failed[number]
        return []


def failure(job: Started) -> list[str]:
    """Why a job failed: its name and reason, its message and its log."""
    name = job.stage if job.name == job.stage else f"{job.stage}/{job.name}"
    if job.log is None:
        return [f"failed: {name}"]
    record = read_record(record_path(job.log))
    if record is not None and record["state"] == "failed":
        reason, message = record["reason"], record["message"].strip()
    else:
        reason, message = "error", _last_line(job.log)
    return [f"failed: {name} ({reason})", f"  {message}", f"  log: {job.log}"]


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return "it did not write a log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")


CONFIDENCE = 60.0
"""Seconds of finished work that weigh as much as the forecast."""


def seconds_left(run: Run, expected: Mapping[str, float], cores: int, now: float) -> float:
    """Estimated seconds until all jobs are done.

    Jobs of a rule take the mean time of those that are done, or else the expected time, corrected
    by how wrong it was for the rules that are done.

    Args:
        run: what is done.
        expected: rule → expected seconds per job.
        cores: jobs that run at once.
        now: the time (s).
    """
    known = {rule: times for rule, times in run.seconds.items() if rule in expected}
    foreseen = sum(expected[rule] * len(times) for rule, times in known.items())
    took = sum(sum(times) for times in known.values())
    # A few jobs of a second say little about the long ones.
    correction = (took + CONFIDENCE) / (foreseen + CONFIDENCE)

    def per_job(rule: str) -> float:
        if rule in run.seconds:
            return mean(run.seconds[rule])
        return correction * expected.get(rule, 0.0)

    left = sum(count * per_job(rule) for rule, count in run.left.items())
    begun = sum(min(now - job.at, per_job(job.rule)) for job in run.running.values())
    return max(0.0, left - begun) / cores


def duration(seconds: float) -> str:
    """A time in words: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def roughly(seconds: float) -> str:
    """An estimated time in words, in minutes."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than 1 min"
    return f"about {minutes} min" if minutes < 60 else f"about {minutes // 60} h {minutes % 60} min"


def progress_line(run: Run, left: float) -> str:
    """Stages that run, jobs done, time left, and how far each running job is.

    Args:
        run: what is done.
        left: estimated seconds until all jobs are done.
    """
    if not run.total:
        return "planning the jobs"
    jobs = sorted(run.running.values(), key=lambda job: job.at)
    stages = ", ".join(dict.fromkeys(job.stage for job in jobs)) or "between two stages"
    parts = [f"{stages}: {run.done} of {run.total} jobs done, {roughly(left)} left"]
    for job in jobs:
        parts.append(" ".join(filter(None, [job.name, _own_progress(job)])))
    return " | ".join(parts)


def _own_progress(job: Started) -> str:
    """How far a running job is; empty if it does not say so, or waits in a queue."""
    record = read_record(record_path(job.log)) if job.log else None
    if job.log is None or record is None or record["state"] != "running":
        return ""
    return str(progress(job.log, record))


class Screen:
    """Where the progress is shown: a line that is rewritten, or plain lines now and then."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self._shown, self._at = "", -PLAIN

    def progress(self, line: str, now: float) -> None:
        """Show how far the run is."""
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            cut = line if len(line) <= width else f"{line[: width - 1]}…"
            print(f"{CLEAR}{cut}", end="", flush=True)
        elif line != self._shown and now - self._at >= PLAIN:
            print(line, flush=True)
            self._shown, self._at = line, now

    def say(self, lines: Sequence[str]) -> None:
        """Print lines that stay."""
        if lines:
            print((CLEAR if self.terminal else "") + "\n".join(lines), flush=True)


def make_parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    parser = argparse.ArgumentParser(prog="polyalign run", description=__doc__)
    add_study(
        parser,
        "CONFIG | TARGET | KEY=VALUE",
        "the study's config; rules, files, or names of policies, palettes, figures or tables "
        "(default: all); changes to the config, as `seed=2`",
    )
    parser.add_argument("--cores", type=int, default=2, help="CPU cores (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a study; the exit status is Snakemake's, or 2 if the config has errors.

    If jobs fail, it is that of the run in which they did, also where a report of the rest is made.

    Raises:
        SystemExit: on an unknown argument.
    """
    options = make_parser().parse_args(argv)
    try:
        given, targets = read_words(options.words, options.config)
        study = load_study(given)
        made = {name: path for name, path in short_names(study).items() if name not in TARGETS}
        targets = [made.get(target.rstrip("/"), target) for target in targets or ["all"]]
        if faults := check_data(study).faults:
            raise InputError("\n".join(faults))
        require("run", "snakemake")
        command = calls.command(
            given,
            *("--cores", str(options.cores), "--keep-going", "--rerun-incomplete"),
            *("--", *targets),
        )
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    begun, screen = time.monotonic(), Screen()
    status, run, printed = _snakemake(study, command, options.cores, screen)
    if status == 0:
        screen.say(_success(study, targets, run, time.monotonic() - begun))
        return 0
    rest = []
    if run.failed and targets == ["all"] and status > 0:
        rest = _report_of_the_rest(study, command, options.cores, screen, run.lost)
    screen.say([*_stopped(run, printed, time.monotonic() - begun), *rest])
    return status if status >= 0 else 128 - status


def _snakemake(
    study: Study, command: Sequence[str], cores: int, screen: Screen, failed: Path | None = None
) -> tuple[int, Run, list[str]]:
    """Run Snakemake; returns its exit status (< 0: a signal), what it said, and what it printed.

    Args:
        study: the study.
        command: the call of Snakemake.
        cores: its cores.
        screen: where the progress is shown.
        failed: file with what failed before and is left out.
    """
    environment = calls.environment() | ({left_out.FAILED: str(failed)} if failed else {})
    # If this process is killed, Snakemake can still write to the file, which has no name.
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            env=environment,
        )
        with _signals_to(child) as signals, _not_left_alone(child):
            _import_pandas()
            run, printed = _follow(study, child, output.fileno(), cores, screen)
            status = child.wait()
    return -signals[0] if signals and status else status, run, printed


def _report_of_the_rest(
    study: Study, command: Sequence[str], cores: int, screen: Screen, jobs: Sequence[Started]
) -> list[str]:
    """Make the report without what failed; says where it is, or why there is none.

    A figure may fail that could not be drawn before; then it is left out as well.
    """
    lost = list(jobs)
    path = Path(Paths(study.study).file("failed.json"))
    try:
        while True:
            failed = missing(study, lost)
            if isinstance(failed, str):
                return [f"There is no report: {failed}."]
            path.write_text(json.dumps(asdict(failed)), encoding="utf-8")
            screen.say(["Making the report of the rest."])
            status, run, _ = _snakemake(study, command, cores, screen, path)
            if status == 0:
                report = Paths(study.study).file("report.html")
                return [f"Report of the rest, which names what is missing: {report}"]
            if not run.lost or status < 0:
                return ["There is no report of the rest."]
            lost += run.lost
    finally:
        path.unlink(missing_ok=True)


def missing(study: Study, jobs: Iterable[Started]) -> left_out.Failed | str:
    """What a report lacks if these jobs failed, or why there can be none.

    Args:
        study: the study.
        jobs: the failed jobs.
    """
    failed = left_out.Failed()
    for job in jobs:
        found = job.file(study.values) if job.log else JobFile(job.rule)
        if found.policy:
            failed.policies[found.policy.name] = str(job.log)
        elif found.stage == "plot":
            failed.figures[found.name] = str(job.log)
        elif found.stage == "explore":
            failed.tables[found.name] = str(job.log)
        else:
            return f"all of it needs the job {job.name}, which failed"
    if left_out.lost(study, failed):
        return "what every policy is compared with is missing"
    return failed


@contextmanager
def _signals_to(child: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Pass signals on: Ctrl-C to Snakemake and its jobs, as a terminal does; SIGTERM to Snakemake.

    On SIGTERM, Snakemake waits for the running jobs and starts no other. Yields the signals so far.
    """
    passed: list[int] = []

    def to_all(number: int, frame: Any) -> None:
        passed.append(number)
        os.killpg(child.pid, number)

    def to_snakemake(number: int, frame: Any) -> None:
        passed.append(number)
        child.send_signal(number)

    handlers: dict[int, Callable[[int, Any], None]] = {
        signal.SIGINT: to_all,
        signal.SIGHUP: to_all,
        signal.SIGTERM: to_snakemake,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield passed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _not_left_alone(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End Snakemake and its jobs if nobody follows them any more, such as with a closed pipe."""
    try:
        yield
    except BaseException:
        os.killpg(child.pid, signal.SIGINT)
        child.wait()
        raise


def _follow(
    study: Study, child: "subprocess.Popen[bytes]", output: int, cores: int, screen: Screen
) -> tuple[Run, list[str]]:
    """Show the progress until Snakemake ends; returns what it said, and the lines that it printed.

    Args:
        study: the study.
        child: Snakemake.
        output: the file that it writes to.
        cores: jobs that run at once.
        screen: where the progress is shown.
    """
    run, printed, place, rest = Run(), list[str](), 0, b""
    expected: dict[str, float] = {}
    over = False
    while not over:
        with suppress(subprocess.TimeoutExpired):
            child.wait(LOOK)
        over = child.returncode is not None
        now = time.monotonic()
        while part := os.pread(output, 2**20, place):
            place += len(part)
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                printed.append(line.decode(errors="replace"))
                screen.say(run.read(printed[-1], now))
        if run.total and not expected:
            expected = expected_seconds(study, run.left)
            time_needed = roughly(seconds_left(run, expected, cores, now))
            screen.say([f"Study {study.study}: {run.total} jobs, {time_needed} on {cores} cores"])
        if not over:
            screen.progress(progress_line(run, seconds_left(run, expected, cores, now)), now)
    return run, printed


def _import_pandas() -> None:
    """Import what the end of a run needs while Snakemake plans: that takes a second."""
    import_module("polyalign.report.page")


def job_counts(printed: str) -> dict[str, int]:
    """Rule → jobs, from the table that Snakemake prints before it starts."""
    _, _, table = printed.partition("Job stats:")
    rows = re.findall(r"^(\S+)[ \t]+(\d+)[ \t]*$", table, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule != "total"}


def expected_seconds(study: Study, jobs: Mapping[str, int]) -> dict[str, float]:
    """Rule → expected seconds per job on this machine, averaged over all jobs of the study."""
    machine, counted = this_machine(), counts(study)
    seconds: dict[str, list[float]] = {rule: [] for rule in jobs}
    for stage, wildcards in planned_jobs(study):
        rule = rule_of_job(stage, wildcards)
        if rule in seconds:
            job = work.of_job(study, stage, wildcards, counted)
            seconds[rule].append(job.seconds(machine))
    return {rule: mean(times) if times else work.LIGHT for rule, times in seconds.items()}


def _success(study: Study, targets: Sequence[str], run: Run, seconds: float) -> list[str]:
    """What came out, the outcome, where to look, and how long it took."""
    took = f"Time: {duration(seconds)} for {run.done} jobs."
    if not run.done:
        took = f"Nothing had to be done: all files are up to date ({duration(seconds)})."
    if list(targets) != ["all"]:
        return [f"Done: {', '.join(targets)}.", took]
    from polyalign.data.tables import read_table
    from polyalign.evaluate.delivery import outcome_of
    from polyalign.report.outcome import outcome

    paths = Paths(study.study)
    summary = read_table(Path(paths.table("summary")))
    rest = left_out.kept(study, left_out.unsolved_so_far(study), left_out.Failed())
    lacking = [shown.left_out(rest)] if rest.left_out else []
    return [
        f"Study {study.study} is complete: {len(study.palettes)} palettes, "
        f"{len(rest.all_policies)} policies, {len(rest.plots)} figures, "
        f"{len(shown.tables(rest))} tables.",
        *lacking,
        *filter(None, [outcome_of(summary)]),
        outcome(
            summary,
            labels=study.labels,
            chosen=study.chosen,
            opponent=study.evaluation.opponent,
        ),
        f"Report: {paths.file('report.html')}",
        f"Figures: {paths.results}/plots/, tables: {paths.results}/tables/, time of each job: "
        f"polyalign status {paths.results} --times",
        took,
    ]


def _reason(printed: Sequence[str]) -> Sequence[str]:
    """Why Snakemake stopped: the message of its own error without the place, or its last lines."""
    for number, line in enumerate(printed):
        if line.startswith("WorkflowError"):
            return [text for text in printed[number + 1 :] if text and not text.startswith("  ")]
    return printed[-TAIL:]


def _stopped(run: Run, printed: Sequence[str], seconds: float) -> list[str]:
    """What failed, where to look, and how to go on."""
    if not run.failed:
        return [*_reason(printed), f"Snakemake stopped after {duration(seconds)}."]
    return [
        f"Not complete: {len(run.failed)} jobs failed, {run.done} of {run.total} are done.",
        *(line for told in run.failed.values() for line in told),
        f"Log of Snakemake: {run.log}",
        f"Time: {duration(seconds)}. After a correction the same command continues.",
    ]
