"""`polyalign score`: add the values of a config to somebody's own prompts and responses."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.cli import Parser
from polyalign.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from polyalign.study import Study


def main(argv: list[str] | None = None) -> int:
    """Score a table; 0, or 2 with one line on stderr on bad input.

    Raises:
        SystemExit: after `--help`.
    """
    try:
        return _score(make_parser().parse_args(argv))
    except InputError as error:
        print("polyalign: " + " ".join(str(error).split()), file=sys.stderr)
        return 2


def _score(options: argparse.Namespace) -> int:
    from polyalign.data.specs import imported_spec
    from polyalign.data.tables import check_output, read_settings, read_table, save_table
    from polyalign.study import load

    check_output(options.output)
    study = load(options.config)
    table = read_table(options.table)
    samples = _samples(options.table, table)
    values = _values(study, options.value, table)
    spec = None
    if options.table.endswith(".parquet"):
        spec = read_settings(options.table).get("spec")
    spec = spec or imported_spec(options.table, {})
    for value in values:
        print(f"{value}:", flush=True)
        table[value], spec["values"][value] = scored(study, value, samples)
        mean, sd = table[value].mean(), table[value].std(ddof=0)
        print(f"  mean {mean:.4g}, standard deviation {sd:.4g}", flush=True)
    save_table(table, options.output, {"spec": spec})
    print(f"{len(table)} rows in {options.output}")
    return 0


def scored(
    study: "Study", value: str, samples: "pd.DataFrame"
) -> tuple["pd.Series", dict[str, Any]]:
    """Rewards (n,) of samples, and what they depend on; all scores are kept in the study's cache.

    Args:
        study: the study, among whose scores they are looked up first.
        value: its value.
        samples: `prompt_id`, `candidate`, `prompt`, `response`, and maybe `end_token`.
    """
    from polyalign.paths import Paths
    from polyalign.rewards.annotate import annotate_value

    folder = Path(Paths(study.study).cache())
    found, identity = annotate_value(samples, value, study.scorer(value), folder)
    if lost := found.attrs["cut"]:
        print(f"  note: the model of {value} could not read {lost} of {len(found)} texts whole")
    return found[value], identity


def _samples(path: str, table: "pd.DataFrame") -> "pd.DataFrame":
    """The samples of a table, row by row.

    Raises:
        InputError: if it lacks prompts or responses.
    """
    from polyalign.data.keys import KEY
    from polyalign.data.rewards_table import read_rewards

    frame = read_rewards(path)
    if "prompt" not in table or "response" not in frame:
        raise InputError(
            f"{path}: expected the columns prompt and response; it has "
            f"{', '.join(map(str, table.columns))}: rename those with the texts"
        )
    frame["response"] = frame["response"].fillna("").astype(str)
    kept = [*KEY, "prompt", "response", *(["end_token"] if "end_token" in frame else [])]
    return frame[kept]


def _values(study: "Study", asked: list[str] | None, table: "pd.DataFrame") -> list[str]:
    """The values to score: those asked, or all that the table lacks.

    Raises:
        InputError: if there is no such value, it computes nothing, or it has a column already.
    """
    for value in asked or []:
        if value not in study.values:
            known = list(study.values)
            raise InputError(
                f"--value {value}: the config has {', '.join(known)}; {nearest(value, known)}"
            )
        if value in table:
            raise InputError(
                f"--value {value}: the table has this column, and none is overwritten; rename it, "
                "or leave the value out"
            )
    values = asked or [value for value in study.values if value not in table]
    if left := [value for value in study.values if value not in values and value in table]:
        print(f"note: the table has {', '.join(left)} already")
    if column := [value for value in values if study.values[value].kind == "column"]:
        raise InputError(
            f"{column[0]}: its kind is `column`, which computes nothing; expected a config whose "
            "values compute; name others with --value"
        )
    if not values:
        raise InputError("the table has all values of the config already; nothing is written")
    return values


def make_parser() -> Parser:
    """The arguments of this command."""
    parser = Parser(
        prog="polyalign score",
        description=__doc__,
        epilog="Equal texts are scored once, and every score is kept in results/STUDY/cache, so "
        "that a run that was stopped goes on where it was.\n"
        "example: polyalign score answers.csv --config my.yaml --value humor -o scored.parquet",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "table", help="prompts and responses: .parquet, .csv, .jsonl or .json; all columns are kept"
    )
    parser.add_argument("--config", required=True, help="config with the values")
    parser.add_argument(
        "--value",
        action="append",
        metavar="NAME",
        help="a value to score; repeat (default: all that the table has no column for)",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the new table: .parquet or .csv"
    )
    return parser
