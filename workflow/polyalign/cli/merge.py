"""`polyalign merge`: join and stack tables by prompt and candidate, without a gap."""

import argparse
import sys
from glob import glob
from pathlib import Path

from polyalign.cli import Parser
from polyalign.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Merge tables; 0, or 2 with one line on stderr on bad input.

    Raises:
        SystemExit: after `--help`.
    """
    try:
        options = make_parser().parse_args(argv)
        return _merge(options)
    except InputError as error:
        print("polyalign: " + " ".join(str(error).split()), file=sys.stderr)
        return 2


def _merge(options: argparse.Namespace) -> int:
    from polyalign.data.merging import merge, merged_spec
    from polyalign.data.tables import check_output, save_table

    check_output(options.output)
    paths = paths_of(options.tables)
    if len(paths) < 2:
        raise InputError(f"{', '.join(paths)}: one table; expected two or more")
    if options.output in paths:
        raise InputError(f"-o {options.output}: is one of the tables; name another file")
    spec = merged_spec(paths)
    table = merge(paths)
    save_table(table, options.output, {"spec": spec} if spec else {})
    names = ", ".join(map(str, table.columns))
    print(f"{len(paths)} tables, {len(table)} rows in {options.output}: {names}")
    if spec is None:
        print(
            "note: not all tables say how they were sampled and scored, so that the merged one "
            "does not either"
        )
    return 0


def paths_of(named: list[str]) -> list[str]:
    """The files that paths and glob patterns name, each once; those of a pattern in order.

    Raises:
        InputError: if a pattern names none.
    """
    found: list[str] = []
    for name in named:
        there = [name] if Path(name).exists() else sorted(glob(name, recursive=True))
        if not there:
            raise InputError(f"{name}: no such table; check the path")
        found += there
    return list(dict.fromkeys(found))


def make_parser() -> Parser:
    """The arguments of this command."""
    parser = Parser(
        prog="polyalign merge",
        description=__doc__,
        epilog="Tables with the same columns are stacked, others are joined. Candidates that some "
        "lack, and columns that disagree, are refused.\n"
        "example: polyalign merge humor.parquet 'helpful_*.parquet' -o rewards.parquet",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "tables",
        nargs="+",
        metavar="TABLE",
        help="tables with `prompt` or `prompt_id`, and `candidate` where a prompt has several "
        "tables; or patterns such as 'shards/*.parquet'",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the merged table: .parquet or .csv"
    )
    return parser
