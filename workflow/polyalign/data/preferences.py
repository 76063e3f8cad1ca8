"""Preference pairs: reading files and hub data sets of every form, cutting, mixing sources.

What a row of each published form says is in `pair_forms`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.chats import prompt_of, turns_of, with_system
from polyalign.data.formats import PAIRS_FILES, split_file
from polyalign.data.json_lines import read_lines
from polyalign.data.keys import split_of
from polyalign.data.packed import is_packed
from polyalign.data.pair_counts import COUNTS, lost_of
from polyalign.data.pair_forms import Reading, pairs_of
from polyalign.data.tables import read_parquet
from polyalign.errors import InputError

COLUMNS = ["prompt", "chosen", "rejected"]
END_COLUMNS = ["chosen_end", "rejected_end"]
"""End token of a response: empty if it is cut and goes on, else None, which means the usual one."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)*")


@dataclass(frozen=True)
class Pairs:
    """Preference pairs, and counts of the rows that they were read from.

    Attributes:
        frame: columns `prompt`, `chosen`, `rejected`, all text (prompts as in `chats`), in file
            order; and `chosen_end`, `rejected_end` (see `END_COLUMNS`).
        counts: `read` = `malformed` + `asked` + `tied` + `alone` (see `pair_forms`) + `equal`
            (after cutting) + `kept`, plus `other_split` if a single file was divided. Of the kept
            pairs, `later_turn` have an earlier answer in their prompt, `goes_on` are of
            conversations that go on, `tools` lost messages of tools, and in `cut` a text was cut.
    """

    frame: pd.DataFrame
    counts: dict[str, int]


def cut(text: str, max_words: int) -> str:
    """The first `max_words` words of `text` with the spacing between them as it was."""
    return "".join(re.findall(r"\s*\S+", text)[:max_words]).strip()


def cut_prompt(prompt: str, max_words: int) -> str:
    """A prompt of which every turn is cut to `max_words` words."""
    return prompt_of(
        {key: text if key == "role" else cut(text, max_words) for key, text in turn.items()}
        for turn in turns_of(prompt)
    )


def _local_file(path: Path, split: str) -> Path:
    """The file of `split` in a folder, or the file itself."""
    if path.is_file():
        if not path.name.endswith(PAIRS_FILES):
            raise InputError(
                f"{path}: unknown format of preference pairs; expected a .jsonl, .jsonl.gz or "
                ".parquet file: write each pair as a line of JSON"
            )
        return path
    file = split_file(path, split)
    if file is None:
        listed = " or ".join(f"{split}{ending}" for ending in PAIRS_FILES)
        raise InputError(
            f"{path}: the folder has no {listed}; put the preference pairs there, or name the "
            "file itself"
        )
    return file


def _read_file(file: str | Path) -> Iterator[Any]:
    return read_parquet(file) if str(file).endswith(".parquet") else read_lines(file)


def _read_hub(source: str, split: str) -> Iterator[Any]:
    """Rows of a hub dataset `owner/name`, or of a folder in it: `owner/name/folder`."""
    import datasets

    owner, name, *folder = source.split("/")
    try:
        yield from datasets.load_dataset(
            f"{owner}/{name}", data_dir="/".join(folder) or None, split=split
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as fault:
        raise InputError(
            f"{source}: neither a local file or folder nor a hub dataset with a split {split!r} "
            f"({str(fault).splitlines()[0]}); check the name and the network"
        ) from fault


def read_rows(source: str | Path, split: str) -> Iterator[Any]:
    """Rows of a file or folder, or of a hub data set; None for a line that is not JSON.

    A file may be in an installed package or an archive (see `packed`).

    Raises:
        InputError: if the source cannot be read.
    """
    path = Path(source)
    if path.exists():
        return _read_file(_local_file(path, split))
    if is_packed(source) and str(source).endswith(PAIRS_FILES):
        return _read_file(source)
    if not _HUB_ID.fullmatch(str(source)) or str(source).endswith(PAIRS_FILES):
        raise InputError(
            f"{source}: no such file or folder; expected a folder with {split}.jsonl.gz, a .jsonl "
            "or .parquet file, or a hub id like owner/name or owner/name/folder"
        )
    return _read_hub(str(source), split)


def read_pairs(
    source: str | Path,
    *,
    split: str = "train",
    splits: Mapping[str, str] | None = None,
    turns: str = "all",
    label: str | None = None,
    system: str | None = None,
    max_words: int | None = None,
    held_out: float = 0.0,
) -> Pairs:
    """Read preference pairs.

    Args:
        source: a folder with `train.jsonl.gz` and `test.jsonl.gz` (or `.jsonl`, `.parquet`), one
            such file, or a hub id `owner/name`, with a folder of the dataset after it if need be.
            The forms of its rows are those of `pair_forms`.
        split: `train` or `test`; a single file is taken as is.
        splits: what the split is called: its file in the folder, or the hub's split (default: the
            same).
        turns: `first` reads the first question and its answers alone, `all` the whole
            conversations.
        label: see `pair_forms.Reading`.
        system: message before every prompt that has none.
        max_words: every turn of a prompt and the responses are cut to so many words; None: they
            are whole.
        held_out: share of the prompts, by hash of the text once cut, whose pairs are the split
            `test`; the others are `train`. 0: they are not divided.

    Returns:
        The pairs in file order. Rows that are no pair, and pairs whose responses are equal once
        cut, are left out and counted.

    Raises:
        InputError: if the source cannot be read, its form needs another label, or it holds no
            usable pair.
    """
    counts = dict.fromkeys(COUNTS, 0)
    if held_out:
        counts["other_split"] = 0
    kept = []
    rows = read_rows(source, (splits or {}).get(split, split))
    for pair in pairs_of(rows, Reading(str(source), turns == "first", label)):
        counts["read"] += 1
        if isinstance(pair, str):
            counts[pair] += 1
            continue
        whole = [pair.prompt, pair.chosen, pair.rejected]
        texts = whole
        if max_words is not None:
            answers = [cut(text, max_words) for text in whole[1:]]
            texts = [cut_prompt(pair.prompt, max_words), *answers]
        prompt, chosen, rejected = texts
        if chosen == rejected:
            counts["equal"] += 1
            continue
        if held_out and (split_of(prompt, held_out) == "test") != (split == "test"):
            counts["other_split"] += 1
            continue
        counts["later_turn"] += pair.later
        counts["goes_on"] += pair.goes_on
        counts["tools"] += pair.tools > 0
        counts["cut"] += texts != whole
        ends = ["" if short != text else None for short, text in zip(texts, whole, strict=True)]
        kept.append((with_system(prompt, system), chosen, rejected, *ends[1:]))
    counts["kept"] = len(kept)
    if not kept:
        raise InputError(f"{source}: {_none_kept(counts, split, max_words, held_out)}")
    return Pairs(pd.DataFrame(kept, columns=[*COLUMNS, *END_COLUMNS], dtype=object), counts)


def _none_kept(
    counts: Mapping[str, int], split: str, max_words: int | None, held_out: float
) -> str:
    """Why there is no pair."""
    if counts.get("other_split"):
        return (
            f"none of its {counts['other_split']} usable pairs falls into the {split} split, which "
            f"takes prompts by hash ({held_out:g} of them are test); expected more prompts, or a "
            "folder with train.jsonl and test.jsonl"
        )
    cutting = "" if max_words is None else f" (after cutting to {max_words} words)"
    why = ", ".join(lost_of(counts)) or "empty"
    return (
        f"no usable pair{cutting} in {counts['read']} rows: {why}; expected texts or chat "
        "messages under 'prompt', 'chosen' and 'rejected', or whole conversations under 'chosen' "
        "and 'rejected': rename the columns"
    )


def apportion(shares: Mapping[str, float], size: int) -> dict[str, int]:
    """Whole numbers that sum to `size` and are nearest to the shares (largest remainder).

    Raises:
        InputError: if the shares are negative or do not sum to 1.
    """
    total = sum(shares.values())
    if min(shares.values()) < 0 or abs(total - 1) > 1e-6:
        raise InputError(f"shares {dict(shares)} sum to {total:g}; expected shares >= 0 of sum 1")
    exact = {name: shares[name] * size for name in sorted(shares)}
    # A product like 0.3 * 10 differs from the exact whole number by a rounding error.
    counts = {name: int(number + 1e-9) for name, number in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in by_remainder[: size - sum(counts.values())]:
        counts[name] += 1
    return counts


def mixture(
    sources: Mapping[str, pd.DataFrame], shares: Mapping[str, float], size: int, seed: int
) -> pd.DataFrame:
    """Draw `size` pairs from several sources in the given shares, without replacement.

    Each source is shuffled by the seed and its name alone, so a larger share, or another source
    beside it, keeps the pairs that were drawn before.

    Args:
        sources: name → pairs (`prompt`, `chosen`, `rejected`).
        shares: name → share in [0, 1]; they sum to 1.
        size: number of pairs in all; met exactly by the largest remainder.
        seed: of the draw and of the final order.

    Returns:
        `size` rows in random order, with the column `source`.

    Raises:
        InputError: if a name has no source, the shares do not sum to 1, or a source is too small.
    """
    unknown = sorted(set(shares) - set(sources))
    if unknown or not shares:
        raise InputError(
            f"mixture: no source {', '.join(map(repr, unknown)) or 'named'}; "
            f"expected shares of {', '.join(sorted(sources))}"
        )
    drawn = []
    for name, count in apportion(shares, size).items():
        frame = sources[name]
        if count > len(frame):
            raise InputError(
                f"mixture: source {name!r} has {len(frame)} pairs but {count} are asked "
                f"({shares[name]:g} of {size}); lower the size or the share, or add pairs"
            )
        order = np.random.default_rng([seed, *name.encode()]).permutation(len(frame))[:count]
        drawn.append(frame.iloc[order].assign(source=name))
    mixed = pd.concat(drawn, ignore_index=True)
    return mixed.iloc[np.random.default_rng(seed).permutation(size)].reset_index(drop=True)
