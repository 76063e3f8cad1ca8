"""`polyalign levels`: levels of the base policy, or of a λ."""

import argparse

from polyalign.cli.table.options import add_lam, add_values, lam_of_names
from polyalign.cli.table.output import Answer, cell
from polyalign.cli.table.reading import caveat_of, read

HELP = "levels of the base policy, or of a lam"
EXAMPLE = "levels rewards.parquet --lam humor=1.5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_values(parser, required=False)
    add_lam(parser, "tilt by this lam (default: none)")


def answer(options: argparse.Namespace) -> Answer:
    """`polyalign levels`: levels of the base policy, or of the policy that lam tilts."""
    import numpy as np

    from polyalign.palettes.table_commands import SHARES, level_table

    table = read(options, options.value)
    base, names = table.base, table.names
    lam = np.array(lam_of_names(options.lam, names))
    found = level_table(base, table.rewards, table.groups, lam)
    quantiles = [f"q{share}" for share in SHARES]
    realised = [f"q{100 * share:.4g}" for share in found.level_quantiles]
    columns = found.base, found.sd, *found.quantiles.T, lam, found.levels, realised
    return Answer(
        {
            "values": names,
            "scope": base.scope,
            "base": found.base,
            "sd": found.sd,
            "quantiles": dict(zip(quantiles, found.quantiles.T, strict=True)),
            "lam": lam,
            "levels": found.levels,
            "level_quantiles": found.level_quantiles,
            "kl": found.kl,
            "ess": found.ess,
            "max_weight": found.max_weight,
        },
        header=("value", "base", "sd", *quantiles, "lam", "level", "quantile"),
        rows=list(zip(names, *columns, strict=True)),
        below=[
            f"scope {base.scope}, KL {found.kl:.4g} nats, effective samples {cell(found.ess)}",
            *(caveat_of(table) if lam.any() else []),
        ],
    )
