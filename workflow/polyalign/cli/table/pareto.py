"""`polyalign pareto`: the exact front of two or three values."""

import argparse

from polyalign.cli.table.options import add_values
from polyalign.cli.table.output import Answer
from polyalign.cli.table.picture import add_plot, draw_front
from polyalign.cli.table.reading import caveat_of, read

HELP = "exact trade-off front of 2 or 3 values"
EXAMPLE = "pareto rewards.csv --value humor --value helpful --kl 0.5 -o front.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_values(parser, required=True)
    parser.add_argument(
        "--kl", type=float, default=1.0, help="nats to spend (default: %(default)s)"
    )
    parser.add_argument(
        "--points", type=int, default=17, help="directions along an edge (default: %(default)s)"
    )
    add_plot(parser, "the front of each pair of the values")


def answer(options: argparse.Namespace) -> Answer:
    """`polyalign pareto`: the front of two or three values at a KL budget."""
    from polyalign.map.front import front

    table = read(options, options.value)
    base, names = table.base, table.names
    found = front(base, list(range(len(names))), options.kl, points=options.points)
    if options.plot is not None:
        draw_front(options.plot, table, options.kl, options.points)
    rows = enumerate(zip(found.levels, found.lam, strict=True))
    return Answer(
        {
            "values": names,
            "scope": base.scope,
            "base": base.center,
            "lam": found.lam,
            "levels": found.levels,
            "kl": found.kl,
            "hypervolume": found.hypervolume,
        },
        above=[
            f"front at {options.kl:g} nats, scope {base.scope}; "
            f"hypervolume {found.hypervolume:.4g} (standard deviations, from the base levels)"
        ],
        header=("point", *names, *(f"lam {name}" for name in names)),
        rows=[(str(i), *level, *lam) for i, (level, lam) in rows],
        below=caveat_of(table),
    )
