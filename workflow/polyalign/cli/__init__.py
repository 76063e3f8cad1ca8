"""The command `polyalign`: the mathematics on a table of rewards, and helpers of a study.

Each group of commands has a module, which is imported when one of them runs.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from polyalign import __version__
from polyalign.cli import table
from polyalign.cli.extras import advice
from polyalign.errors import InputError, nearest

HELPERS = {
    "init": "write a commented config of a new study",
    "check": "check a study's config and print the plan",
    "run": "run a study, with one line of progress",
    "status": "what runs, what failed and why, what jobs took",
    "why": "what changed since a file was made",
    "compare": "several finished studies side by side",
    "answer": "answer a prompt by the base model, and by a policy, a palette or a λ of a study",
    "app": "explore palettes in the browser, on tables of rewards or on a study",
    "serve": "answer prompts over HTTP, as OpenAI's API does",
}
"""Command → its help. Each is a module of this package with `main(argv) -> exit status`."""

COMMANDS = (*table.NAMES, *HELPERS)

STATUSES = (
    "exit status: 0 done, also if the palette is unsupported; 1 the palette is at the edge of what "
    "is feasible, and its lam is not certified; 2 bad input, one line on stderr; 3 the palette is "
    "infeasible"
)

BROKEN_PIPE = 141
"""Exit status if nobody reads the output any more, as that of a program that SIGPIPE ends."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all other bad input."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError instead of printing the usage."""
        raise InputError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but an option of a command that is unknown comes before one that lacks."""
        if self._subparsers is None:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            for word in args or ():
                option = word.partition("=")[0]
                if word == "--":
                    break
                if word.startswith("--") and not any(name.startswith(option) for name in known):
                    raise InputError(f"no option {option}; {nearest(option, known)}")
        return super().parse_known_args(args, namespace)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (see `STATUSES`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Not every locale can show a λ.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except ModuleNotFoundError as missing:
        said = advice(arguments[0], missing.name)
        if not said:
            raise
        print(f"polyalign: {said}", file=sys.stderr)
        return 2
    return status


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] in HELPERS:
        return int(import_module(f"polyalign.cli.{arguments[0]}").main(arguments[1:]))
    parser = build_parser()
    if not arguments:
        parser.print_help()
        return 0
    try:
        if not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
            raise InputError(
                f"no command {arguments[0]!r}; expected one of {', '.join(COMMANDS)}; "
                f"{nearest(arguments[0], COMMANDS)}"
            )
        options = parser.parse_args(arguments)
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except InputError as error:
        print("polyalign: " + " ".join(str(error).split()), file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; it imports nothing heavy."""
    parser = Parser(prog="polyalign", description="Align a language model to several values.")
    parser.add_argument("--version", action="version", version=f"polyalign {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    table.add_commands(commands, statuses=STATUSES)
    for name, text in HELPERS.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser
