"""Palettes on Parquet tables larger than memory: sums of k and k^2 numbers, batch by batch.

Each Newton step is one pass over the value columns. A thinned sample that fits in memory gives the
first guess, so that few passes are needed; the certificate is that of the whole table.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pandas.util import hash_array, hash_pandas_object

from polyalign.data.keys import split_of
from polyalign.data.rewards_table import (
    TEST_SHARE,
    as_numbers,
    check_keys,
    check_missing,
    check_splits,
)
from polyalign.errors import InputError
from polyalign.finite import LARGEST, usable
from polyalign.map.base import (
    PROMPT_SCOPE_CANDIDATES,
    SAME,
    SCOPES,
    Base,
    Units,
    resolve_scope,
)
from polyalign.map.dual import DEFAULT_LIMITS, TOLERANCE, Limits, Solution, maximise, solve_on
from polyalign.map.maximal import highest_within
from polyalign.map.palette import parse_target
from polyalign.map.problem import Group, beyond_budget, group_of
from polyalign.map.words import Row, column_of, key_of, labels_of, parse_level, rows_of

BATCH_ROWS = 131_072
SAMPLE_ROWS = 60_000


class Stream(Units):
    """Value columns of a Parquet table, read batch by batch.

    Args:
        path: the table; prompts are identified by its column `prompt_id`, else `prompt`; without
            both, each row is a prompt; in scope `prompt` the rows of a prompt must be adjacent.
        values: names of the k rows of a palette (`polyalign.map.words`): values, shares, either for
            a group of prompts, and any with ` <=` for a ceiling.
        scope: `prompt`, `joint` or `auto`.
        split: `all`, or the rows whose column `split` says so; without that column it is derived
            from `prompt`, as `polyalign.data.rewards_table.read_rewards` does.
        asked: row → level, of the rows whose column is made about it: those of groups of prompts.
        report: told, with every batch, the number of the pass over the file and the share of the
            rows that this pass has read.

    Raises:
        InputError: if the file or a column is missing, no rows are left, a cell is not a finite
            number, a (prompt_id, candidate) occurs twice, or a prompt's rows are not adjacent where
            they must be.
    """

    def __init__(
        self,
        path: str | Path,
        values: list[str],
        scope: str,
        split: str = "all",
        report: Callable[[int, float], None] | None = None,
        asked: Mapping[str, str | float] | None = None,
    ) -> None:
        self.report, self.passes = report, 0
        self.path, self.values, self.split = Path(path), list(values), split
        self.columns = [column_of(key_of(name)) for name in self.values]
        named = zip(self.values, self.columns, strict=True)
        if grouped := [name for name, one in named if one.group and name not in (asked or {})]:
            raise InputError(
                f"{path}: {grouped[0]!r} has no level; expected one, since a group of prompts "
                "cannot be maximised, and its λ says nothing of other prompts: ask for a level"
            )
        self.labels = labels_of(map(key_of, self.values))
        self.members: dict[str, Group] = {}
        self.reads = list(dict.fromkeys(column.value for column in self.columns))
        self.signs = np.array([-1.0 if name.endswith(" <=") else 1.0 for name in self.values])
        if scope not in SCOPES:
            raise InputError(f"scope: {scope!r} is unknown; expected one of {', '.join(SCOPES)}")
        if not self.path.is_file():
            raise InputError(f"{path}: no such table; check the path")
        try:
            names = pq.read_schema(self.path).names
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: cannot be read as parquet ({error}); restore it") from error
        needed = [*self.reads, *self.labels]
        self.derived = split != "all" and "split" not in names and "prompt" in names
        if split != "all" and not self.derived:
            needed.append("split")
        self.id = next((name for name in ("prompt_id", "prompt") if name in names), None)
        if scope == "prompt" and self.id is None:
            needed.append("prompt_id")
        absent = [name for name in needed if name not in names]
        if absent:
            raise InputError(f"{path}: no column {', '.join(absent)}; it has {', '.join(names)}")
        self.k = len(self.values)
        self.mask: np.ndarray | None = None
        self._check("candidate" in names)
        if self.labels:
            self._find_groups(scope, asked or {})
        self._survey(scope)
        self.last: tuple[np.ndarray, float, float, float] | None = None

    def _check(self, candidates: bool) -> None:
        """First pass: refuse what `read_rewards` refuses, in every split, and derive the split.

        It keeps eight bytes per row where there are keys, and one per row where the split is
        derived.
        """
        names = pq.read_schema(self.path).names
        for name in ("prompt", "prompt_id"):
            if name in names:
                self._refuse_missing(name)
        if self.split != "all" and not self.derived:
            found: set[str] = set()
            for piece in self._pieces(["split"]):
                found |= set(pc.unique(piece["split"]).to_pylist())
            check_splits(found, self.path)
        keyed = candidates and self.id is not None
        columns = list(self.reads)
        columns += [self.id, "candidate"] if self.id is not None and keyed else []
        columns += ["prompt"] if self.derived else []
        rows_in_file = pq.read_metadata(self.path).num_rows
        hashes = np.empty(rows_in_file if keyed else 0, dtype=np.uint64)
        inside: list[np.ndarray] = []
        row = 0
        for piece in self._pieces(list(dict.fromkeys(columns))):
            for name in self.reads:
                numbers = _cells(piece[name])
                bad = np.flatnonzero(~usable(numbers))
                if bad.size:
                    raise InputError(
                        f"{self.path}: value '{name}' is {piece[name][int(bad[0])].as_py()!r} in "
                        f"row {row + bad[0]}; expected a finite number of at most "
                        f"{LARGEST:g}: score it again or remove the row"
                    )
            if keyed:
                hashes[row : row + piece.num_rows] = _hashes(self._keys(piece))
            if self.derived:
                texts = piece["prompt"].combine_chunks().dictionary_encode()
                splits = [split_of(str(text), TEST_SHARE) for text in texts.dictionary.to_pylist()]
                inside.append((np.array(splits) == self.split)[texts.indices.to_numpy()])
            row += piece.num_rows
        if self.derived:
            self.mask = np.concatenate(inside)
        if keyed:
            self._refuse_repeated(hashes)

    def _find_groups(self, scope: str, asked: Mapping[str, str | float]) -> None:
        """Levels and shares of the groups of prompts; one column at a time is in memory."""
        keys = []
        for piece in self._rows([self.id] if self.id else self.reads[:1]):
            ids = piece[self.id].combine_chunks() if self.id else None
            size = piece.num_rows
            keys.append(
                np.arange(size)
                if ids is None
                else hash_array(ids.to_numpy(zero_copy_only=False), categorize=False)
            )
        prompts = np.arange(sum(map(len, keys)))
        if self.id:
            prompts = pd.factorize(np.concatenate(keys))[0]
        scope = resolve_scope(scope, len(prompts), prompts)
        for name, column in zip(self.values, self.columns, strict=True):
            if column.group is None:
                continue
            numbers, inside = [], []
            for piece in self._rows([column.value, column.group[0]]):
                numbers.append(column.numbers(_cells(piece[column.value])))
                inside.append(_inside(piece, column.group))
            told = np.concatenate(numbers), np.concatenate(inside)
            self.members[name] = group_of(column.group, asked[name], *told, prompts, scope)

    def _refuse_missing(self, name: str) -> None:
        """Check that no cell of a column is missing; most files say so without being read."""
        with pq.ParquetFile(self.path) as file:
            facts = file.metadata
            paths = [facts.schema.column(i).path for i in range(facts.num_columns)]
            known = file.schema_arrow.field(name).type in (pa.string(), pa.large_string()) and all(
                found is not None and found.null_count == 0
                for found in (
                    facts.row_group(i).column(paths.index(name)).statistics
                    for i in range(facts.num_row_groups)
                )
            )
        if known:
            return
        missing = [
            piece[name].is_null(nan_is_null=True).to_numpy() for piece in self._pieces([name])
        ]
        check_missing(np.concatenate(missing), name, self.path)

    def _refuse_repeated(self, hashes: np.ndarray) -> None:
        """Check in another pass the keys whose hashes (n,) repeat; sorts the hashes in place."""
        hashes.sort()
        twice = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
        if not twice.size:
            return
        suspects, row = [], 0
        for piece in self._pieces([str(self.id), "candidate"]):
            keys = self._keys(piece).set_index(row + np.arange(piece.num_rows))
            suspects.append(keys[np.isin(_hashes(keys), twice)])
            row += piece.num_rows
        check_keys(pd.concat(suspects), self.path)

    def _keys(self, piece: pa.Table) -> pd.DataFrame:
        ids = piece[str(self.id)].to_pandas().astype(str)
        return pd.DataFrame({"prompt_id": ids, "candidate": piece["candidate"].to_pandas()})

    def _pieces(self, columns: list[str]) -> Iterator[pa.Table]:
        # With `pre_buffer`, the default, what was read stays in memory until the file is closed.
        self.passes, row = self.passes + 1, 0
        with pq.ParquetFile(self.path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                row += batch.num_rows
                if self.report is not None:
                    self.report(self.passes, row / file.metadata.num_rows)
                yield pa.Table.from_batches([batch])

    def _survey(self, scope: str) -> None:
        """Second pass: counts, base level, scale, and a thinned sample of whole prompts."""
        n = prompts = 0
        mean, square = np.zeros(self.k), np.zeros(self.k)
        share_mean, share_square = np.zeros(self.k), np.zeros(self.k)
        log_counts, widest = 0.0, np.zeros(self.k)
        offset: np.ndarray | None = None
        rows_in_file = pq.read_metadata(self.path).num_rows
        hashes = np.empty(rows_in_file if self.id is not None else 0, dtype=np.uint64)
        stride = max(1, rows_in_file // SAMPLE_ROWS)
        sample: list[np.ndarray] = []
        sample_groups: list[np.ndarray] = []
        for table, starts, ids in self._batches(self.id is not None):
            # Sums are taken about the first row, so that a large mean costs no digits.
            offset = table[:, 0].copy() if offset is None else offset
            shifted = table - offset[:, None]
            counts = np.diff(np.append(starts, table.shape[1]))
            weight = np.repeat(1.0 / counts, counts)
            mean += shifted.sum(axis=1)
            square += np.einsum("ij,ij->i", shifted, shifted)
            share_mean += shifted @ weight
            share_square += np.einsum("ij,ij,j->i", shifted, shifted, weight)
            log_counts += float(np.log(counts).sum())
            highest = np.maximum.reduceat(table, starts, axis=1)
            highest -= np.minimum.reduceat(table, starts, axis=1)
            widest = np.maximum(widest, highest.max(axis=1))
            if ids is not None:
                found = hash_array(ids.to_numpy(zero_copy_only=False), categorize=False)
                hashes[prompts : prompts + starts.size] = found
            picked = np.flatnonzero((prompts + np.arange(starts.size)) % stride == 0)
            mask = np.zeros(starts.size, dtype=bool)
            mask[picked] = True
            sample.append(table[:, np.repeat(mask, counts)].T)
            sample_groups.append(np.repeat(prompts + picked, counts[picked]))
            n += table.shape[1]
            prompts += starts.size
        if offset is None:
            raise InputError(f"{self.path}: no rows in split {self.split!r}; expected some")
        self.n_prompts = n if self.id is None else _distinct(hashes[:prompts])
        adjacent = self.n_prompts == prompts
        if scope == "auto":
            scope = "prompt" if n >= PROMPT_SCOPE_CANDIDATES * self.n_prompts else "joint"
        self.scope, self.n_samples = scope, n
        if scope == "prompt" and not adjacent:
            raise InputError(
                f"{self.path}: the rows of a prompt are not adjacent; sort the table by prompt"
            )
        first, second, size = (
            (share_mean, share_square, prompts) if scope == "prompt" else (mean, square, n)
        )
        spread = np.sqrt(np.maximum(second / size - (first / size) ** 2, 0.0))
        self.center = offset + first / size
        tiny = 1e-12 * np.maximum(np.abs(self.center), np.abs(offset))
        self.constant = ~(spread > tiny)
        spread = np.where(self.constant, 1.0, spread)
        self.scale = spread * self.signs
        alike = widest <= SAME * (spread + np.abs(self.center))
        self.fixed = self.constant | (alike & (scope == "prompt"))
        self.max_kl = log_counts / prompts if scope == "prompt" else float(np.log(n))
        self.sample = np.concatenate(sample)
        self.sample_groups = np.concatenate(sample_groups)

    def _batches(self, prompts: bool) -> Iterator[tuple[np.ndarray, np.ndarray, pa.Array | None]]:
        """Values (k, rows), first row of each prompt, and the prompts' ids; prompts are whole.

        Without `prompts` each row counts as a separate prompt.
        """
        if not prompts:
            for piece in self._rows([*self.reads, *self.labels]):
                if piece.num_rows:
                    yield self.numbers(piece), np.arange(piece.num_rows), None
            return
        for whole, starts in self.whole_prompts([*self.reads, *self.labels]):
            yield self.numbers(whole), starts, whole[self.id].take(starts)

    def whole_prompts(self, columns: list[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Rows of the split in pieces of whole prompts, and the first row of each prompt in them.

        Args:
            columns: names of the columns to read, besides that of the prompts.
        """
        key = str(self.id)
        rest: pa.Table | None = None
        for piece in self._rows([*columns, key]):
            piece = piece if rest is None else pa.concat_tables([rest, piece])
            starts = _starts(piece[key])
            if not starts.size:
                continue
            # The last prompt may go on in the next batch.
            rest = piece.slice(int(starts[-1]))
            if starts.size > 1:
                yield piece.slice(0, int(starts[-1])), starts[:-1]
        if rest is not None and rest.num_rows:
            yield rest, np.zeros(1, dtype=np.intp)

    def _rows(self, columns: list[str]) -> Iterator[pa.Table]:
        """Batches of the rows of the split; they have the column `split` where the file has it."""
        filtered = self.split != "all" and self.mask is None
        row = 0
        for piece in self._pieces(list(dict.fromkeys([*columns, *["split"] * filtered]))):
            rows, row = slice(row, row + piece.num_rows), row + piece.num_rows
            if self.mask is not None:
                piece = piece.filter(pa.array(self.mask[rows]))
            elif filtered:
                piece = piece.filter(pc.equal(piece["split"], self.split))
            yield piece

    def numbers(self, table: pa.Table) -> np.ndarray:
        """The columns (k, n) of the rows of the palette, for n rows of the table."""
        numbers = np.empty((self.k, table.num_rows))
        for row, name, column in zip(numbers, self.values, self.columns, strict=True):
            row[:] = column.numbers(_cells(table[column.value]))
            if column.group:
                row[:] = self.members[name].column(row, _inside(table, column.group))
        return numbers

    def moments(self, lam: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and Hessian of mean log Z at standardised lam: one pass over the file."""
        return self._joint(lam) if self.scope == "joint" else self._prompt(lam)

    def rough(self) -> None:
        """Nothing is cheaper than the moments: reading the file takes the time."""
        return

    def _standardised(self, table: np.ndarray) -> np.ndarray:
        table -= self.center[:, None]
        table /= self.scale[:, None]
        return table

    def _joint(self, lam: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        top, total, squares = -np.inf, 0.0, 0.0
        first, second = np.zeros(self.k), np.zeros((self.k, self.k))
        for table, _, _ in self._batches(False):
            z = self._standardised(table)
            logits = lam @ z
            highest = max(top, float(logits.max()))
            shrink = np.exp(top - highest)
            first, second = first * shrink, second * shrink
            total, squares, top = total * shrink, squares * shrink**2, highest
            logits -= top
            e = np.exp(logits, out=logits)
            total += float(e.sum())
            squares += float(e @ e)
            first += z @ e
            z *= np.sqrt(e)
            second += z @ z.T
        level = first / total
        ess = total**2 / squares
        self.last = (lam.copy(), ess, ess, 1.0 / total)
        log_z = top + np.log(total) - np.log(self.n_samples)
        return float(log_z), level, second / total - np.outer(level, level)

    def _prompt(self, lam: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        value, first, hessian = 0.0, np.zeros(self.k), np.zeros((self.k, self.k))
        prompts, ess, largest = 0, 0.0, 0.0
        for table, starts, _ in self._batches(True):
            z = self._standardised(table)
            counts = np.diff(np.append(starts, z.shape[1]))
            logits = lam @ z
            top = np.maximum.reduceat(logits, starts)
            logits -= np.repeat(top, counts)
            p = np.exp(logits, out=logits)
            total = np.add.reduceat(p, starts)
            p /= np.repeat(total, counts)
            level = np.add.reduceat(z * p, starts, axis=1)
            z -= np.repeat(level, counts, axis=1)
            z *= np.sqrt(p)
            hessian += z @ z.T
            first += level.sum(axis=1)
            value += float((top + np.log(total / counts)).sum())
            ess += float((1.0 / np.add.reduceat(p * p, starts)).sum())
            largest += float(np.maximum.reduceat(p, starts).sum())
            prompts += starts.size
        self.last = (lam.copy(), ess, ess / prompts, largest / prompts)
        return value / prompts, first / prompts, hessian / prompts

    def support(self, lam: np.ndarray) -> tuple[float, float, float]:
        """Effective sample size, its mean per prompt, and largest weight, as `Base.support`."""
        if self.last is None or not np.array_equal(self.last[0], lam):
            self.moments(lam)
        assert self.last is not None
        return self.last[1:]

    def best(self, direction: np.ndarray) -> np.ndarray:
        """Standardised level (k,) of the policy that takes the best along `direction` (k,)."""
        top, level, prompts = -np.inf, np.zeros(self.k), 0
        for table, starts, _ in self._batches(self.scope == "prompt"):
            z = self._standardised(table)
            score = direction @ z
            if self.scope == "joint":
                row = int(score.argmax())
                if score[row] > top:
                    top, level, prompts = float(score[row]), z[:, row].copy(), 1
                continue
            counts = np.diff(np.append(starts, z.shape[1]))
            highest = np.repeat(np.maximum.reduceat(score, starts), counts)
            rows = np.flatnonzero(score == highest)
            first = np.searchsorted(rows, starts)
            level += z[:, rows[first]].sum(axis=1)
            prompts += starts.size
        return level / prompts

    def target(self, levels: Mapping[str, str | float]) -> np.ndarray:
        """Target (k,) of a palette; reads one column at a time for quantiles, spreads and `max`.

        Args:
            levels: row name → level.

        Raises:
            InputError: on a level outside the grammar.
        """
        groups = self._groups() if self.scope == "prompt" else None
        result = []
        for i, name in enumerate(self.values):
            if name in self.members:
                result.append(self.members[name].level)
                continue
            kind, number = parse_level(levels[name])
            if kind == "number":
                result.append(number)
                continue
            if kind == "mean":
                result.append(float(self.center[i] + number * abs(self.scale[i])))
                continue
            column = np.concatenate([t[i] for t, _, _ in self._batches(groups is not None)])
            level = {name: levels[name]}
            found = parse_target(level, column[:, None], [name], groups, scope=self.scope)
            result.append(float(found[0]))
        return np.array(result)

    def _groups(self) -> np.ndarray:
        sizes = [
            np.diff(np.append(starts, table.shape[1])) for table, starts, _ in self._batches(True)
        ]
        counts = np.concatenate(sizes)
        return np.repeat(np.arange(counts.size), counts)


def solve_parquet(
    path: str | Path,
    levels: Mapping[str, str | float],
    *,
    scope: str = "auto",
    split: str = "all",
    tolerance: float = TOLERANCE,
    limits: Limits = DEFAULT_LIMITS,
    slack: bool = False,
) -> Solution:
    """`polyalign.map.solve` on a Parquet table that is not loaded.

    Args:
        path: the table.
        levels: key → word (`polyalign.map.words`).
        scope: `prompt`, `joint` or `auto`.
        split: `all`, `fit` or `test`.
        tolerance: KKT residual to reach.
        limits: what the verdict `supported` requires.
        slack: also solve the linear programme for the slack of a feasible palette (a pass over the
            file for each policy that it meets); for an infeasible one it is always solved.

    Raises:
        InputError: on a bad table or level.
    """
    rows = rows_of(levels)
    stream = Stream(path, [row.name for row in rows], scope, split, asked=levels_of(rows))
    return solve_stream(stream, levels, tolerance=tolerance, limits=limits, slack=slack)


def solve_stream(
    stream: Stream,
    levels: Mapping[str, str | float],
    *,
    tolerance: float = TOLERANCE,
    limits: Limits = DEFAULT_LIMITS,
    slack: bool = False,
) -> Solution:
    """`solve_parquet` on a table whose first passes are done; `levels` in the stream's order."""
    rows = rows_of(levels)
    target = stream.target({row.name: row.level for row in rows})
    beyond = ""
    for i in (i for i, row in enumerate(rows) if row.budget is not None):
        target[i], beyond = highest_within(stream, target, i, rows[i].budget or 0.0, rows[i].of)
    found = solve_on(
        stream,
        target,
        names=[row.name for row in rows],
        tolerance=tolerance,
        limits=limits,
        slack=slack,
        start=_first_guess(stream, target),
    )
    return beyond_budget(found, beyond, rows) if beyond and found.status == "solved" else found


def _first_guess(stream: Stream, target: np.ndarray) -> np.ndarray | None:
    """lam on the thinned sample, in the whole table's units; None where it is infeasible there."""
    sample = Base(stream.sample, stream.sample_groups, stream.scope, scale=stream.scale)
    optimum = maximise(sample.moments, sample.standardise(target), sample.max_kl)
    return optimum.lam / stream.scale if optimum.status == "solved" else None


def levels_of(rows: Sequence[Row]) -> dict[str, str | float]:
    """Row → level, of the rows that have one: what `Stream` is told of groups of prompts."""
    return {row.name: row.level for row in rows if row.budget is None}


def _inside(table: pa.Table, group: tuple[str, str]) -> np.ndarray:
    """Mask (n,) of the rows of a table whose prompt is in a group.

    Raises:
        InputError: if the column holds neither texts nor whole numbers: other numbers have no one
            text.
    """
    name, text = group
    cells = table[name]
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    if not (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    ):
        raise InputError(
            f"the column {name!r} tells groups of prompts and holds {kind}; expected texts or "
            "whole numbers: write it as text"
        )
    same = pc.equal(cells.cast(pa.string()), text)
    return np.asarray(same.fill_null(False).to_numpy(), dtype=bool)


def _cells(column: pa.ChunkedArray) -> np.ndarray:
    """A column as float64; text of numbers is taken for them, as in memory; other text is NaN."""
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy(), dtype=np.float64)
    return as_numbers(column.to_pandas())


def _hashes(keys: pd.DataFrame) -> np.ndarray:
    return hash_pandas_object(keys, index=False).to_numpy()


def _distinct(numbers: np.ndarray) -> int:
    """How many different numbers there are; `numbers` are sorted in place, to spare memory."""
    numbers.sort()
    return int(numbers.size > 0) + int(np.count_nonzero(numbers[1:] != numbers[:-1]))


def _starts(column: pa.ChunkedArray) -> np.ndarray:
    """First row of each run of equal prompt ids."""
    ids = column.combine_chunks()
    if len(ids) == 0:
        return np.zeros(0, dtype=np.intp)
    changes = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    flags = changes.to_numpy(zero_copy_only=False).astype(bool)
    return np.append(0, np.flatnonzero(flags) + 1)
