"""`polyalign solve`: the λ of a palette, with its certificate."""

import argparse
from typing import TYPE_CHECKING

from polyalign.cli.table.options import add_targets, asked_levels
from polyalign.cli.table.output import INFEASIBLE, STALLED, Answer
from polyalign.cli.table.reading import (
    caveat,
    check_names,
    is_large,
    problem,
    say_derived_split,
)

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


def answer(options: argparse.Namespace) -> Answer:
    """`polyalign solve`: the solution of a palette."""
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


def solve_asked(options: argparse.Namespace) -> tuple["Solution", list[str]]:
    """The solution of what `--target` asks, and warnings; a large table is streamed."""
    from polyalign.map.cautions import cautions
    from polyalign.map.dual import solve_on

    levels = asked_levels(options.target)
    check_names(levels)
    if is_large(options.table, len(levels)):
        import pyarrow.parquet as pq

        from polyalign.data.rewards_table import check_prompts
        from polyalign.palettes.streamed import Stream, solve_stream

        columns = pq.read_schema(options.table).names
        check_prompts(columns, options.table)
        say_derived_split(options, columns)
        stream = Stream(options.table, list(levels), options.scope, options.split)
        solution = solve_stream(stream, levels, slack=True)
        return solution, cautions(stream, levels, solution.target, list(levels))
    table, target = problem(options)
    solution = solve_on(table.base, target, names=table.names, slack=True)
    return solution, cautions(table.base, levels, target, table.names)
