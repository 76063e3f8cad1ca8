"""`polyalign feasible`: whether a palette can be reached, and how far."""

import argparse
from math import isfinite

from polyalign.cli.table.options import add_limits, add_targets, limits_of
from polyalign.cli.table.output import INFEASIBLE, Answer
from polyalign.cli.table.picture import WAY, add_plot, draw_path
from polyalign.cli.table.reading import caveat_of, problem

HELP = "can a palette be reached, and how far"
EXAMPLE = "feasible rewards.parquet --target humor=q90 --target helpful=q90"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_targets(parser)
    add_limits(parser)
    add_plot(parser, WAY)


def answer(options: argparse.Namespace) -> Answer:
    """`polyalign feasible`: the slack of a palette, and how far it can be reached."""
    from polyalign.palettes.table_commands import find_reach

    limits = limits_of(options)
    table = problem(options)
    target = table.target
    base, names = table.base, table.names
    if options.plot is not None:
        draw_path(options.plot, table, target, limits)
    reach = find_reach(base, target, names, limits)
    found = reach.feasibility
    infeasible = found.status == "infeasible"
    conflict = list(found.conflict) if infeasible else []
    supported = (
        f"{reach.supportable_share:.1%} supportable"
        if isfinite(reach.supportable_share)
        else "none supportable"
    )
    ways = {
        "nearest feasible": reach.nearest,
        "supportable": reach.supportable,
        "highest": reach.highest,
        "and supportable": reach.highest_supportable,
    }
    return Answer(
        {
            "values": names,
            "target": target,
            "scope": base.scope,
            "status": found.status,
            "slack": found.slack,
            "conflict": conflict,
            "share": reach.share,
            "nearest": reach.nearest,
            "supportable_share": reach.supportable_share,
            "supportable": reach.supportable,
            "highest": reach.highest,
            "highest_supportable": reach.highest_supportable,
        },
        above=[
            f"{found.status}: slack {found.slack:.4g} standard deviations, scope {base.scope}",
            *([f"in conflict: {', '.join(conflict)}"] if infeasible else []),
            f"of the way from base to target: {min(1.0, reach.share):.1%} feasible, {supported}",
        ],
        header=("value", "base", "target", *ways),
        rows=list(zip(names, base.center, target, *ways.values(), strict=True)),
        below=[
            "highest (of a ceiling, lowest): with the others held at their targets",
            *caveat_of(table),
        ],
        status=INFEASIBLE if infeasible else 0,
    )
