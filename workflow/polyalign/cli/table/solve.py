"""`polyalign solve`: the λ of a palette, with its certificate."""

import argparse
from typing import TYPE_CHECKING

from polyalign.cli.table.options import add_targets, asked_levels
from polyalign.cli.table.output import INFEASIBLE, STALLED, Answer
from polyalign.cli.table.picture import WAY, add_plot, draw_path
from polyalign.cli.table.reading import (
    caveat,
    check_names,
    is_large,
    pose_asked,
    problem,
    read_stream,
)
from polyalign.errors import InputError

if TYPE_CHECKING:
    from polyalign.map.dual import Solution

HELP = "lam of a palette, with a certificate"
EXAMPLE = "solve rewards.parquet --target humor=q70 --target helpful=mean"

SOLVE_KEYS = [
    "values",
    "target",
    "lam",
    "scope",
    "status",
    "verdict",
    "realised",
    "kl",
    "ess",
    "max_weight",
    "kkt",
    "slack",
    "iterations",
    "n_prompts",
    "n_samples",
    "message",
    "warnings",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_targets(parser)
    add_plot(parser, WAY)


def answer(options: argparse.Namespace) -> Answer:
    """`polyalign solve`: the solution of a palette."""
    if options.plot is not None:
        _draw(options)
    solution, warnings = solve_asked(options)
    record = {**solution.to_dict(), "warnings": warnings}
    columns = solution.base, solution.target, solution.realised, solution.lam
    facts = f"scope {solution.scope}, {solution.n_prompts} prompts, {solution.n_samples} samples"
    if solution.status != "infeasible":
        facts += f", {solution.iterations} iterations, KKT residual {solution.kkt:.1e}"
    return Answer(
        {key: record[key] for key in SOLVE_KEYS},
        above=[solution.message, *(f"warning: {warning}" for warning in warnings)],
        header=("value", "base", "target", "realised", "lam"),
        rows=list(zip(solution.values, *columns, strict=True)),
        below=[facts, *caveat(solution.scope, solution.n_prompts)],
        status={"infeasible": INFEASIBLE, "stalled": STALLED}.get(solution.status, 0),
    )


def _draw(options: argparse.Namespace) -> None:
    from polyalign.map.dual import DEFAULT_LIMITS

    if is_large(options.table, len(options.target)):
        raise InputError(
            f"--plot: {options.table} is too large to be drawn from; thin it to some of its prompts"
        )
    asked = problem(options)
    draw_path(options.plot, asked, asked.target, DEFAULT_LIMITS)


def solve_asked(options: argparse.Namespace) -> tuple["Solution", list[str]]:
    """The solution of what `--target` asks, and warnings; a large table is streamed."""
    from polyalign.map.cautions import cautions
    from polyalign.map.words import rows_of, values_of

    levels = asked_levels(options.target)
    check_names(values_of(levels))
    if is_large(options.table, len(levels)):
        from polyalign.palettes.streamed import levels_of, solve_stream

        rows = rows_of(levels)
        asked = {row.name: row.level for row in rows}
        stream = read_stream(options, list(asked), options.scope, levels_of(rows))
        asked |= {name: one.level for name, one in stream.members.items()}
        solution = solve_stream(stream, levels, slack=True)
        return solution, cautions(stream, asked, solution.target, list(asked))
    posed = pose_asked(options)
    return posed.solve(), cautions(posed.base, posed.levels, posed.target, posed.names)
