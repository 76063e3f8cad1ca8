"""`polyalign diagnose`: how much a palette or a λ on a table can be trusted."""

import argparse
from collections.abc import Mapping
from math import inf, nan
from typing import TYPE_CHECKING, Any

from polyalign.cli.table.options import add_limits, asked_levels, limits_of
from polyalign.cli.table.output import INFEASIBLE, STALLED, Answer, cell
from polyalign.cli.table.reading import (
    caveat,
    check_names,
    read_frame,
    read_whole,
    with_labels,
)
from polyalign.cli.table.weights import add_weights, given_lam, which
from polyalign.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

HELP = "how far to trust a palette or a lam: intervals, support, candidates that suffice, warnings"
EXAMPLE = "diagnose rewards.parquet --target humor=q70 --target helpful=mean"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_weights(parser)
    add_limits(parser)
    parser.add_argument(
        "--resamples",
        type=int,
        default=200,
        help="resamples of the prompts behind the intervals; 0: delta method "
        "(default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of those (default: %(default)s)")


def answer(options: argparse.Namespace) -> Answer:
    """The diagnostics of a palette, or of a λ by the levels that it gives on the table."""
    from polyalign.map.words import labels_of, values_of
    from polyalign.palettes.diagnose import diagnose_palette
    from polyalign.palettes.solve import solve_palette

    if options.resamples < 0 or options.resamples == 1:
        raise InputError(f"--resamples: {options.resamples}; expected 0, or 2 and more")
    limits = limits_of(options)
    given = None if which(options) == "target" else given_lam(options)
    levels: dict[str, Any] = asked_levels(options.target) if given is None else dict(given)
    check_names(values_of(levels))
    pool = with_labels(options.table, _pool(options, values_of(levels)), labels_of(levels))
    if given is not None:
        levels = _levels_at(pool, given, options.scope)
    record = solve_palette(pool, "given", levels, scope=options.scope)
    if record["status"] != "solved":
        status = INFEASIBLE if record["status"] == "infeasible" else STALLED
        return Answer(record, above=[record["message"]], status=status)
    if given is not None and record["lam_bias"] is None:
        record["lam_bias"] = []  # nothing was fitted, so that nothing is biased
    found = diagnose_palette(
        pool, record, limits=limits, resamples=options.resamples, seed=options.seed
    )
    if given is not None:
        found |= _as_given(found, given)
    return _shown(found)


def _pool(options: argparse.Namespace, values: list[str]) -> "pd.DataFrame":
    """The table, whose `fit` rows are those asked for; with `--split fit` it keeps the others."""
    if options.split == "fit":
        return read_whole(options, values)
    return read_frame(options, values).assign(split="fit")


def _levels_at(
    pool: "pd.DataFrame", lam: Mapping[str, float], scope: str
) -> dict[str, str | float]:
    """Key → level of the policy that λ tilts, on the `fit` rows: the palette that has this λ."""
    import numpy as np

    from polyalign.palettes.solve import fit_problem

    base = fit_problem(pool, dict.fromkeys(lam, 0.0), scope).base
    found = base.raw(base.moments(np.array(list(lam.values())) * base.scale)[1]).tolist()
    levels = zip(lam.items(), found, strict=True)
    return {key: level if weight >= 0 else f"<= {level!r}" for (key, weight), level in levels}


def _as_given(found: Mapping[str, Any], lam: Mapping[str, float]) -> dict[str, Any]:
    """What is not estimated where λ is given: λ itself, and what was asked."""
    unknown = [None] * len(lam)
    nothing = dict.fromkeys(("lam_se", "lam_low", "lam_high"), unknown)
    weights = list(lam.values())
    return {
        "levels": None,
        "lam": weights,
        "lam_decode": weights,
        "lam_train": unknown,
        "lam_bias": None,
        "interval": {**found["interval"], **nothing},
    }


def _shown(found: Mapping[str, Any]) -> Answer:
    names, interval, test = found["values"], found["interval"], found["test"]
    columns: dict[str, Any] = {"base": found["base"]}
    if found["levels"] is not None:
        columns["target"] = found["target"]
    columns["lam"] = found["lam"]
    if found["levels"] is not None:
        columns |= {"lam low": interval["lam_low"], "lam high": interval["lam_high"]}
    columns |= {
        "level": found["realised"],
        "level low": interval["level_low"],
        "level high": interval["level_high"],
    }
    if test is not None:
        columns |= {"on test": test["expected"], "its se": test["se"]}
    return Answer(
        dict(found),
        above=[found["message"], *(f"warning: {warning}" for warning in found["warnings"])],
        header=("value", *columns),
        rows=[
            (name, *(nan if number is None else number for number in row))
            for name, row in zip(names, zip(*columns.values(), strict=True), strict=True)
        ],
        below=[*_facts(found), *caveat(found["scope"], found["n_prompts"])],
    )


def _facts(found: Mapping[str, Any]) -> list[str]:
    """Support, candidates that suffice, and margins, a line each."""
    interval, budget, edges = found["interval"], found["budget"], found["edges"]
    lines = [
        f"scope {found['scope']}, {found['n_prompts']} prompts, {found['n_samples']} samples; "
        f"effective samples {cell(found['ess'])}, KL {found['kl']:.4g} nats"
    ]
    if interval["method"] == "bootstrap":
        lines.append(
            f"95 % intervals by resampled prompts; feasible in {interval['solved']:.1%} of them"
        )
    else:
        lines.append("95 % intervals by the delta method; levels are taken as given")
    if budget is not None:
        enough = f"about {budget['suffices']}" if budget["suffices"] else "more than a billion"
        lines.append(f"candidates per prompt: {budget['candidates']:.3g}; suffice: {enough}")
    if edges is not None:
        shares = [
            inf if edges[name] is None else edges[name] for name in ("supportable", "feasible")
        ]
        lines.append(
            "of the gain from base to target, supported up to {:.0%}, feasible up to {:.0%}".format(
                *shares
            )
        )
    if found["pareto_k"] is not None:
        lines.append(f"tail of the weights (Pareto k): {found['pareto_k']:.2g}; reliable below 0.7")
    return lines
