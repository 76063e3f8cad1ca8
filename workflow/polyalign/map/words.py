"""The words of a palette as text: levels, floors, ceilings, bands, shares, groups, budgets.

No table is needed here, nor NumPy: plans and trainings read the words too, and need nothing else
of the mathematics. What the words ask of a table: `polyalign.map.palette`, `polyalign.map.problem`.
"""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

from polyalign.errors import InputError

NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
PATTERNS = {
    "number": re.compile(rf"([+-]?{NUMBER})"),
    "quantile": re.compile(rf"q({NUMBER})"),
    "quantile or mean": re.compile(rf"max\(\s*q({NUMBER})\s*,\s*mean\s*\)"),
    "mean": re.compile(rf"mean(?:([+-]{NUMBER})sd)?"),
    "percent": re.compile(rf"([+-]{NUMBER})%"),
    "max": re.compile(r"(max)"),
}
QUANTILES = ("quantile", "quantile or mean")
GRAMMAR = (
    "a number, q80 (a quantile of the base policy), mean, mean+0.5sd, mean-0.2sd, "
    "+10% (of the base's spread from q5 to q95), max, or max(q50, mean) (the larger of the two)"
)
SIDES = {">=": 1, "<=": -1}
BOUND = re.compile(r"(>=|<=)\s*(.+)")
BAND = re.compile(r"between\s+(.+?)\s+and\s+(.+)")
MOST = re.compile(rf"maximise\s+within\s+({NUMBER})\s+nats")
SHARE = re.compile(rf"share\((.+?)\s*(>=|<=|>|<)\s*([+-]?{NUMBER})\s*\)")
GROUP = re.compile(r"(.+)\[([^\[\]=]+)=([^\[\]]+)\]")
TESTS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
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

    def numbers(self, column: Any) -> Any:
        """The column (n,) of the value itself, or 1 where it passes the test and 0 elsewhere."""
        if self.test is None:
            return column
        compare, number = self.test
        return TESTS[compare](column, number).astype("float64")


@dataclass(frozen=True)
class Row:
    """One linear constraint: sign · E[column] >= sign · level.

    Attributes:
        name: its name: the key of the palette, with ` <=` for a ceiling; ` >=` where it has both.
        of: the key of the palette.
        sign: 1 for a floor, -1 for a ceiling.
        level: the level, in the grammar of levels; 0 where `budget` decides.
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


def parse_level(level: str | float) -> tuple[str, float]:
    """Kind of a level (a key of `PATTERNS`) and its number: 0 for a bare `mean` and for `max`.

    Raises:
        InputError: on a level outside the grammar.
    """
    text = str(level).strip()
    for kind, pattern in PATTERNS.items():
        match = pattern.fullmatch(text)
        if match is None or isinstance(level, bool):
            continue
        number = 0.0 if match[1] in (None, "max") else float(match[1])
        if kind in QUANTILES and 0 < number < 1:
            raise InputError(
                f"level {level!r} is a fraction; expected per cent: write q{100 * number:g}"
            )
        if kind in QUANTILES and number > 100:
            break
        if isfinite(number):
            return kind, number
    raise InputError(f"level {level!r} is not understood; expected {GRAMMAR}")


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
