"""`polyalign check`: all errors of a config at once, or the plan: jobs, time and disk."""

import argparse
import shutil
import sys

from polyalign.errors import InputError
from polyalign.plan.forecast import Step, disk_bytes, jobs_to_run, out_of_reach, plan, summary
from polyalign.study import Study, load

GB = 1e9


def main(argv: list[str] | None = None) -> int:
    """Check a config and print the plan; 0 if it can run, 1 if it cannot be planned, 2 on errors.

    Raises:
        SystemExit: on an unknown argument.
    """
    parser = argparse.ArgumentParser(prog="polyalign check", description=__doc__)
    parser.add_argument("--config", default="config.yaml", help="the study (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        study = load(options.config)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.config}: no errors. {summary(study)}")
    for warning in out_of_reach(study):
        print(f"warning: {warning}")
    try:
        steps = plan(study, jobs_to_run(options.config))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(plan_text(study, steps))
    return 0


def plan_text(study: Study, steps: list[Step]) -> str:
    """The plan as a table, with total time, GPU hours and disk space."""
    if not steps:
        lines = ["Nothing to be done."]
    else:
        width = max(len(step.rule) for step in steps)
        minutes = sum(step.jobs * step.seconds for step in steps) / 60
        total = sum(step.jobs for step in steps)
        hours = sum(_gpu_hours(step) for step in steps)
        lines = [
            f"{'rule':<{width}}  jobs  minutes  measured  GPU  VRAM GB     used  RAM GB     used",
            *(_row(step, width).rstrip() for step in steps),
            f"{'total':<{width}}  {total:>4}  {minutes:>7.1f}  one job after another, measured "
            "or estimated",
            f"GPU hours: about {hours:.1f}. Estimates assume a data-centre GPU; measured and used "
            "are of earlier jobs of this study, on the machine that ran them.",
        ]
    free = shutil.disk_usage(".").free
    lines.append(f"Disk: about {_size(disk_bytes(study))} in all; {_size(free)} are free here.")
    return "\n".join(lines)


def _gpu_hours(step: Step) -> float:
    return step.jobs * step.seconds * step.need.gpu / 3600 if step.need else 0.0


def _row(step: Step, width: int) -> str:
    """The row of a rule: estimates, and beside each of them what earlier jobs took."""
    estimated, measured = (
        _number(seconds, 60 / step.jobs) for seconds in (step.estimated, step.measured)
    )
    row = f"{step.rule:<{width}}  {step.jobs:>4}  {estimated:>7}  {measured:>8}"
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
