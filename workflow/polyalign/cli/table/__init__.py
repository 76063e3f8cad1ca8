"""The commands on a table of rewards: `solve`, `feasible`, `pareto`, `random`, and others.

Each is a module with `HELP`, `EXAMPLE`, `add_arguments` and `answer`.
"""

import argparse
from importlib import import_module
from textwrap import fill
from typing import Any

NAMES = (
    "solve",
    "feasible",
    "pareto",
    "random",
    "sequential",
    "levels",
    "quantile",
    "diagnose",
    "choose",
)
"""Commands, each the name of its module."""

WITH_PALETTE = ("solve", "feasible", "sequential", "diagnose", "choose")
"""Commands whose exit status says what became of the palette."""


def add_commands(commands: Any, statuses: str) -> None:
    """Add the parsers of these commands; `options.run` runs one and returns its status."""
    for name in NAMES:
        module = import_module(f"{__name__}.{name}")
        epilog = f"example: polyalign {module.EXAMPLE}"
        epilog += f"\n\n{fill(statuses)}" if name in WITH_PALETTE else ""
        parser: argparse.ArgumentParser = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _common(parser)
        module.add_arguments(parser)
        parser.set_defaults(run=_run, answer=module.answer)


def _run(options: argparse.Namespace) -> int:
    from polyalign.cli.table.output import show

    return show(options.answer(options), as_json=options.json, output=options.output)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", help="rewards: .parquet, .csv, .jsonl, or MAP's .json")
    parser.add_argument(
        "--scope",
        default="auto",
        help="prompt, joint, or auto: prompt with 8 or more candidates per prompt",
    )
    parser.add_argument(
        "--split", default="all", choices=("all", "fit", "test"), help="rows to use"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write the table as .csv or .parquet, or all results as .json",
    )
