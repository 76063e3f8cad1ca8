"""The command `polyalign`: the mathematics on a table of rewards, and helpers of a study.

Each group of commands has a module, which is imported when one of them runs.
"""

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

from polyalign.errors import InputError

HELPERS = {
    "check": "check a study's config and print the plan",
    "run": "run a study, with one line of progress",
    "status": "what runs, what failed and why, what jobs took",
    "why": "what changed since a file was made",
}
"""Command → its help. Each is a module of this package with `main(argv) -> exit status`."""

STATUSES = (
    "exit status: 0 done; 1 the palette is at the edge of what is feasible, and its lam is not "
    "certified; 2 bad input, one line on stderr; 3 the palette is infeasible"
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all other bad input."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError instead of printing the usage."""
        raise InputError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (see `STATUSES`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Not every locale can show a λ.
        sys.stdout.reconfigure(errors="backslashreplace")
    if arguments and arguments[0] in HELPERS:
        return int(import_module(f"polyalign.cli.{arguments[0]}").main(arguments[1:]))
    try:
        options = build_parser().parse_args(arguments)
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except InputError as error:
        print("polyalign: " + " ".join(str(error).split()), file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; it imports nothing heavy."""
    from polyalign.cli import table

    parser = Parser(
        prog="polyalign", description="Align a language model to several values.", epilog=STATUSES
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    table.add_commands(commands, epilog=STATUSES)
    for name, text in HELPERS.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser
