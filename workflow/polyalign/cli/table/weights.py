"""The λ that a command is given: by itself, by a file, or by levels that it is solved for."""

import argparse
import json
from pathlib import Path

from polyalign.cli.table.options import add_targets, pairs
from polyalign.cli.table.options import number as lam_number
from polyalign.errors import InputError
from polyalign.map.words import weights_of

WAYS = ("lam", "palette", "target")


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add `--lam`, `--palette` and `--target`, of which one is used."""
    parser.add_argument(
        "--lam", action="append", metavar="NAME=NUMBER", help="λ of one value; repeat"
    )
    parser.add_argument(
        "--palette",
        metavar="FILE",
        help="λ from results/STUDY/palettes/NAME.json, or from what solve -o FILE.json wrote",
    )
    add_targets(parser, required=False)


def which(options: argparse.Namespace) -> str:
    """The one of `WAYS` that is used.

    Raises:
        InputError: if none is, or several are.
    """
    used = [way for way in WAYS if getattr(options, way) is not None]
    if len(used) != 1:
        said = " and ".join(f"--{way}" for way in used) or "no λ"
        raise InputError(
            f"{said} given; expected one of --lam NAME=NUMBER, --palette FILE, --target NAME=LEVEL"
        )
    return used[0]


def given_lam(options: argparse.Namespace) -> dict[str, float]:
    """Value → λ of `--lam` or `--palette`; that of a ceiling is below 0.

    Raises:
        InputError: if it cannot be read.
    """
    if options.palette is not None:
        return _read_palette(options.palette)
    texts = pairs(options.lam, "NAME=NUMBER")
    return {name: lam_number(name, text) for name, text in texts.items()}


def _read_palette(path: str) -> dict[str, float]:
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        names, lam = list(record["values"]), list(record["lam"])
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InputError(
            f"--palette {path}: cannot be read ({type(fault).__name__}: {fault}); expected a JSON "
            "file with `values` and `lam`, as results/STUDY/palettes/NAME.json"
        ) from fault
    if not lam or any(weight is None for weight in lam):
        raise InputError(
            f"--palette {path}: it has no λ, since no policy reaches its levels "
            f"({record.get('message', 'no message')}); lower them and solve it again"
        )
    return weights_of(names, lam)
