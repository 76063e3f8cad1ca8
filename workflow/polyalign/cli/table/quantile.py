"""`polyalign quantile`: a level in all the ways that a palette may write it."""

import argparse

from polyalign.cli.table.options import add_targets, asked_levels
from polyalign.cli.table.output import Answer
from polyalign.cli.table.reading import problem
from polyalign.errors import InputError
from polyalign.map.words import labels_of

HELP = "levels as quantiles, and quantiles as levels"
EXAMPLE = "quantile rewards.parquet --target humor=q80 --target helpful=0.5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_targets(parser)


def answer(options: argparse.Namespace) -> Answer:
    """Each target as a number, as shares of the base policy's rewards, in sd and in per cent."""
    from polyalign.palettes.table_commands import places

    asked = asked_levels(options.target)
    if labels_of(asked):
        raise InputError(
            "quantile: the levels of a group of prompts have no place among all samples; expected "
            "values of all prompts"
        )
    table = problem(options)
    target = table.target
    found = places(table.rewards, table.groups, target, scope=table.base.scope)
    ways = {
        "level": target,
        "below %": 100 * found.below,
        "at or below %": 100 * found.at_or_below,
        "quantile %": 100 * found.quantile,
        "sd from mean": found.in_sd,
        "% of spread": found.in_per_cent,
    }
    return Answer(
        {
            "values": table.names,
            "asked": [asked[row.of] for row in table.rows],
            "scope": table.base.scope,
            "level": target,
            **{name: getattr(found, name) for name in found._fields},
        },
        header=("value", "asked", *ways),
        rows=[
            (row.name, asked[row.of], *numbers)
            for row, numbers in zip(table.rows, zip(*ways.values(), strict=True), strict=True)
        ],
        below=[
            "quantile: write q and this number to ask for the level; - where no quantile is it",
            "spread: from q5 to q95 of the base policy's rewards, counted from the mean",
        ],
    )
