"""`polyalign quantile`: a level in all the ways that a palette may write it."""

import argparse

from polyalign.cli.table.options import add_targets
from polyalign.cli.table.output import Answer
from polyalign.cli.table.reading import problem

HELP = "levels as quantiles, and quantiles as levels"
EXAMPLE = "quantile rewards.parquet --target humor=q80 --target helpful=0.5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_targets(parser)


def answer(options: argparse.Namespace) -> Answer:
    """Each target as a number, as shares of the base policy's rewards, in sd and in per cent."""
    from polyalign.palettes.table_commands import places

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
    asked = dict(item.rpartition("=")[::2] for item in options.target)
    return Answer(
        {
            "values": table.names,
            "asked": [asked[name] for name in table.names],
            "scope": table.base.scope,
            "level": target,
            **{name: getattr(found, name) for name in found._fields},
        },
        header=("value", "asked", *ways),
        rows=[
            (name, asked[name], *row)
            for name, row in zip(table.names, zip(*ways.values(), strict=True), strict=True)
        ],
        below=[
            "quantile: write q and this number to ask for the level; - where no quantile is it",
            "spread: from q5 to q95 of the base policy's rewards, counted from the mean",
        ],
    )
