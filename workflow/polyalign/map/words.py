"""Words of a palette: floors, ceilings, bands, shares, groups of prompts, most within a KL budget.

The one rule: a palette becomes rows, and a row asks sign · E[column] >= sign · level. A floor has
sign 1, a ceiling −1, a band is one of each. The column is a value, an indicator of it for a share,
or for a group of prompts G the value there: level + (value − level) · 1(x in G) / P(G), which is
the group's own level where P(G) cannot change, and asks for the right mean where it can. All rows
are linear in the policy, so that `Base` with these columns and signs is all that the dual, its
certificate, the linear programmes and the intervals need. "Most within a budget" is a floor whose
level is found first.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import NamedTuple

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
from polyalign.map.palette import GRAMMAR, NUMBER, parse_level, parse_target

SIDES = {">=": 1, "<=": -1}
BOUND = re.compile(r"(>=|<=)\s*(.+)")
BAND = re.compile(r"between\s+(.+?)\s+and\s+(.+)")
MOST = re.compile(rf"maximise\s+within\s+({NUMBER})\s+nats")
SHARE = re.compile(rf"share\((.+?)\s*(>=|<=|>|<)\s*([+-]?{NUMBER})\s*\)")
GROUP = re.compile(r"(.+)\[([^\[\]=]+)=([^\[\]]+)\]")
TESTS = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}
WORDS = (
    f"a level ({GRAMMAR}), `<= LEVEL`, `between LEVEL and LEVEL`, or `maximise within NUMBER nats`"
)


class Column(NamedTuple):
    """What the key of a palette stands for.

    Attributes:
        value: the value.
        test: a comparison and a number, for the share of samples that pass it; None: the level.
        group: column of the table and its text, for the prompts of a group; None: all prompts.
    """

    value: str
    test: tuple[str, float] | None = None
    group: tuple[str, str] | None = None

    def numbers(self, column: np.ndarray) -> np.ndarray:
        """The column (n,) of the value itself, or 1 where it passes the test and 0 elsewhere."""
        if self.test is None:
            return column
        compare, number = self.test
        return TESTS[compare](column, number).astype(np.float64)


@dataclass(frozen=True)
class Row:
    """One linear constraint: sign · E[column] >= sign · level.

    Attributes:
        name: its name: the key of the palette, with ` <=` for a ceiling; ` >=` where it has both.
        of: the key of the palette.
        sign: 1 for a floor, -1 for a ceiling.
        level: the level, in the grammar of `polyalign.map.palette`; 0 where `budget` decides.
        budget: nats within which the level must be the highest; None: `level` says it.
    """

    name: str
    of: str
    sign: int
    level: str | float
    budget: float | None = None

    @property
    def column(self) -> Column:
        """What it bounds."""
        return column_of(self.of)


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
    numbers = dict.fromkeys(("kl", "ess", "mean_ess", "max_weight", "gap"), np.nan)
    return replace(
        found, status="infeasible", verdict="infeasible", message=why, target=target,
        lam=nothing, realised=nothing, **numbers,
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


def check_word(word: str | float) -> None:
    """Raise InputError unless `word` may stand behind the key of a palette."""
    for row in rows_of({"": word}):
        if row.budget is None:
            parse_level(row.level)


def rows_of(levels: Mapping[str, str | float]) -> list[Row]:
    """The rows of a palette, in its order.

    Args:
        levels: key → word.

    Raises:
        InputError: on a level outside the grammar, or several values to maximise.
    """
    rows = [row for of, word in levels.items() for row in _rows(of, word)]
    most = [row.of for row in rows if row.budget is not None]
    if len(most) > 1:
        raise InputError(f"{' and '.join(most)} are to be maximised; expected one value at most")
    return rows


def column_of(key: str) -> Column:
    """What the key of a palette stands for: a value, a share, either for a group of prompts."""
    group = None
    if found := GROUP.fullmatch(key):
        key, group = found[1].strip(), (found[2].strip(), found[3].strip())
    if share := SHARE.fullmatch(key):
        return Column(share[1].strip(), (share[2], float(share[3])), group)
    return Column(key, None, group)


def only_floors(levels: Mapping[str, str | float]) -> bool:
    """Whether a palette asks for lowest levels alone: no ceilings, bands or budgets."""
    return all(row.sign > 0 and row.budget is None for row in rows_of(levels))


def values_of(keys: Iterable[str]) -> list[str]:
    """The values that keys of a palette stand for, each once, in order."""
    return list(dict.fromkeys(column_of(key).value for key in keys))


def labels_of(keys: Iterable[str]) -> list[str]:
    """The columns that say in which group a prompt is, each once, in order."""
    groups = (column_of(key).group for key in keys)
    return list(dict.fromkeys(group[0] for group in groups if group))


def key_of(row: str) -> str:
    """The key of the palette that a row's name is made of."""
    return re.sub(r" [<>]=$", "", row)


def weights_of(rows: Sequence[str], lam: Sequence[float]) -> dict[str, float]:
    """Key → weight of its column in λ·r: the sum over its rows; that of a ceiling is <= 0.

    Args:
        rows: names of the m rows.
        lam: their λ (m,), in 1 / the rewards' units.
    """
    found = dict.fromkeys(map(key_of, rows), 0.0)
    for row, weight in zip(rows, lam, strict=True):
        found[key_of(row)] += float(weight)
    return found


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


def _rows(of: str, word: str | float) -> list[Row]:
    text = word.strip() if isinstance(word, str) else word
    if isinstance(text, str) and (band := BAND.fullmatch(text)):
        low, high = band.groups()
        kinds = parse_level(low), parse_level(high)
        if kinds[0][0] == kinds[1][0] and kinds[0][1] > kinds[1][1]:
            raise InputError(f"{word!r}: {low} is above {high}; expected the lower level first")
        return [Row(f"{of} >=", of, 1, low), Row(f"{of} <=", of, -1, high)]
    if isinstance(text, str) and (bound := BOUND.fullmatch(text)):
        sign = SIDES[bound[1]]
        return [Row(of if sign > 0 else f"{of} <=", of, sign, bound[2])]
    if isinstance(text, str) and (most := MOST.fullmatch(text)):
        budget = float(most[1])
        if not (budget > 0 and isfinite(budget)):
            raise InputError(f"{word!r}: expected a budget above 0 nats")
        return [Row(of, of, 1, 0.0, budget)]
    if isinstance(text, str) and text.startswith(("between", "maximise")):
        raise InputError(f"{word!r} is not understood; expected {WORDS}")
    return [Row(of, of, 1, word)]


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
    inside = _members(what.group, columns, group, scope)
    level = parse_target(
        {row.name: row.level}, numbers[inside, None], [row.name], group[inside], scope=scope
    )
    asked[row.name] = float(level[0])
    share = float(base_probabilities(len(group), group, scope)[inside].sum())
    return level[0] + np.where(inside, (numbers - level[0]) / share, 0.0)


def _members(
    named: tuple[str, str], columns: Mapping[str, np.ndarray], group: np.ndarray, scope: str
) -> np.ndarray:
    """Mask (n,) of the samples whose prompt is in a group."""
    name, text = named
    inside = np.asarray(_cells(columns, name)).astype(str) == text
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
    return inside
