"""The tables that palettes are explored on: of files, or of a study's pool."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from polyalign.app.exploring import Levels, Move, Problem
from polyalign.data.rewards_table import read_rewards, rewards_array, value_columns
from polyalign.data.tables import read_table
from polyalign.errors import InputError
from polyalign.families import POOL
from polyalign.map.words import only_floors
from polyalign.palettes.solve import fit_rows
from polyalign.paths import Paths
from polyalign.study import Study

KEPT = 8
"""Problems of a table that are kept: each holds a copy of its rewards."""


@dataclass(frozen=True)
class Table:
    """The rows of a rewards table that palettes are explored on.

    Attributes:
        name: what the reader sees.
        command: what `polyalign solve` is told, to read the same rows.
        names: its values.
        labels: value → label.
        rewards: (n, k).
        groups: (n,) prompt index.
        palettes: palettes of the study: name → levels.
    """

    name: str
    command: list[str]
    names: list[str]
    labels: Mapping[str, str]
    rewards: np.ndarray
    groups: np.ndarray
    palettes: Mapping[str, dict[str, str]] = field(default_factory=dict)
    _problems: dict[tuple[str, ...], Problem] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def scopes(self) -> list[str]:
        """Scopes that differ on this table, the one of `auto` first."""
        each = self.rewards.shape[0] / (int(self.groups.max()) + 1)
        if each == 1:
            return ["joint"]
        return ["prompt", "joint"] if each >= 8 else ["joint", "prompt"]

    def problem(self, scope: str, values: Sequence[str]) -> Problem:
        """Some of the values in one scope; made once.

        Raises:
            InputError: on no values, unknown ones, or another scope.
        """
        unknown = [name for name in values if name not in self.names]
        if unknown or not values or len(set(values)) != len(values):
            raise InputError(
                f"{self.name}: no value {', '.join(unknown) or 'is chosen'}; expected some of "
                f"{', '.join(self.names)}, each once"
            )
        if scope not in self.scopes:
            raise InputError(
                f"{self.name}: scope {scope!r}; expected one of {', '.join(self.scopes)}"
            )
        chosen = [name for name in self.names if name in values]
        with self._lock:
            key = (scope, *chosen)
            if key not in self._problems:
                columns = [self.names.index(name) for name in chosen]
                if len(self._problems) >= KEPT:
                    del self._problems[next(iter(self._problems))]
                self._problems[key] = Problem(self.rewards[:, columns], self.groups, scope, chosen)
            return self._problems[key]

    def move(self, scope: str, levels: Levels) -> Move:
        """What a palette does in one scope.

        Raises:
            InputError: on unknown values, levels or scopes.
        """
        problem = self.problem(scope, list(levels))
        return problem.move({name: levels[name] for name in problem.names})


def compared(tables: Sequence[Table], levels: Levels) -> list[tuple[str, str, Move]]:
    """The same palette on every table, in every scope: name of the table, scope, move."""
    found = []
    for table in tables:
        found += [(table.name, scope, table.move(scope, levels)) for scope in table.scopes]
    return found


def read_tables(paths: Sequence[str]) -> list[Table]:
    """Rewards tables by path; all rows, as `polyalign solve` takes them.

    Raises:
        InputError: on a file that is no rewards table.
    """
    return [_table(path, [path], read_rewards(path), {}, {}) for path in paths]


def with_common_values(tables: Sequence[Table]) -> list[Table]:
    """The tables with the values alone that all of them have, in the order of the first one.

    Raises:
        InputError: if there is no such value, or two tables have one name.
    """
    common = [name for name in tables[0].names if all(name in one.names for one in tables)]
    if not common:
        having = "; ".join(f"{one.name} has {', '.join(one.names)}" for one in tables)
        raise InputError(f"the tables have no value in common: {having}; expected one at least")
    names = [one.name for one in tables]
    if len(set(names)) < len(names):
        raise InputError(f"a table is named twice: {', '.join(names)}; name each once")
    return [
        replace(
            one,
            names=common,
            rewards=one.rewards[:, [one.names.index(name) for name in common]],
            palettes={
                name: levels for name, levels in one.palettes.items() if set(levels) <= set(common)
            },
        )
        for one in tables
    ]


def read_study(study: Study) -> Table:
    """The rows of a study's pool that λ is fitted on, with the study's palettes of floors alone.

    Raises:
        InputError: if the study has no pool yet.
    """
    path = Paths(study.study).rewards(POOL)
    if not Path(path).is_file():
        raise InputError(
            f"{path}: there is no such file; expected the pool of the study; run it with "
            "`polyalign run`"
        )
    frame = fit_rows(read_table(path))
    only = study.evaluation.evaluate_only
    dropped = [name for name in value_columns(frame) if name not in study.values or name in only]
    frame = frame.drop(columns=dropped)
    levels = {
        name: {value: str(level) for value, level in palette.items()}
        for name, palette in study.configured.items()
        if only_floors(palette)
    }
    command = [path, "--split", "fit"]
    return _table(f"study {study.study}", command, frame, study.labels, levels)


def _table(
    name: str,
    command: list[str],
    frame: pd.DataFrame,
    labels: Mapping[str, str],
    palettes: Mapping[str, dict[str, str]],
) -> Table:
    names = value_columns(frame)
    if not names:
        raise InputError(f"{name}: no column of numbers to take as a value")
    rewards, groups = rewards_array(frame, names)
    full = {value: labels.get(value, value) for value in names}
    return Table(name, command, names, full, rewards, groups, palettes)
