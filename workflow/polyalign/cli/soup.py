"""`polyalign soup`: average models, or LoRA adapters to one base, that no study made."""

import argparse
import sys
from pathlib import Path

from polyalign.cli import Parser
from polyalign.cli.table.options import pairs
from polyalign.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Make a soup; 0, or 2 with one line on stderr on bad input.

    Raises:
        SystemExit: after `--help`.
    """
    try:
        options = make_parser().parse_args(argv)
        return _soup(options)
    except InputError as error:
        print("polyalign: " + " ".join(str(error).split()), file=sys.stderr)
        return 2


def _soup(options: argparse.Namespace) -> int:
    from polyalign.train.soup import make_soup

    models = [(folder, _weight(folder, text)) for folder, text in _named(options.models)]
    output = Path(options.output)
    if output.exists():
        raise InputError(f"-o {output}: is there already, and is not overwritten; name another")
    for folder, _ in models:
        if not Path(folder).is_dir():
            raise InputError(f"{folder}: no such folder; expected a model or an adapter")
    record = make_soup(models, output)
    mixed = " + ".join(f"{weight:g} × {folder}" for folder, weight in models)
    print(
        f"{output}: {record['kind']}, {record['tensors']} tensors, {record['parameters']} "
        f"parameters, {mixed}"
    )
    return 0


def _named(items: list[str]) -> list[tuple[str, str]]:
    if len(items) < 2:
        raise InputError("one model is named; expected two or more, as FOLDER=WEIGHT")
    return list(pairs(items, "FOLDER=WEIGHT").items())


def _weight(folder: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as fault:
        raise InputError(f"{folder}={text}: expected a number in [0, 1] as its weight") from fault


def make_parser() -> Parser:
    """The arguments of this command."""
    parser = Parser(
        prog="polyalign soup",
        description=__doc__,
        epilog="The models must have one architecture, vocabulary and tokenizer; weights sum to 1."
        "\nexample: polyalign soup models/funny=0.3 models/kind=0.7 -o models/both",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "models", nargs="+", metavar="FOLDER=WEIGHT", help="a folder and its weight in [0, 1]"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="the new folder")
    return parser
