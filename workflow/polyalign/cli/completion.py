"""`polyalign completion`: a script with which the shell completes commands, options and files."""

import argparse
import sys
from importlib import import_module
from typing import Any

from polyalign import cli
from polyalign.cli.extras import require
from polyalign.errors import InputError

SHELLS = ("bash", "zsh", "tcsh")


def make_parser() -> "cli.Parser":
    """The arguments of this command."""
    parser = cli.Parser(
        prog="polyalign completion",
        description=__doc__,
        epilog="example, in ~/.bashrc: source <(polyalign completion bash)",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print the script; 0, or 2 with one line on stderr on bad input.

    Raises:
        SystemExit: after `--help`.
    """
    try:
        options = make_parser().parse_args(argv)
        require("completion", "shtab")
    except InputError as error:
        print("polyalign: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    import shtab

    print(shtab.complete(whole_parser(shtab.FILE), shell=options.shell))
    return 0


def whole_parser(file: Any) -> argparse.ArgumentParser:
    """The parser of all commands with all their options.

    Args:
        file: what marks an argument that the shell completes by files. Whatever is neither a number
            nor one of a few words may be one.
    """
    parser = cli.build_parser()
    assert parser._subparsers is not None
    (commands,) = parser._subparsers._group_actions
    assert isinstance(commands.choices, dict)
    for name in cli.HELPERS:
        commands.choices[name] = import_module(f"polyalign.cli.{name}").make_parser()
    for command in commands.choices.values():
        for action in command._actions:
            if action.nargs != 0 and action.choices is None and action.type is None:
                action.complete = file
    return parser
