"""`polyalign check`: all errors of a config at once, or the plan: jobs, time and disk."""

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from polyalign.cli.arguments import add_study, load_study, read_words
from polyalign.cli.extras import require
from polyalign.errors import InputError
from polyalign.plan.bills import bills
from polyalign.plan.data_check import check_data
from polyalign.plan.doubts import doubts
from polyalign.plan.forecast import (
    Forecast,
    Step,
    disk_bytes,
    finished_here,
    jobs_to_run,
    out_of_reach,
    plan,
    summary,
    warnings,
)
from polyalign.plan.machine import DATA_CENTRE, this_machine
from polyalign.study import Study

GB = 1e9

WORTH = 0.8
"""Share of the time here below which the time with a GPU is said too."""


def make_parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    parser = argparse.ArgumentParser(prog="polyalign check", description=__doc__)
    add_study(parser, "CONFIG | KEY=VALUE", "the study's config, and changes to it, as `seed=2`")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Check a config and print the plan; 0 if it can run, 1 if it cannot be planned, 2 on errors.

    Raises:
        SystemExit: on an unknown argument.
    """
    options = make_parser().parse_args(argv)
    try:
        given, targets = read_words(options.words, options.config)
        if targets:
            raise InputError(
                f"{targets[0]!r} is neither a config (.yaml) nor a change (key=value); expected "
                "`polyalign check my.yaml`; name the config"
            )
        study = load_study(given)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    data = check_data(study)
    if data.faults:
        print("\n".join(data.faults), file=sys.stderr)
        return 2
    print(f"{given.config}: no errors. {summary(study)}")
    for warning in [*data.warnings, *doubts(study), *out_of_reach(study)]:
        print(f"warning: {warning}")
    try:
        require("check", "snakemake")
        jobs = jobs_to_run(given)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    machine = this_machine()
    finished = finished_here(study, Path("results"))
    with_gpu = replace(machine, gpus=(DATA_CENTRE,))
    on_gpu = None if machine.gpus else plan(study, jobs, with_gpu)
    if on_gpu and study.model and study.model.device == "cuda":
        here, on_gpu = on_gpu, None
    else:
        here = plan(study, jobs, machine, finished)
    print(plan_text(study, here, on_gpu))
    asked = bills(study, jobs)
    for bill in asked:
        print(bill.said())
    of_judges = [warning for bill in asked for warning in bill.warnings()]
    for warning in [*warnings(study, here), *of_judges]:
        print(f"warning: {warning}")
    return 0


def plan_text(study: Study, forecast: Forecast, on_gpu: Forecast | None = None) -> str:
    """The plan as a table, with total time, GPU hours and disk space.

    Args:
        study: the study.
        forecast: for this machine.
        on_gpu: with a data-centre GPU; None if this machine has a GPU.
    """
    steps, machine = forecast.steps, forecast.machine
    if not steps:
        lines = ["Nothing to be done."]
    else:
        width = max(len("total"), *(len(step.rule) for step in steps))
        total = sum(step.jobs for step in steps)
        minutes = sum(step.seconds for step in steps) / 60
        gpus = f" and {machine.gpus[0].name}" if machine.gpus else ""
        lines = [
            f"{'rule':<{width}}  jobs  minutes  learned  GPU  VRAM GB     used  RAM GB     used",
            *(_row(step, width).rstrip() for step in steps),
            f"{'total':<{width}}  {total:>4}  {minutes:>7.1f}  one job after another",
            f"Time: about {duration(forecast.seconds)} on {_cores(machine.cores)}{gpus} "
            f"({spread(forecast.low, forecast.high)}).",
        ]
        if forecast.gpu_hours:
            lines.append(f"GPU hours: about {forecast.gpu_hours:.1f}.")
        if on_gpu is not None and on_gpu.seconds < WORTH * forecast.seconds:
            lines.append(
                f"With a data-centre GPU: about {duration(on_gpu.seconds)}, "
                f"{on_gpu.gpu_hours:.1f} GPU hours."
            )
        lines += [f"Assumed: {sentence}." for sentence in forecast.assumed]
        lines.append(
            "minutes: from the speed of this machine, corrected by `learned` similar jobs that "
            "have finished here. GPU, VRAM, RAM: what a scheduler is asked for, at most; used: by "
            "earlier jobs of this study."
        )
    free = shutil.disk_usage(".").free
    lines.append(f"Disk: about {_size(disk_bytes(study))} in all; {_size(free)} are free here.")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """A time in the unit that suits its size, such as `11 minutes`."""
    for unit, size, below in (("second", 1, 90), ("minute", 60, 5400), ("hour", 3600, 172_800)):
        if seconds < below:
            count = max(1, round(seconds / size))
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds / 86_400:.0f} days"


def spread(low: float, high: float) -> str:
    """A range of times, such as `8 to 17 minutes`."""
    count, unit = duration(low).split()
    _, last = duration(high).split()
    return f"{count if unit.rstrip('s') == last.rstrip('s') else duration(low)} to {duration(high)}"


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def _row(step: Step, width: int) -> str:
    """The row of a rule: its time, and beside each need what earlier jobs used."""
    learned = str(step.finished) if step.finished else ""
    row = f"{step.rule:<{width}}  {step.jobs:>4}  {step.seconds / 60:>7.1f}  {learned:>7}"
    if step.need is None:
        return row
    vram, used_vram, ram, used_ram = (
        _number(mb, 1e3)
        for mb in (step.need.vram_mb, step.used_vram_mb, step.need.mem_mb, step.used_mb)
    )
    return f"{row}  {step.need.gpu:>3}  {vram:>7}  {used_vram:>7}  {ram:>6}  {used_ram:>7}"


def _number(amount: float | None, unit: float) -> str:
    return "" if amount is None else f"{amount / unit:.1f}"


def _size(count: float) -> str:
    return f"{count / GB:.1f} GB" if count >= 0.1 * GB else f"{count / 1e6:.0f} MB"
