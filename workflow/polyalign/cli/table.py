"""The commands on a table of rewards: `solve`, `feasible`, `pareto`, `random`, and others.

Each command returns an `Answer`, which `show` prints as JSON or as text.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from textwrap import fill
from typing import TYPE_CHECKING, Any

from polyalign.data.keys import SAMPLE_COLUMNS
from polyalign.errors import InputError, nearest
from polyalign.map.palette import GRAMMAR, check_level

if TYPE_CHECKING:
    import numpy as np

    from polyalign.map.base import Base
    from polyalign.map.dual import Limits, Solution

STALLED, INFEASIBLE = 1, 3
"""Exit statuses."""

STREAM_CELLS = 50_000_000
"""Rows times values above which a Parquet table is read in parts."""

PRINTED_ROWS = 30
"""Rows of a table that are printed as text at most."""

SOLVE_KEYS = [
    "values",
    "target",
    "lam",
    "scope",
    "status",
    "verdict",
    "realised",
    "kl",
    "ess",
    "max_weight",
    "kkt",
    "slack",
    "iterations",
    "n_prompts",
    "n_samples",
    "message",
    "warnings",
]


@dataclass(frozen=True)
class Answer:
    """What a command prints.

    Attributes:
        record: all results, for `--json`.
        above: lines above the table.
        header: names of the table's columns; empty without a table.
        rows: rows of the table; numbers are rounded to four digits as text, and in full in files.
        below: lines below the table.
        status: exit status.
        printed: how many rows are printed as text at most.
    """

    record: dict[str, Any]
    above: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str | float]] = ()
    below: Sequence[str] = ()
    status: int = 0
    printed: int | None = None


@dataclass(frozen=True)
class Table:
    """The rows of a table that a command uses.

    Attributes:
        base: the base policy of the rewards.
        names: names of the k values.
        rewards: (n, k) rewards.
        groups: (n,) prompt index of each row.
    """

    base: "Base"
    names: list[str]
    rewards: "np.ndarray"
    groups: "np.ndarray"


EXAMPLES = {
    "solve": "solve rewards.parquet --target humor=q70 --target helpful=mean",
    "feasible": "feasible rewards.parquet --target humor=q90 --target helpful=q90",
    "pareto": "pareto rewards.csv --value humor --value helpful --kl 0.5 -o front.csv",
    "random": "random rewards.parquet --count 5000 -o palettes.parquet",
    "sequential": "sequential rewards.parquet --target humor=q70 --target helpful=q70 --rounds 5",
    "levels": "levels rewards.parquet --lam humor=1.5",
}
"""Command → an example of it."""

WITH_PALETTE = ("solve", "feasible", "sequential")
"""Commands whose exit status says what became of the palette."""


def add_commands(commands: Any, statuses: str) -> None:
    """Add the parsers of this module's commands; `options.run` runs one and returns its status."""

    def command(
        name: str, answer: Callable[[argparse.Namespace], Answer], text: str
    ) -> argparse.ArgumentParser:
        epilog = f"example: polyalign {EXAMPLES[name]}"
        epilog += f"\n\n{fill(statuses)}" if name in WITH_PALETTE else ""
        parser = _command(commands, name, text, epilog)
        parser.set_defaults(
            run=lambda options: show(answer(options), as_json=options.json, output=options.output)
        )
        return parser

    solved = command("solve", solve, "lam of a palette, with a certificate")
    _targets(solved)
    reached = command("feasible", feasible, "can a palette be reached, and how far")
    _targets(reached)
    reached.add_argument(
        "--min-ess",
        type=float,
        help="least effective sample size that is supportable (default: 2 per prompt, 100 joint)",
    )
    reached.add_argument(
        "--max-norm", type=float, help="largest sum of lam that is supportable (default: any)"
    )

    fronts = command("pareto", pareto, "exact trade-off front of 2 or 3 values")
    _values(fronts, required=True)
    fronts.add_argument(
        "--kl", type=float, default=1.0, help="nats to spend (default: %(default)s)"
    )
    fronts.add_argument(
        "--points", type=int, default=17, help="directions along an edge (default: %(default)s)"
    )

    drawn = command("random", random, "random palettes and the share that is feasible")
    _values(drawn, required=False)
    drawn.add_argument("--count", type=int, default=1000, help="palettes (default: %(default)s)")
    drawn.add_argument("--seed", type=int, default=1, help="of the draws (default: %(default)s)")
    drawn.add_argument(
        "--cap", type=float, default=10.0, help="largest sum of lam kept (default: %(default)s)"
    )

    rounds = command("sequential", sequential, "one value after the other")
    _targets(rounds)
    rounds.add_argument("--rounds", type=int, default=10, help="rounds (default: %(default)s)")
    rounds.add_argument(
        "--block",
        action="append",
        metavar="NAME,NAME",
        help="values aligned together; repeat in the order of the turns (default: one by one)",
    )

    tilted = command("levels", levels, "levels of the base policy, or of a lam")
    _values(tilted, required=False)
    tilted.add_argument(
        "--lam", action="append", metavar="NAME=NUMBER", help="tilt by this lam (default: none)"
    )


def show(answer: Answer, *, as_json: bool, output: str | None = None) -> int:
    """Print an answer, and write it to a file if one is named; return its exit status."""
    if output is not None:
        write(answer, output)
    if as_json:
        from polyalign.map.dual import plain

        print(json.dumps(plain(answer.record), indent=2, allow_nan=False))
        return answer.status
    for line in answer.above:
        print(line)
    if answer.header:
        _print_table(answer.header, answer.rows[: answer.printed])
    more = len(answer.rows) - (answer.printed or len(answer.rows))
    for line in [*answer.below, *([f"and {more} more; -o FILE has all"] if more > 0 else [])]:
        print(line)
    return answer.status


def write(answer: Answer, output: str) -> None:
    """Write an answer: all results as .json, or its table as .csv or .parquet.

    Raises:
        InputError: on another ending, or if the file cannot be written.
    """
    import pandas as pd

    from polyalign.data.tables import write_csv, write_table
    from polyalign.map.dual import plain
    from polyalign.runtime.files import write_json

    try:
        if output.endswith(".json"):
            write_json(output, plain(answer.record))
            return
        frame = pd.DataFrame(list(answer.rows), columns=list(answer.header))
        if output.endswith(".csv"):
            write_csv(frame, output)
        elif output.endswith(".parquet"):
            write_table(frame, output, {})
        else:
            raise InputError(
                f"-o {output}: unknown format; expected a .csv, .parquet or .json file; rename it"
            )
    except OSError as fault:
        raise InputError(
            f"-o {output}: cannot be written ({fault.strerror}); expected a file in a folder that "
            "can be written; name another"
        ) from fault


def solve(options: argparse.Namespace) -> Answer:
    """`polyalign solve`: the solution of a palette."""
    solution, warnings = _solve(options)
    record = {**solution.to_dict(), "warnings": warnings}
    columns = solution.base, solution.target, solution.realised, solution.lam
    facts = f"scope {solution.scope}, {solution.n_prompts} prompts, {solution.n_samples} samples"
    if solution.status != "infeasible":
        facts += f", {solution.iterations} iterations, KKT residual {solution.kkt:.1e}"
    return Answer(
        {key: record[key] for key in SOLVE_KEYS},
        above=[solution.message, *(f"warning: {warning}" for warning in warnings)],
        header=("value", "base", "target", "realised", "lam"),
        rows=list(zip(solution.values, *columns, strict=True)),
        below=[facts, *_caveat(solution.scope, solution.n_prompts)],
        status={"infeasible": INFEASIBLE, "stalled": STALLED}.get(solution.status, 0),
    )


def feasible(options: argparse.Namespace) -> Answer:
    """`polyalign feasible`: the slack of a palette, and how far it can be reached."""
    from polyalign.palettes.table_commands import find_reach

    limits = _limits(options)
    table, target = _problem(options)
    base, names = table.base, table.names
    reach = find_reach(base, target, names, limits)
    found = reach.feasibility
    infeasible = found.status == "infeasible"
    conflict = list(found.conflict) if infeasible else []
    supported = (
        f"{reach.supportable_share:.1%} supportable"
        if isfinite(reach.supportable_share)
        else "none supportable"
    )
    ways = {
        "nearest feasible": reach.nearest,
        "supportable": reach.supportable,
        "highest": reach.highest,
        "and supportable": reach.highest_supportable,
    }
    return Answer(
        {
            "values": names,
            "target": target,
            "scope": base.scope,
            "status": found.status,
            "slack": found.slack,
            "conflict": conflict,
            "share": reach.share,
            "nearest": reach.nearest,
            "supportable_share": reach.supportable_share,
            "supportable": reach.supportable,
            "highest": reach.highest,
            "highest_supportable": reach.highest_supportable,
        },
        above=[
            f"{found.status}: slack {found.slack:.4g} standard deviations, scope {base.scope}",
            *([f"in conflict: {', '.join(conflict)}"] if infeasible else []),
            f"of the way from base to target: {min(1.0, reach.share):.1%} feasible, {supported}",
        ],
        header=("value", "base", "target", *ways),
        rows=list(zip(names, base.center, target, *ways.values(), strict=True)),
        below=["highest: with the other values held at their targets", *_caveat_of(table)],
        status=INFEASIBLE if infeasible else 0,
    )


def pareto(options: argparse.Namespace) -> Answer:
    """`polyalign pareto`: the front of two or three values at a KL budget."""
    from polyalign.map.front import front

    table = _read(options, options.value)
    base, names = table.base, table.names
    found = front(base, list(range(len(names))), options.kl, points=options.points)
    rows = enumerate(zip(found.levels, found.lam, strict=True))
    return Answer(
        {
            "values": names,
            "scope": base.scope,
            "base": base.center,
            "lam": found.lam,
            "levels": found.levels,
            "kl": found.kl,
            "hypervolume": found.hypervolume,
        },
        above=[
            f"front at {options.kl:g} nats, scope {base.scope}; "
            f"hypervolume {found.hypervolume:.4g} (standard deviations, from the base levels)"
        ],
        header=("point", *names, *(f"lam {name}" for name in names)),
        rows=[(str(i), *level, *lam) for i, (level, lam) in rows],
        below=_caveat_of(table),
    )


def random(options: argparse.Namespace) -> Answer:
    """`polyalign random`: random palettes that are feasible, and their share."""
    from polyalign.map.search import random_palettes

    table = _read(options, options.value)
    names = table.names
    drawn = random_palettes(table.base, options.count, seed=options.seed, cap=options.cap)
    batch, kept = drawn.batch, drawn.kept
    indices = kept.nonzero()[0]
    return Answer(
        {
            "values": names,
            "scope": table.base.scope,
            "seed": options.seed,
            "cap": options.cap,
            "success": drawn.success,
            "feasible": float(batch.feasible.mean()),
            "targets": batch.targets[kept],
            "lam": batch.lam[kept],
            "kl": batch.kl[kept],
            "ess": batch.ess[kept],
            "reference_lam": drawn.reference,
            "reference_levels": drawn.reference_levels,
        },
        above=[
            f"{options.count} palettes: {batch.feasible.mean():.1%} feasible, {drawn.success:.1%} "
            f"feasible with a sum of lam of at most {options.cap:g}; scope {table.base.scope}"
        ],
        header=("palette", *names, *(f"lam {name}" for name in names), "KL", "ess"),
        rows=[
            (str(i), *batch.targets[i], *batch.lam[i], batch.kl[i], batch.ess[i]) for i in indices
        ],
        below=_caveat_of(table),
        printed=PRINTED_ROWS,
    )


def sequential(options: argparse.Namespace) -> Answer:
    """`polyalign sequential`: the levels after each round, and the simultaneous solution."""
    from polyalign.map.dual import solve_on
    from polyalign.map.sequential import sequential as align_in_turn

    table, target = _problem(options)
    base, names = table.base, table.names
    together = solve_on(base, target, names=names)
    record = {"values": names, "target": target, "scope": base.scope}
    if together.verdict == "infeasible":
        verdict = {"verdict": together.verdict, "message": together.message}
        return Answer(record | verdict, above=[together.message], status=INFEASIBLE)
    blocks = _blocks(options.block, names)
    rounds = align_in_turn(base, target, rounds=options.rounds, blocks=blocks, names=names)
    after = enumerate(zip(rounds.levels, rounds.kkt, strict=True), 1)
    return Answer(
        {
            **record,
            "lam": rounds.lam,
            "levels": rounds.levels,
            "dual": rounds.dual,
            "kkt": rounds.kkt,
            "simultaneous": {"lam": together.lam, "levels": together.realised},
        },
        header=("levels", *names, "KKT residual"),
        rows=[
            ("base", *base.center, nan),
            ("target", *target, nan),
            *((f"round {i}", *level, kkt) for i, (level, kkt) in after),
            ("at once", *together.realised, together.kkt),
        ],
        below=_caveat_of(table),
    )


def levels(options: argparse.Namespace) -> Answer:
    """`polyalign levels`: levels of the base policy, or of the policy that lam tilts."""
    import numpy as np

    from polyalign.palettes.table_commands import SHARES, level_table

    table = _read(options, options.value)
    base, names = table.base, table.names
    given = _pairs(options.lam or [], "NAME=NUMBER")
    lam = np.array([_number(name, given.pop(name, "0")) for name in names])
    if given:
        raise InputError(
            f"--lam: no value {', '.join(given)}; there are {', '.join(names)}; "
            f"{nearest(next(iter(given)), names)}"
        )
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
            f"scope {base.scope}, KL {found.kl:.4g} nats, effective samples {_cell(found.ess)}",
            *(_caveat_of(table) if lam.any() else []),
        ],
    )


def _command(commands: Any, name: str, text: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", help="rewards: .parquet, .csv, .jsonl, or MAP's .json")
    parser.add_argument(
        "--scope",
        default="auto",
        help="prompt, joint, or auto: prompt with 8 or more candidates per prompt",
    )
    parser.add_argument(
        "--split", default="all", choices=("all", "fit", "test"), help="rows to use"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write the table as .csv or .parquet, or all results as .json",
    )
    return parser


def _targets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        action="append",
        required=True,
        metavar="NAME=LEVEL",
        help=f"level of one value; repeat. LEVEL: {GRAMMAR.replace('%', '%%')}",
    )


def _values(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--value",
        action="append",
        required=required,
        metavar="NAME",
        help="a value to use; repeat" + ("" if required else " (default: all of the table)"),
    )


def _limits(options: argparse.Namespace) -> "Limits":
    from polyalign.map.dual import Limits

    for name, number in (("--min-ess", options.min_ess), ("--max-norm", options.max_norm)):
        if number is not None and not (number > 0 and isfinite(number)):
            raise InputError(f"{name}: {number}; expected a number above 0")
    return Limits(min_ess=options.min_ess, max_norm=options.max_norm)


def _solve(options: argparse.Namespace) -> tuple["Solution", list[str]]:
    from polyalign.map.cautions import cautions
    from polyalign.map.dual import solve_on

    levels = _levels(options)
    _check_names(levels)
    if _is_large(options.table, len(levels)):
        import pyarrow.parquet as pq

        from polyalign.data.rewards_table import check_prompts
        from polyalign.palettes.streamed import Stream, solve_stream

        columns = pq.read_schema(options.table).names
        check_prompts(columns, options.table)
        _say_derived_split(options, columns)
        stream = Stream(options.table, list(levels), options.scope, options.split)
        solution = solve_stream(stream, levels, slack=True)
        return solution, cautions(stream, levels, solution.target, list(levels))
    table, target = _problem(options)
    solution = solve_on(table.base, target, names=table.names, slack=True)
    return solution, cautions(table.base, levels, target, table.names)


def _is_large(table: str, values: int) -> bool:
    if not table.endswith(".parquet"):
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(pq.read_metadata(table).num_rows * values > STREAM_CELLS)
    except (OSError, pa.ArrowException):
        return False  # the reader of small tables says what is wrong with the file


def _problem(options: argparse.Namespace) -> tuple[Table, "np.ndarray"]:
    """The table, and the target (k,), of a command with `--target`."""
    from polyalign.map.palette import parse_target

    levels = _levels(options)
    table = _read(options, list(levels))
    scope = table.base.scope
    return table, parse_target(levels, table.rewards, table.names, table.groups, scope=scope)


def _read(options: argparse.Namespace, values: list[str] | None) -> Table:
    """The rows of the chosen split, with the given values (None: all of the table)."""
    from polyalign.data.rewards_table import (
        check_splits,
        columns_of,
        read_rewards,
        rewards_array,
        value_columns,
    )
    from polyalign.map.base import Base

    _check_names(values or [])
    frame = read_rewards(options.table, columns={name: name for name in values or []})
    if options.split != "all":
        check_splits(set(frame["split"]), options.table)
        _say_derived_split(options, columns_of(options.table))
        frame = frame[frame["split"] == options.split]
        if frame.empty:
            raise InputError(f"{options.table}: no rows in split {options.split!r}")
    names = values or value_columns(frame)
    if len(set(names)) != len(names):
        raise InputError(f"a value is named twice: {', '.join(names)}; name each once")
    if not names:
        raise InputError(f"{options.table}: no column of numbers to take as a value")
    rewards, groups = rewards_array(frame, names)
    return Table(Base(rewards, groups, options.scope), names, rewards, groups)


def _check_names(values: Iterable[str]) -> None:
    """Refuse columns of samples, which are in every table."""
    for name in values:
        if name in SAMPLE_COLUMNS:
            raise InputError(
                f"{name!r} is a column of every table of samples, and no value; expected a reward; "
                "for its levels copy it to a column of another name"
            )


def _say_derived_split(options: argparse.Namespace, columns: Iterable[str]) -> None:
    """Say so, on stderr, where the table does not say which rows a split has."""
    if options.split != "all" and "split" not in columns:
        print(
            f"note: {options.table} has no column 'split'; {options.split} is one half of the "
            "prompts, by a hash of their texts",
            file=sys.stderr,
        )


def _caveat_of(table: Table) -> list[str]:
    return _caveat(table.base.scope, len(set(table.groups.tolist())))


def _caveat(scope: str, prompts: int) -> list[str]:
    """What a reader must know of lam that weighs the samples of all prompts together."""
    if scope != "joint" or prompts < 2:
        return []
    return [
        "caution: scope joint weighs prompts too, so a level may be reached by another choice of "
        "prompts and not by better answers"
    ]


def _levels(options: argparse.Namespace) -> dict[str, str]:
    levels = _pairs(options.target, "NAME=LEVEL")
    for name, level in levels.items():
        try:
            check_level(level)
        except InputError as error:
            raise InputError(f"--target {name}: {error}") from error
    return levels


def _pairs(items: Sequence[str], form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in items:
        name, equals, text = item.rpartition("=")  # a level has none, a name may
        if not (name and equals and text):
            raise InputError(f"{item!r} is not understood; expected {form}")
        if name in pairs:
            raise InputError(f"{name} is given twice; give it once")
        pairs[name] = text
    return pairs


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = nan
    if not isfinite(number):
        raise InputError(f"--lam {name}: {text!r}; expected a number")
    return number


def _blocks(items: Sequence[str] | None, names: list[str]) -> list[list[int]] | None:
    if items is None:
        return None
    unknown = [name for item in items for name in item.split(",") if name not in names]
    if unknown:
        raise InputError(
            f"--block: no target for {', '.join(unknown)}; there are {', '.join(names)}"
        )
    return [[names.index(name) for name in item.split(",")] for item in items]


def _cell(number: float) -> str:
    """Four digits; large numbers without an exponent."""
    if not isfinite(number):
        return "-"
    return f"{number:.0f}" if 1e4 <= abs(number) < 1e9 else f"{number:.4g}"


def _print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    cells = [list(header)]
    cells += [[item if isinstance(item, str) else _cell(item) for item in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        first, *rest = (
            cell.ljust(w) if not i else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]).rstrip())
