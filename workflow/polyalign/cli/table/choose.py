"""`polyalign choose`: the answers that λ or a palette chooses among the candidates of a table."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from polyalign.cli.table.output import INFEASIBLE, STALLED, Answer
from polyalign.cli.table.reading import check_names, is_large, read_frame, read_stream
from polyalign.cli.table.solve import solve_asked
from polyalign.cli.table.weights import add_weights, given_lam, which
from polyalign.errors import InputError

if TYPE_CHECKING:
    from polyalign.palettes.choose import Candidates

HELP = "write the answers that a lam or a palette chooses among the candidates"
EXAMPLE = "choose rewards.parquet --lam humor=1.5 --answers chosen.parquet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_weights(parser)
    parser.add_argument(
        "--answers",
        required=True,
        metavar="FILE",
        help="write the chosen rows here, with all their columns: .parquet, .csv or .jsonl",
    )
    parser.add_argument(
        "--best", action="store_true", help="take the largest lam·r (default: draw by exp(lam·r))"
    )
    parser.add_argument(
        "--draws", type=int, default=1, help="answers per prompt (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the draws (default: %(default)s)")


def answer(options: argparse.Namespace) -> Answer:
    """Choose, write the answers, and say what their levels are."""
    from polyalign.map.words import values_of, weights_of
    from polyalign.palettes.choose import Choice, choose

    if options.draws < 1 or (options.best and options.draws > 1):
        allowed = "1 with --best" if options.best else "1 or more"
        raise InputError(f"--draws: {options.draws}; expected {allowed}")
    warnings: list[str] = []
    if which(options) == "target":
        solution, warnings = solve_asked(options)
        if solution.status != "solved":
            status = INFEASIBLE if solution.status == "infeasible" else STALLED
            failed = {"status": solution.status, "message": solution.message}
            return Answer(failed, above=[solution.message, "nothing is written"], status=status)
        lam = weights_of(solution.values, solution.lam.tolist())
    else:
        lam = given_lam(options)
    check_names(values_of(lam))
    choice = Choice(lam, greedy=options.best, draws=options.draws, seed=options.seed)
    try:
        found = choose(_candidates(options, list(lam)), choice, options.answers)
    except OSError as fault:
        raise InputError(
            f"--answers {options.answers}: cannot be written ({fault.strerror}); name another file"
        ) from fault
    record = {
        "answers": options.answers,
        "values": list(lam),
        "lam": list(lam.values()),
        "seed": options.seed,
        "best": options.best,
        "draws": options.draws,
        "warnings": warnings,
        **vars(found),
    }
    alone = f", {found.single} with one candidate" if found.single else ""
    columns = lam.values(), found.base, found.expected, found.se, found.written
    return Answer(
        record,
        above=[f"warning: {warning}" for warning in warnings],
        header=("value", "lam", "base", "expected", "se", "written"),
        rows=list(zip(lam, *columns, strict=True)),
        below=[
            f"{found.prompts} prompts{alone}, KL {found.kl:.4g} nats per prompt; "
            f"{found.prompts * options.draws} answers in {options.answers}",
            "expected: exact over the candidates; written: the mean of the answers written",
        ],
    )


def _candidates(options: argparse.Namespace, values: list[str]) -> "Iterator[Candidates]":
    from polyalign.palettes.choose import in_memory, streamed

    if is_large(options.table, len(values)):
        return streamed(read_stream(options, values, "prompt"))
    from polyalign.data.tables import read_table
    from polyalign.map.words import values_of

    checked = read_frame(options, values_of(values))
    return iter([in_memory(read_table(options.table), checked, values)])
