"""Words of a palette: floors, ceilings, bands, shares, groups of prompts, most within a KL budget.

The one rule: a palette becomes rows, and a row asks sign · E[column] >= sign · level. A floor has
sign 1, a ceiling −1, a band is one of each. The column is a value, an indicator of it for a share,
or for a group of prompts G the value there: level + (value − level) · 1(x in G) / P(G), which is
the group's own level where P(G) cannot change, and asks for the right mean where it can. All rows
are linear in the policy, so that `Base` with these columns and signs is all that the dual, its
certificate, the linear programmes and the intervals need. "Most within a budget" is a floor whose
level is found first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from polyalign.errors import InputError
from polyalign.map.base import (
    Base,
    base_probabilities,
    check_groups,
    resolve_scope,
)
from polyalign.map.dual import Solution, solve_on
from polyalign.map.maximal import highest_within
from polyalign.map.palette import parse_target
from polyalign.map.words import Row, column_of, rows_of


@dataclass(frozen=True)
class Problem:
    """A palette on a table: the base policy of its m rows, and what they ask.

    Attributes:
        rows: the m rows.
        rewards: (n, m) their columns, in the rewards' units.
        groups: (n,) prompt index of each sample.
        base: the base policy, whose "values" are the rows.
        target: (m,) levels asked.
        levels: row name → level, as resamples estimate it again; those of groups and of "most
            within a budget" are held.
        beyond: why no policy within the budget keeps the other levels; empty if one does.
    """

    rows: list[Row]
    rewards: np.ndarray
    groups: np.ndarray
    base: Base
    target: np.ndarray
    levels: dict[str, str | float]
    beyond: str = ""

    @property
    def names(self) -> list[str]:
        """Names of the rows."""
        return [row.name for row in self.rows]

    @property
    def signs(self) -> np.ndarray:
        """(m,) signs of the rows."""
        return np.array([row.sign for row in self.rows])

    def solve(self) -> Solution:
        """The solution with its slack; `infeasible` also where the budget does not suffice."""
        found = solve_on(self.base, self.target, names=self.names, slack=True)
        solved = found.status == "solved"
        return beyond_budget(found, self.beyond, self.rows) if self.beyond and solved else found


def beyond_budget(found: Solution, why: str, rows: Sequence[Row]) -> Solution:
    """The answer where the other levels alone need more than the budget; `why` says so."""
    target = np.where([row.budget is None for row in rows], found.target, np.nan)
    nothing = np.full(found.lam.size, np.nan)
    return replace(
        found, status="infeasible", verdict="infeasible", message=why, target=target,
        lam=nothing, realised=nothing, kl=np.nan, ess=np.nan, mean_ess=np.nan, max_weight=np.nan,
        gap=np.nan,
    )  # fmt: skip


def key_columns(keys: Sequence[str], columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """What λ weighs (n, k), by the keys of a palette.

    Args:
        keys: values and shares.
        columns: value → its cells (n,).

    Raises:
        InputError: on a group of prompts, or a value that is not there.
    """
    found = []
    for key in keys:
        column = column_of(key)
        if column.group is not None:
            raise InputError(
                f"{key}: λ of a group of prompts says nothing of other prompts; expected values "
                "and shares of all prompts"
            )
        found.append(column.numbers(np.asarray(_cells(columns, column.value), dtype=np.float64)))
    return np.stack(found, axis=1)


def pose(
    levels: Mapping[str, str | float],
    columns: Mapping[str, np.ndarray],
    groups: np.ndarray | None,
    scope: str = "auto",
) -> Problem:
    """A palette on a table of the base policy's samples.

    Args:
        levels: key → word.
        columns: column name → its n cells: the values, and what the groups of prompts name.
        groups: (n,) prompt index; None makes each row its own prompt.
        scope: `auto`, `prompt` or `joint`.

    Raises:
        InputError: on a word outside the grammar, a column that is not there, a group that no
            prompt is in or that parts a prompt, or a budget that does not bind.
    """
    rows = rows_of(levels)
    rewards, asked = columns_of(rows, columns, groups, scope)
    base = Base(rewards, groups, scope, signs=np.array([row.sign for row in rows]))
    scope = base.scope
    told = {row.name: asked.get(row.name, row.level) for row in rows}
    target = parse_target(told, rewards, list(told), groups, scope=scope)
    beyond = ""
    for i in (i for i, row in enumerate(rows) if row.budget is not None):
        target[i], beyond = highest_within(
            base, target, i, float(rows[i].budget or 0.0), rows[i].of
        )
        told[rows[i].name] = float(target[i])
    return Problem(rows, rewards, base.prompt, base, target, told, beyond)


def columns_of(
    rows: Sequence[Row],
    columns: Mapping[str, np.ndarray],
    groups: np.ndarray | None,
    scope: str,
) -> tuple[np.ndarray, dict[str, float]]:
    """The columns (n, m) of rows on a table, and row name → level of those of a group.

    Arguments and errors as in `pose`.
    """
    size = len(_cells(columns, rows[0].column.value))
    scope = resolve_scope(scope, size, groups)
    group, asked = check_groups(groups, size), dict[str, float]()
    parts = [_column(row, columns, group, scope, asked) for row in rows]
    return np.stack(parts, axis=1), asked


def _cells(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in columns:
        raise InputError(f"no column {name!r} in the table; it has {', '.join(columns)}")
    return columns[name]


def _column(
    row: Row,
    columns: Mapping[str, np.ndarray],
    group: np.ndarray,
    scope: str,
    asked: dict[str, float],
) -> np.ndarray:
    """The column (n,) of a row; the level of a group, which is part of it, is noted in `asked`."""
    what = row.column
    numbers = what.numbers(np.asarray(_cells(columns, what.value), dtype=np.float64))
    if what.group is None:
        return numbers
    if row.budget is not None:
        raise InputError(
            f"{row.of}: expected a level for a group of prompts; it cannot be maximised"
        )
    inside = np.asarray(_cells(columns, what.group[0])).astype(str) == what.group[1]
    found = group_of(what.group, row.level, numbers, inside, group, scope)
    asked[row.name] = found.level
    return found.column(numbers, inside)


@dataclass(frozen=True)
class Group:
    """What the column of a group of prompts is made of: the level asked and the group's P(G)."""

    level: float
    share: float

    def column(self, numbers: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """The column (n,) of samples with these numbers, some of them inside the group."""
        return self.level + np.where(inside, (numbers - self.level) / self.share, 0.0)


def group_of(
    named: tuple[str, str],
    level: str | float,
    numbers: np.ndarray,
    inside: np.ndarray,
    group: np.ndarray,
    scope: str,
) -> Group:
    """A group of prompts, with the level that is asked of it in numbers.

    Args:
        named: the column of the table that tells groups, and the group's text there.
        level: what is asked, in the grammar of levels.
        numbers: (n,) the value, of all samples.
        inside: (n,) mask of the samples in the group.
        group: (n,) prompt index.
        scope: `prompt` or `joint`.

    Raises:
        InputError: if no sample is in the group, or it parts a prompt.
    """
    _check_members(named, inside, group)
    (found,) = parse_target({"": level}, numbers[inside, None], [""], group[inside], scope=scope)
    share = base_probabilities(len(group), group, scope)[inside].sum()
    return Group(float(found), float(share))


def _check_members(named: tuple[str, str], inside: np.ndarray, group: np.ndarray) -> None:
    name, text = named
    count = np.bincount(group, inside)
    if not inside.any():
        raise InputError(f"no row has {text!r} in the column {name!r}; expected some: correct it")
    parted = np.flatnonzero((count > 0) & (count < np.bincount(group)))
    if parted.size:
        row = int(np.flatnonzero(group == parted[0])[0])
        raise InputError(
            f"the column {name!r} says {text!r} for some rows of a prompt and not for all (the "
            f"prompt of row {row}); expected one group for each prompt"
        )
