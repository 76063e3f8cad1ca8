"""Options that several commands on a table share, and what they mean."""

import argparse
from collections.abc import Sequence
from math import isfinite, nan
from typing import TYPE_CHECKING

from polyalign.errors import InputError, nearest
from polyalign.map.words import WORDS, check_word

if TYPE_CHECKING:
    from polyalign.map.dual import Limits


def add_targets(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add `--target`, which `asked_levels` reads."""
    parser.add_argument(
        "--target",
        action="append",
        required=required,
        metavar="NAME=LEVEL",
        help=f"level of one value; repeat. LEVEL: {WORDS.replace('%', '%%')}. NAME: a value, "
        "share(VALUE > NUMBER), or either with [COLUMN=TEXT] for the prompts of a group",
    )


def add_values(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add `--value`."""
    parser.add_argument(
        "--value",
        action="append",
        required=required,
        metavar="NAME",
        help="a value to use; repeat" + ("" if required else " (default: all of the table)"),
    )


def add_lam(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add `--lam`, which `lam_of_names` reads."""
    parser.add_argument("--lam", action="append", metavar="NAME=NUMBER", help=f"{meaning}; repeat")


def lam_of_names(items: Sequence[str] | None, names: Sequence[str]) -> list[float]:
    """λ of each of the values in `names`; 0 for those that `--lam` does not name.

    Raises:
        InputError: if it names others, or gives something else than a number.
    """
    given = pairs(items or [], "NAME=NUMBER")
    lam = [number(name, given.pop(name, "0")) for name in names]
    if given:
        raise InputError(
            f"--lam: no value {', '.join(given)}; there are {', '.join(names)}; "
            f"{nearest(next(iter(given)), names)}"
        )
    return lam


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add `--min-ess` and `--max-norm`, which `limits_of` reads."""
    parser.add_argument(
        "--min-ess",
        type=float,
        help="least effective sample size that is supportable (default: 2 per prompt, 100 joint)",
    )
    parser.add_argument(
        "--max-norm", type=float, help="largest sum of lam that is supportable (default: any)"
    )


def limits_of(options: argparse.Namespace) -> "Limits":
    """What counts as supported; `InputError` on a limit that is not above 0."""
    from polyalign.map.dual import Limits

    for name, limit in (("--min-ess", options.min_ess), ("--max-norm", options.max_norm)):
        if limit is not None and not (limit > 0 and isfinite(limit)):
            raise InputError(f"{name}: {limit}; expected a number above 0")
    return Limits(min_ess=options.min_ess, max_norm=options.max_norm)


def asked_levels(items: Sequence[str]) -> dict[str, str]:
    """Key → word of what `--target` names; `InputError` names what is not understood.

    `NAME<=LEVEL` is the same as `NAME=<= LEVEL`.
    """
    levels: dict[str, str] = {}
    for name, word in pairs(items, "NAME=LEVEL").items():
        side = name[-1] if name[-1] in "<>" else ""
        key = name.removesuffix(side).rstrip("= ")
        text = f"{side}= {word.strip()}" if side else word
        try:
            if not key or key in levels:
                raise InputError("expected each value once; for two ends write between A and B")
            check_word(text)
        except InputError as error:
            raise InputError(f"--target {key or name}: {error}") from error
        levels[key] = text
    return levels


def pairs(items: Sequence[str], form: str) -> dict[str, str]:
    """Name → text of items `NAME=TEXT`; `InputError` says that `form` was expected."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, text = item.rpartition("=")  # a level has none, a name may
        if not (name and equals and text):
            raise InputError(f"{item!r} is not understood; expected {form}")
        if name in found:
            raise InputError(f"{name} is given twice; give it once")
        found[name] = text
    return found


def number(name: str, text: str) -> float:
    """The finite number that `--lam` gives a value."""
    try:
        found = float(text)
    except ValueError:
        found = nan
    if not isfinite(found):
        raise InputError(f"--lam {name}: {text!r}; expected a number")
    return found
