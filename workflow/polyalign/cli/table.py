"""The command `polyalign`: the mathematics on a table of rewards, and the study's helpers.

Exit status: see `STATUSES`.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from math import isfinite, nan
from typing import TYPE_CHECKING, Any, NoReturn

from polyalign.errors import InputError
from polyalign.map.palette import GRAMMAR, check_level

if TYPE_CHECKING:
    import numpy as np

    from polyalign.map.base import Base
    from polyalign.map.dual import Limits, Solution

STALLED, INFEASIBLE = 1, 3
STATUSES = (
    "exit status: 0 done; 1 the palette is at the edge of what is feasible, and its lam is not "
    "certified; 2 bad input, one line on stderr; 3 the palette is infeasible"
)
STREAM_CELLS = 50_000_000  # rows x values above which a Parquet table is not loaded
PRINTED_ROWS = 30
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
]
# Subcommands that live in their own module: name → (module with main(argv) -> int, help).
MODULES = {
    "check": ("polyalign.cli.check", "check a study's config and print the plan"),
    "status": ("polyalign.cli.status", "what runs, what failed and why, what jobs took"),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose faults are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError instead of printing the usage."""
        raise InputError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in MODULES:
        module = importlib.import_module(MODULES[arguments[0]][0])
        return int(module.main(arguments[1:]))
    try:
        options = build_parser().parse_args(arguments)
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except InputError as fault:
        print("polyalign: " + " ".join(str(fault).split()), file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = Parser(
        prog="polyalign", description="Align a language model to several values.", epilog=STATUSES
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    solve = _command(commands, "solve", run_solve, "lam of a palette, with its certificate")
    _targets(solve)
    feasible = _command(commands, "feasible", run_feasible, "can a palette be reached, and how far")
    _targets(feasible)
    feasible.add_argument(
        "--min-ess",
        type=float,
        help="least effective sample size that is supportable (default: 2 a prompt, 100 joint)",
    )
    feasible.add_argument(
        "--max-norm", type=float, help="largest sum of lam that is supportable (default: any)"
    )

    pareto = _command(commands, "pareto", run_pareto, "exact trade-off front of 2 or 3 values")
    _values(pareto, required=True)
    pareto.add_argument(
        "--kl", type=float, default=1.0, help="nats to spend (default: %(default)s)"
    )
    pareto.add_argument(
        "--points", type=int, default=17, help="directions along an edge (default: %(default)s)"
    )

    random = _command(commands, "random", run_random, "random palettes and how many can be had")
    _values(random, required=False)
    random.add_argument("--count", type=int, default=1000, help="palettes (default: %(default)s)")
    random.add_argument("--seed", type=int, default=1, help="of the draws (default: %(default)s)")
    random.add_argument(
        "--cap", type=float, default=10.0, help="largest sum of lam kept (default: %(default)s)"
    )

    sequential = _command(commands, "sequential", run_sequential, "one value after the other")
    _targets(sequential)
    sequential.add_argument("--rounds", type=int, default=10, help="rounds (default: %(default)s)")
    sequential.add_argument(
        "--block",
        action="append",
        metavar="NAME,NAME",
        help="values aligned together; repeat in the order of the turns (default: one by one)",
    )

    levels = _command(commands, "levels", run_levels, "levels of the base policy, or of a lam")
    _values(levels, required=False)
    levels.add_argument(
        "--lam", action="append", metavar="NAME=NUMBER", help="tilt by this lam (default: none)"
    )
    for name, (_, text) in MODULES.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


def run_solve(options: argparse.Namespace) -> int:
    """`polyalign solve`: print the solution of a palette."""
    solution = _solve(options)
    record = solution.to_dict()
    if options.json:
        _print_json({key: record[key] for key in SOLVE_KEYS})
    else:
        print(solution.message)
        rows = zip(
            solution.values,
            solution.base,
            solution.target,
            solution.realised,
            solution.lam,
            strict=True,
        )
        _print_table(("value", "base", "target", "realised", "lam"), rows)
        facts = (
            f"scope {solution.scope}, {solution.n_prompts} prompts, {solution.n_samples} samples"
        )
        if solution.status != "infeasible":
            facts += f", {solution.iterations} iterations, KKT residual {solution.kkt:.1e}"
        print(facts)
    return {"infeasible": INFEASIBLE, "stalled": STALLED}.get(solution.status, 0)


def run_feasible(options: argparse.Namespace) -> int:
    """`polyalign feasible`: print the slack of a palette, and how far one may go."""
    from polyalign.map.dual import plain
    from polyalign.map.feasibility import feasibility_on, furthest_on_segment
    from polyalign.map.search import highest_levels, supportable_share

    limits = _limits(options)
    base, names, target = _problem(options)
    answer = feasibility_on(base, target, names)
    share = furthest_on_segment(base, target)
    nearest = base.center + min(1.0, share) * (target - base.center)
    supported = supportable_share(base, target, limits)
    highest, highest_supportable = highest_levels(base, target, limits)
    supportable = base.center + supported * (target - base.center)
    infeasible = answer.status == "infeasible"
    record = {
        "values": names,
        "target": target.tolist(),
        "scope": base.scope,
        "status": answer.status,
        "slack": answer.slack,
        "conflict": answer.conflict if infeasible else [],
        "share": share,
        "nearest": nearest,
        "supportable_share": supported,
        "supportable": supportable,
        "highest": highest,
        "highest_supportable": highest_supportable,
    }
    if options.json:
        _print_json(plain(record))
    else:
        print(f"{answer.status}: slack {answer.slack:.4g} standard deviations, scope {base.scope}")
        if infeasible:
            print(f"in conflict: {', '.join(answer.conflict)}")
        print(
            f"of the way from base to target: {min(1.0, share):.1%} feasible, "
            + (f"{supported:.1%} supportable" if isfinite(supported) else "none supportable")
        )
        ways = ("nearest feasible", "supportable", "highest alone", "and supportable")
        header = ("value", "base", "target", *ways)
        columns = (base.center, target, nearest, supportable, highest, highest_supportable)
        _print_table(header, zip(names, *columns, strict=True))
        print("highest alone: of one value, the others held at their targets")
    return INFEASIBLE if infeasible else 0


def run_pareto(options: argparse.Namespace) -> int:
    """`polyalign pareto`: print the front of two or three values at a KL budget."""
    from polyalign.map.front import front

    base, names, _ = _table(options, options.value)
    answer = front(base, list(range(len(names))), options.kl, points=options.points)
    if options.json:
        _print_json(
            {
                "values": names,
                "scope": base.scope,
                "base": base.center.tolist(),
                "lam": answer.lam.tolist(),
                "levels": answer.levels.tolist(),
                "kl": answer.kl.tolist(),
                "hypervolume": answer.hypervolume,
            }
        )
    else:
        print(
            f"front at {options.kl:g} nats, scope {base.scope}; "
            f"hypervolume {answer.hypervolume:.4g} (standard deviations, from the base levels)"
        )
        header = ("point", *names, *(f"lam {name}" for name in names))
        rows = (
            (str(i), *level, *lam)
            for i, (level, lam) in enumerate(zip(answer.levels, answer.lam, strict=True))
        )
        _print_table(header, rows)
    return 0


def run_random(options: argparse.Namespace) -> int:
    """`polyalign random`: print random palettes that can be had, and the share that can."""
    from polyalign.map.search import random_palettes

    base, names, _ = _table(options, options.value)
    drawn = random_palettes(base, options.count, seed=options.seed, cap=options.cap)
    batch, kept = drawn.batch, drawn.kept
    if options.json:
        _print_json(
            {
                "values": names,
                "scope": base.scope,
                "seed": options.seed,
                "cap": options.cap,
                "success": drawn.success,
                "feasible": float(batch.feasible.mean()),
                "targets": batch.targets[kept].tolist(),
                "lam": batch.lam[kept].tolist(),
                "kl": batch.kl[kept].tolist(),
                "ess": batch.ess[kept].tolist(),
                "reference_lam": drawn.reference.tolist(),
                "reference_levels": drawn.reference_levels.tolist(),
            }
        )
    else:
        print(
            f"{options.count} palettes: {batch.feasible.mean():.1%} feasible, {drawn.success:.1%} "
            f"feasible with a sum of lam of at most {options.cap:g}; scope {base.scope}"
        )
        header = ("palette", *names, *(f"lam {name}" for name in names), "KL", "ess")
        indices = kept.nonzero()[0]
        rows = (
            (str(i), *batch.targets[i], *batch.lam[i], batch.kl[i], batch.ess[i])
            for i in indices[:PRINTED_ROWS]
        )
        _print_table(header, rows)
        if indices.size > PRINTED_ROWS:
            print(f"and {indices.size - PRINTED_ROWS} more; --json prints all")
    return 0


def run_sequential(options: argparse.Namespace) -> int:
    """`polyalign sequential`: print the levels after each round, and the simultaneous solution."""
    from polyalign.map.dual import solve_on
    from polyalign.map.sequential import sequential

    base, names, target = _problem(options)
    together = solve_on(base, target, names=names)
    if together.verdict == "infeasible":
        record = {"values": names, "target": target.tolist(), "scope": base.scope}
        verdict = {"verdict": together.verdict, "message": together.message}
        if options.json:
            _print_json(record | verdict)
        else:
            print(together.message)
        return INFEASIBLE
    blocks = _blocks(options.block, names)
    rounds = sequential(base, target, rounds=options.rounds, blocks=blocks, names=names)
    if options.json:
        _print_json(
            {
                "values": names,
                "target": target.tolist(),
                "scope": base.scope,
                "lam": rounds.lam.tolist(),
                "levels": rounds.levels.tolist(),
                "dual": rounds.dual.tolist(),
                "kkt": rounds.kkt.tolist(),
                "simultaneous": {
                    "lam": together.lam.tolist(),
                    "levels": together.realised.tolist(),
                },
            }
        )
    else:
        rows: list[tuple[Any, ...]] = [("base", *base.center, ""), ("target", *target, "")]
        for i, (level, kkt) in enumerate(zip(rounds.levels, rounds.kkt, strict=True)):
            rows.append((f"round {i + 1}", *level, f"{kkt:.1e}"))
        rows.append(("at once", *together.realised, f"{together.kkt:.1e}"))
        _print_table(("levels", *names, "KKT residual"), rows)
    return 0


def run_levels(options: argparse.Namespace) -> int:
    """`polyalign levels`: print levels of the base policy, or of the policy that lam tilts."""
    import numpy as np

    from polyalign.map.base import base_probabilities
    from polyalign.map.diagnostics import assess
    from polyalign.map.palette import weighted_quantile

    frame, names = _read(options, options.value)
    base, names, rewards = _table(options, names, frame)
    given = _pairs(options.lam or [], "NAME=NUMBER")
    lam = np.array([_number(name, given.pop(name, "0")) for name in names])
    if given:
        raise InputError(f"--lam: no value {', '.join(given)}; there are {', '.join(names)}")
    groups = frame_groups(frame)
    answer = assess(rewards, lam, groups=groups, scope=base.scope)
    probability = base_probabilities(len(rewards), groups, base.scope)
    shares = (50, 60, 70, 80, 90, 99)
    quantiles = [
        [weighted_quantile(column, probability, share / 100) for share in shares]
        for column in rewards.T
    ]
    if options.json:
        _print_json(
            {
                "values": names,
                "scope": base.scope,
                "base": base.center.tolist(),
                "sd": base.scale.tolist(),
                "quantiles": {
                    f"q{share}": [row[i] for row in quantiles] for i, share in enumerate(shares)
                },
                "lam": lam.tolist(),
                "levels": answer.levels.tolist(),
                "level_quantiles": answer.quantiles.tolist(),
                "kl": answer.kl,
                "ess": answer.ess,
                "max_weight": answer.max_weight,
            }
        )
    else:
        header = ("value", "base", "sd", *(f"q{share}" for share in shares), "lam", "level")
        header += ("quantile",)
        found = [f"q{100 * share:.4g}" for share in answer.quantiles]
        rows = (
            (name, base.center[i], base.scale[i], *quantiles[i], lam[i], answer.levels[i], found[i])
            for i, name in enumerate(names)
        )
        _print_table(header, rows)
        print(f"scope {base.scope}, KL {answer.kl:.4g} nats, effective samples {answer.ess:.4g}")
    return 0


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, epilog=STATUSES
    )
    parser.add_argument("table", help="rewards: .parquet, .csv, .jsonl, or MAP's .json")
    parser.add_argument(
        "--scope", default="auto", help="prompt, joint, or auto: prompt from 8 candidates a prompt"
    )
    parser.add_argument(
        "--split", default="all", choices=("all", "fit", "test"), help="rows to use"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
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


def _solve(options: argparse.Namespace) -> "Solution":
    from polyalign.map.dual import solve_on

    levels = _levels(options)
    if _is_large(options.table, len(levels)):
        import pyarrow.parquet as pq

        from polyalign.data.rewards_table import check_prompts
        from polyalign.palettes.streamed import solve_parquet

        check_prompts(pq.read_schema(options.table).names, options.table)
        return solve_parquet(
            options.table, levels, scope=options.scope, split=options.split, slack=True
        )
    base, names, target = _problem(options)
    return solve_on(base, target, names=names, slack=True)


def _is_large(table: str, values: int) -> bool:
    if not table.endswith(".parquet"):
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(pq.read_metadata(table).num_rows * values > STREAM_CELLS)
    except (OSError, pa.ArrowException):
        return False  # the reader of small tables says what is wrong with the file


def _problem(options: argparse.Namespace) -> tuple["Base", list[str], "np.ndarray"]:
    """Base policy, values and target of a command with `--target`."""
    from polyalign.map.palette import parse_target

    levels = _levels(options)
    frame, names = _read(options, list(levels))
    base, names, rewards = _table(options, names, frame)
    target = parse_target(levels, rewards, names, frame_groups(frame), scope=base.scope)
    return base, names, target


def _read(options: argparse.Namespace, values: list[str] | None) -> tuple[Any, list[str]]:
    """The table's rows of the chosen split, and the values to use."""
    from polyalign.data.rewards_table import read_rewards, value_columns

    frame = read_rewards(options.table, columns={name: name for name in values or []})
    if options.split != "all":
        frame = frame[frame["split"] == options.split]
        if frame.empty:
            raise InputError(f"{options.table}: no rows in split {options.split!r}")
    names = values or value_columns(frame)
    if len(set(names)) != len(names):
        raise InputError(f"a value is named twice: {', '.join(names)}; name each once")
    if not names:
        raise InputError(f"{options.table}: no column of numbers to take as a value")
    return frame, names


def _table(
    options: argparse.Namespace, values: list[str] | None, frame: Any = None
) -> tuple["Base", list[str], "np.ndarray"]:
    """Base policy, values and rewards of a table."""
    from polyalign.data.rewards_table import rewards_array
    from polyalign.map.base import Base

    if frame is None:
        frame, values = _read(options, values)
    assert values is not None
    rewards, groups = rewards_array(frame, values)
    return Base(rewards, groups, options.scope), values, rewards


def frame_groups(frame: Any) -> "np.ndarray":
    """Prompt index (n,) of the rows of a rewards table."""
    from polyalign.data.rewards_table import rewards_array

    return rewards_array(frame, [])[1]


def _levels(options: argparse.Namespace) -> dict[str, str]:
    levels = _pairs(options.target, "NAME=LEVEL")
    for name, level in levels.items():
        try:
            check_level(level)
        except InputError as fault:
            raise InputError(f"--target {name}: {fault}") from fault
    return levels


def _pairs(items: Sequence[str], form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in items:
        name, equals, text = item.partition("=")
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


def _print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record, indent=2, allow_nan=False))


def _cell(number: float) -> str:
    return f"{number:.4g}" if isfinite(number) else "-"


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


if __name__ == "__main__":
    sys.exit(main())
