"""What one reader looks at: table, scope, units and palette, as it stands in the page's address."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import yaml

from polyalign.app.exploring import UNITS, Move, Problem
from polyalign.app.tables import Table
from polyalign.errors import InputError


@dataclass(frozen=True)
class View:
    """What one reader looks at.

    Attributes:
        table: name of the table.
        scope: `prompt` or `joint`.
        levels: the palette: value → level.
        units: of the sliders, one of `UNITS`.
        beyond: whether sliders go beyond what is feasible, to each value's own highest level.
    """

    table: str
    scope: str
    levels: dict[str, str]
    units: str = "raw"
    beyond: bool = False

    def query(self) -> str:
        """The view as the query of an address."""
        pairs = [("table", self.table), ("scope", self.scope), ("units", self.units)]
        pairs += [("beyond", "1")] if self.beyond else []
        pairs += [("level", f"{name}={level}") for name, level in self.levels.items()]
        return urlencode(pairs)

    def with_level(self, name: str, level: str) -> "View":
        """The view with another level of one value."""
        return replace(self, levels={**self.levels, name: level})


def start(tables: Sequence[Table]) -> View:
    """The first table, with every value at the base policy's mean."""
    table = tables[0]
    return View(table.name, table.scopes[0], dict.fromkeys(table.names, "mean"))


def read_query(tables: Sequence[Table], pairs: Sequence[tuple[str, str]]) -> View:
    """The view of an address.

    Args:
        tables: the tables there are.
        pairs: keys and values of the query, as `View.query` writes them; keys may be left out.

    Raises:
        InputError: on an unknown table, scope, unit or value, or a level outside the grammar.
    """
    first: dict[str, str] = {}
    levels: dict[str, str] = {}
    for key, text in pairs:
        if key == "level":
            name, _, level = text.rpartition("=")
            levels[name] = level
        else:
            first[key] = text
    view = start(tables)
    table = find(tables, first.get("table", view.table))
    view = replace(
        view,
        table=table.name,
        scope=first.get("scope", table.scopes[0]),
        units=first.get("units", "raw"),
        beyond=first.get("beyond") == "1",
        levels=levels or view.levels,
    )
    if view.units not in UNITS:
        raise InputError(f"units {view.units!r}; expected one of {', '.join(UNITS)}")
    # Refuses all else that is wrong.
    table.problem(view.scope, list(view.levels)).target(view.levels)
    return view


def find(tables: Sequence[Table], name: str) -> Table:
    """The table of a name.

    Raises:
        InputError: if there is none.
    """
    for table in tables:
        if table.name == name:
            return table
    there = ", ".join(one.name for one in tables)
    raise InputError(f"no table {name!r}; expected one of {there}")


def as_yaml(levels: Mapping[str, str]) -> str:
    """The palette as a section of `config.yaml`."""
    numbers = {name: yaml.safe_load(level) for name, level in levels.items()}
    section = {"palettes": {"explored": numbers}}
    return str(yaml.safe_dump(section, sort_keys=False, allow_unicode=True))


def as_command(table: Table, view: View) -> str:
    """The command that prints the same numbers."""
    words = ["polyalign", "solve", *table.command, "--scope", view.scope]
    for name, level in view.levels.items():
        words += ["--target", f"{name}={level}"]
    return shlex.join(words)


def as_rows(problem: Problem, move: Move) -> dict[str, Sequence[object]]:
    """The numbers of a palette as columns of a table, one row per value."""
    nothing = [float("nan")] * len(move.names)
    found, near = move.solution, move.interval
    return {
        "value": move.names,
        "level": list(move.levels.values()),
        "base": move.base.center.tolist(),
        "asked": move.target.tolist(),
        "realised": nothing if found is None else found.realised.tolist(),
        "realised_low": nothing if near is None else near.level_low.tolist(),
        "realised_high": nothing if near is None else near.level_high.tolist(),
        "quantile": move.realised_share.tolist(),
        "lam": nothing if found is None else found.lam.tolist(),
        "lam_low": nothing if near is None else near.lam_low.tolist(),
        "lam_high": nothing if near is None else near.lam_high.tolist(),
        "highest_alone": problem.top.tolist(),
        "verdict": [move.verdict] * len(move.names),
        "scope": [move.base.scope] * len(move.names),
        "kl": nothing if found is None else [found.kl] * len(move.names),
        "ess": nothing if found is None else [found.ess] * len(move.names),
    }
