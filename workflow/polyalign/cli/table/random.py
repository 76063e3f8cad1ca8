"""`polyalign random`: random palettes and the share that is feasible."""

import argparse

from polyalign.cli.table.options import add_values
from polyalign.cli.table.output import PRINTED_ROWS, Answer
from polyalign.cli.table.picture import add_plot, draw_random
from polyalign.cli.table.reading import caveat_of, read

HELP = "random palettes and the share that is feasible"
EXAMPLE = "random rewards.parquet --count 5000 -o palettes.parquet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_values(parser, required=False)
    parser.add_argument("--count", type=int, default=1000, help="palettes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the draws (default: %(default)s)")
    parser.add_argument(
        "--cap", type=float, default=10.0, help="largest sum of lam kept (default: %(default)s)"
    )
    add_plot(parser, "the lam of the palettes, of the first two values")


def answer(options: argparse.Namespace) -> Answer:
    """`polyalign random`: random palettes that are feasible, and their share."""
    from polyalign.map.search import random_palettes

    table = read(options, options.value)
    names = table.names
    drawn = random_palettes(table.base, options.count, seed=options.seed, cap=options.cap)
    if options.plot is not None:
        draw_random(options.plot, table, drawn)
    batch, kept = drawn.batch, drawn.kept
    indices = kept.nonzero()[0]
    return Answer(
        {
            "values": names,
            "scope": table.base.scope,
            "seed": options.seed,
            "cap": options.cap,
            "success": drawn.success,
            "feasible": float(batch.feasible.mean()),
            "targets": batch.targets[kept],
            "lam": batch.lam[kept],
            "kl": batch.kl[kept],
            "ess": batch.ess[kept],
            "reference_lam": drawn.reference,
            "reference_levels": drawn.reference_levels,
        },
        above=[
            f"{options.count} palettes: {batch.feasible.mean():.1%} feasible, {drawn.success:.1%} "
            f"feasible with a sum of lam of at most {options.cap:g}; scope {table.base.scope}"
        ],
        header=("palette", *names, *(f"lam {name}" for name in names), "KL", "ess"),
        rows=[
            (str(i), *batch.targets[i], *batch.lam[i], batch.kl[i], batch.ess[i]) for i in indices
        ],
        below=caveat_of(table),
        printed=PRINTED_ROWS,
    )
