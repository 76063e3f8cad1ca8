"""`polyalign choose`: the answers that a λ chooses among the candidates of a table of rewards.

The draw of a prompt depends on the seed and on the prompt alone, not on the other rows of the table
or on how it is read.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from polyalign.data.keys import CHANCE, prompt_id
from polyalign.data.rewards_table import rewards_array
from polyalign.errors import InputError
from polyalign.map.dual import policy_weights
from polyalign.map.problem import key_columns
from polyalign.map.words import values_of
from polyalign.palettes.streamed import Stream
from polyalign.runtime.files import atomic_write

DRAW = "draw"
"""Column that numbers the draws of a prompt, where there are several."""

ANSWER_FILES = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True)
class Choice:
    """How answers are chosen.

    Attributes:
        lam: value or share → weight λ, in 1 / the rewards' units.
        greedy: take the candidate of largest λ·r (among equals, any alike), or draw by exp(λ·r).
        draws: answers per prompt, independent, with replacement.
        seed: of the draws.
    """

    lam: Mapping[str, float]
    greedy: bool
    draws: int
    seed: int


@dataclass(frozen=True)
class Candidates:
    """Candidates of whole prompts, whose rows are adjacent.

    Attributes:
        rows: the n rows, with all columns of the file.
        rewards: (n, k) rewards of the values in λ.
        groups: (n,) prompt index 0 … N - 1, which never falls.
        ids: (N,) identifiers of the prompts.
    """

    rows: pa.Table
    rewards: np.ndarray
    groups: np.ndarray
    ids: list[str]


@dataclass(frozen=True)
class Chosen:
    """What was chosen, over all prompts; arrays (k,) in the rewards' units.

    Attributes:
        prompts: number of prompts.
        single: prompts with one candidate, where nothing can be chosen.
        base: levels of a uniform choice.
        expected: exact expectations of the choice.
        se: their standard errors, over prompts; NaN with one prompt.
        written: means of the answers written.
        kl: nats per prompt between the choice and a uniform one; for the best of K, the bound
            log K - (K - 1) / K of Beirami et al. (arXiv 2401.01879, 2024).
    """

    prompts: int
    single: int
    base: np.ndarray
    expected: np.ndarray
    se: np.ndarray
    written: np.ndarray
    kl: float


def in_memory(table: pd.DataFrame, checked: pd.DataFrame, values: list[str]) -> Candidates:
    """The candidates of a table.

    Args:
        table: the table as it is in its file.
        checked: what `polyalign.data.rewards_table.read_rewards` made of it, or some rows of that;
            its index has the numbers of the rows.
        values: the keys in λ: values and shares.
    """
    names = values_of(values)
    cells, groups = rewards_array(checked, names)
    rewards = key_columns(values, dict(zip(names, cells.T, strict=True)))
    order = np.argsort(groups, kind="stable")
    rows = pa.Table.from_pandas(table.iloc[checked.index[order]], preserve_index=False)
    ids = checked["prompt_id"].drop_duplicates().tolist()
    return Candidates(rows, rewards[order], groups[order], ids)


def streamed(stream: Stream) -> Iterator[Candidates]:
    """The candidates of a large table, some whole prompts at a time."""
    names = pq.read_schema(stream.path).names
    for rows, starts in stream.whole_prompts(names):
        sizes = np.diff(np.append(starts, rows.num_rows))
        texts = [str(text) for text in rows[stream.id].take(starts).to_pylist()]
        ids = texts if stream.id == "prompt_id" else [prompt_id(text) for text in texts]
        yield Candidates(rows, stream.numbers(rows).T, np.repeat(np.arange(len(ids)), sizes), ids)


def choose(pieces: Iterator[Candidates], choice: Choice, path: str | Path) -> Chosen:
    """Choose answers, and write them with all columns of their rows, prompt by prompt.

    The column `CHANCE` is the probability with which the row is chosen; several draws of a prompt
    are numbered in the column `DRAW`.

    Args:
        pieces: the candidates; a prompt is in one of them.
        choice: how they are chosen.
        path: where the answers are written, as .parquet, .csv or .jsonl.

    Raises:
        InputError: if no prompt has two candidates, or the file has another ending.
    """
    ending = Path(path).suffix
    if ending not in ANSWER_FILES:
        raise InputError(f"{path}: expected a {', '.join(ANSWER_FILES)} file; rename it")
    found = []
    with atomic_write(path) as draft, _Writer(draft, ending) as writer:
        for piece in pieces:
            chosen, numbers = _choose(piece, choice)
            writer.add(chosen)
            found.append(numbers)
        sizes, kl, levels = (np.concatenate(column) for column in zip(*found, strict=True))
        if sizes.max() < 2:
            raise InputError(
                "every prompt has one candidate, so that there is nothing to choose; expected "
                "several rows with the same prompt_id or prompt: draw more candidates"
            )
    base, expected, written = levels.mean(axis=0)
    spread = levels[:, 1].std(axis=0, ddof=1) if len(sizes) > 1 else np.full(base.size, np.nan)
    return Chosen(
        prompts=len(sizes),
        single=int((sizes == 1).sum()),
        base=base,
        expected=expected,
        se=spread / np.sqrt(len(sizes)),
        written=written,
        kl=float(kl.mean()),
    )


def uniform(seed: int, prompt: str, draw: int) -> float:
    """A number in [0, 1) of a prompt and a draw, the same on every machine."""
    digest = hashlib.sha256(f"{seed}:{draw}:{prompt}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _choose(
    piece: Candidates, choice: Choice
) -> tuple[pa.Table, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The chosen rows; sizes (N,), KL (N,), and levels (N, 3, k): base, expected, written."""
    sizes = np.bincount(piece.groups)
    ends = np.cumsum(sizes)
    weights = _weights(piece, choice)
    cumulative = np.cumsum(weights)
    before = np.append(0.0, cumulative[ends[:-1] - 1])
    mass = cumulative[ends - 1] - before
    chance = [[uniform(choice.seed, id, draw) for draw in range(choice.draws)] for id in piece.ids]
    points = before[:, None] + np.array(chance) * mass[:, None]
    rows = np.searchsorted(cumulative, points.ravel(), side="right")
    rows = np.clip(rows, np.repeat(ends - sizes, choice.draws), np.repeat(ends - 1, choice.draws))
    chosen = piece.rows.take(rows).append_column(CHANCE, pa.array(weights[rows]))
    if choice.draws > 1:
        numbers = np.tile(np.arange(choice.draws), sizes.size)
        chosen = chosen.append_column(DRAW, pa.array(numbers))
    shape = sizes.size, choice.draws, -1
    levels = np.stack(
        [
            np.add.reduceat(piece.rewards, ends - sizes) / sizes[:, None],
            np.add.reduceat(piece.rewards * weights[:, None], ends - sizes),
            piece.rewards[rows].reshape(shape).mean(axis=1),
        ],
        axis=1,
    )
    return chosen, (sizes, _kl(weights, sizes, piece.groups, greedy=choice.greedy), levels)


def _weights(piece: Candidates, choice: Choice) -> np.ndarray:
    """Probability (n,) of each candidate within its prompt."""
    lam = np.array(list(choice.lam.values()))
    if not choice.greedy:
        return policy_weights(piece.rewards, lam, groups=piece.groups, scope="prompt")
    score = piece.rewards @ lam
    top = np.full(len(piece.ids), -np.inf)
    np.maximum.at(top, piece.groups, score)
    best = (score == top[piece.groups]).astype(np.float64)
    return best / np.bincount(piece.groups, best)[piece.groups]


def _kl(weights: np.ndarray, sizes: np.ndarray, groups: np.ndarray, *, greedy: bool) -> np.ndarray:
    if greedy:
        return np.log(sizes) - 1 + 1 / sizes
    ratio = np.log(np.maximum(weights * sizes[groups], np.finfo(float).tiny))
    return np.bincount(groups, weights * ratio)


class _Writer:
    """Writes tables one after the other into one file."""

    def __init__(self, path: Path, ending: str) -> None:
        self.path, self.ending = path, ending
        self.parquet: pq.ParquetWriter | None = None
        self.begun = False

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: Any) -> None:
        if self.parquet is not None:
            self.parquet.close()

    def add(self, table: pa.Table) -> None:
        """Write the rows of a table, which has the columns of those before it."""
        if self.ending == ".parquet":
            if self.parquet is None:
                schema = table.schema.remove_metadata()
                self.parquet = pq.ParquetWriter(self.path, schema, compression="zstd")
            self.parquet.write_table(table.replace_schema_metadata())
        else:
            frame = table.to_pandas()
            with self.path.open("a", encoding="utf-8") as file:
                if self.ending == ".csv":
                    frame.to_csv(file, index=False, na_rep="nan", header=not self.begun)
                else:
                    frame.to_json(file, orient="records", lines=True, force_ascii=False)
        self.begun = True
