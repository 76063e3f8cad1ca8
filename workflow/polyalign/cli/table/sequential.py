"""`polyalign sequential`: one value after the other, against all at once."""

import argparse
from collections.abc import Sequence
from math import nan

from polyalign.cli.table.options import add_targets
from polyalign.cli.table.output import INFEASIBLE, Answer
from polyalign.cli.table.picture import add_plot, draw_rounds
from polyalign.cli.table.reading import caveat_of, problem
from polyalign.errors import InputError

HELP = "one value after the other"
EXAMPLE = "sequential rewards.parquet --target humor=q70 --target helpful=q70 --rounds 5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_targets(parser)
    parser.add_argument("--rounds", type=int, default=10, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--block",
        action="append",
        metavar="NAME,NAME",
        help="values aligned together; repeat in the order of the turns (default: one by one)",
    )
    add_plot(parser, "the levels after each round")


def answer(options: argparse.Namespace) -> Answer:
    """`polyalign sequential`: the levels after each round, and the simultaneous solution."""
    from polyalign.map.dual import solve_on
    from polyalign.map.sequential import sequential as align_in_turn

    table = problem(options)
    target = table.target
    base, names = table.base, table.names
    together = solve_on(base, target, names=names)
    record = {"values": names, "target": target, "scope": base.scope}
    if together.verdict == "infeasible":
        verdict = {"verdict": together.verdict, "message": together.message}
        return Answer(record | verdict, above=[together.message], status=INFEASIBLE)
    blocks = _blocks(options.block, names)
    rounds = align_in_turn(base, target, rounds=options.rounds, blocks=blocks, names=names)
    if options.plot is not None:
        draw_rounds(options.plot, table, target, rounds, together.realised)
    after = enumerate(zip(rounds.levels, rounds.kkt, strict=True), 1)
    return Answer(
        {
            **record,
            "lam": rounds.lam,
            "levels": rounds.levels,
            "dual": rounds.dual,
            "kkt": rounds.kkt,
            "simultaneous": {"lam": together.lam, "levels": together.realised},
        },
        header=("levels", *names, "KKT residual"),
        rows=[
            ("base", *base.center, nan),
            ("target", *target, nan),
            *((f"round {i}", *level, kkt) for i, (level, kkt) in after),
            ("at once", *together.realised, together.kkt),
        ],
        below=caveat_of(table),
    )


def _blocks(items: Sequence[str] | None, names: list[str]) -> list[list[int]] | None:
    if items is None:
        return None
    unknown = [name for item in items for name in item.split(",") if name not in names]
    if unknown:
        raise InputError(
            f"--block: no target for {', '.join(unknown)}; there are {', '.join(names)}"
        )
    return [[names.index(name) for name in item.split(",")] for item in items]
