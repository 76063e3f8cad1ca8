"""Preference pairs: reading Anthropic's HH format and plain JSONL, cutting, mixing sources.

HH holds whole dialogues (Bai et al. 2022, "Training a Helpful and Harmless Assistant with RLHF");
here only the first human turn (the prompt) and the first assistant turn (the response) count.
"""

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.formats import PAIRS_FILES, split_file
from polyalign.data.keys import split_of
from polyalign.errors import InputError

COLUMNS = ["prompt", "chosen", "rejected"]
_TURN = re.compile(r"\n\n(Human|Assistant):")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)*")


@dataclass(frozen=True)
class Pairs:
    """Preference pairs, and counts of the rows that they were read from.

    Attributes:
        frame: columns `prompt`, `chosen`, `rejected`, all text, in file order.
        counts: `read` = `malformed` + `equal` (after cutting) + `kept`, plus `other_split` if
            a single file was divided.
    """

    frame: pd.DataFrame
    counts: dict[str, int]


def cut(text: str, max_words: int) -> str:
    """The first `max_words` words of `text` with the spacing between them as it was."""
    return "".join(re.findall(r"\s*\S+", text)[:max_words]).strip()


def first_turns(transcript: str) -> tuple[str, str] | None:
    """First human and first assistant turn of an HH transcript, stripped; None if malformed."""
    parts = _TURN.split(transcript)
    if parts[1::2][:2] != ["Human", "Assistant"] or parts[0].strip():
        return None
    prompt, response = parts[2].strip(), parts[4].strip()
    return (prompt, response) if prompt and response else None


def _pair(row: Any) -> tuple[str, str, str] | None:
    """Prompt, chosen and rejected response of one row of either format; None if malformed."""
    if not isinstance(row, dict):
        return None
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        return None
    if "prompt" in row:
        texts = (row["prompt"], chosen, rejected)
        if not all(isinstance(text, str) and text.strip() for text in texts):
            return None
        return row["prompt"].strip(), chosen.strip(), rejected.strip()
    better, worse = first_turns(chosen), first_turns(rejected)
    if better is None or worse is None or better[0] != worse[0]:
        return None
    return better[0], better[1], worse[1]


def _local_file(path: Path, split: str) -> Path:
    """The file of `split` in a folder, or the file itself."""
    if path.is_file():
        if not path.name.endswith(PAIRS_FILES):
            raise InputError(f"{path}: unknown format; expected a .jsonl or .jsonl.gz file")
        return path
    file = split_file(path, split)
    if file is None:
        raise InputError(
            f"{path}: the folder has no {split}.jsonl.gz or {split}.jsonl; "
            "put the preference pairs there, or name the file itself"
        )
    return file


def _read_lines(file: Path) -> Iterator[Any]:
    """Parsed rows of a JSONL file; None for a line that is not JSON."""
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8") as stream:
            for line in stream:
                if line.strip():
                    try:
                        yield json.loads(line)
                    except json.JSONDecodeError:
                        yield None
    except (OSError, EOFError, UnicodeDecodeError) as fault:
        raise InputError(
            f"{file}: cannot be read ({fault}); expected JSON lines: download or write it again"
        ) from fault


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
    """Rows of a local JSONL file or folder, or of a hub data set; None for a line that is not JSON.

    Raises:
        InputError: if the source cannot be read.
    """
    path = Path(source)
    if path.exists():
        return _read_lines(_local_file(path, split))
    if not _HUB_ID.fullmatch(str(source)) or str(source).endswith(PAIRS_FILES):
        raise InputError(
            f"{source}: no such file or folder; expected a folder with {split}.jsonl.gz, a .jsonl "
            "file, or a hub id like owner/name or owner/name/folder"
        )
    return _read_hub(str(source), split)


def read_pairs(
    source: str | Path, *, split: str = "train", max_words: int = 50, held_out: float = 0.0
) -> Pairs:
    """Read preference pairs.

    Args:
        source: a folder with `train.jsonl.gz` and `test.jsonl.gz` (or `.jsonl`), one such file,
            or a hub id `owner/name`, with a folder of the dataset after it if need be. A row holds
            HH transcripts under `chosen` and `rejected`, or plain texts under `prompt`, `chosen`
            and `rejected`.
        split: which file of the folder, or split of the hub dataset; a single file is taken as is.
        max_words: prompt and responses are cut to so many words.
        held_out: share of the prompts, by hash of the text once cut, whose pairs are the split
            `test` of a single file; the others are `train`. 0: it is not divided.

    Returns:
        The pairs in file order. Malformed rows, and pairs whose responses are equal once cut, are
        left out and counted.

    Raises:
        InputError: if the source cannot be read or holds no usable pair.
    """
    counts = {"read": 0, "malformed": 0, "equal": 0, "kept": 0}
    if held_out:
        counts["other_split"] = 0
    kept = []
    for row in read_rows(source, split):
        counts["read"] += 1
        pair = _pair(row)
        if pair is None:
            counts["malformed"] += 1
            continue
        prompt, chosen, rejected = (cut(text, max_words) for text in pair)
        if chosen == rejected:
            counts["equal"] += 1
            continue
        if held_out and (split_of(prompt, held_out) == "test") != (split == "test"):
            counts["other_split"] += 1
            continue
        kept.append((prompt, chosen, rejected))
    counts["kept"] = len(kept)
    if not kept and counts.get("other_split"):
        raise InputError(
            f"{source}: none of its {counts['other_split']} usable pairs falls into the {split} "
            f"split, which takes prompts by hash ({held_out:g} of them are test); expected more "
            "prompts, or a folder with train.jsonl and test.jsonl"
        )
    if not kept:
        raise InputError(
            f"{source}: no usable pair ({counts['read']} rows: {counts['malformed']} malformed, "
            f"{counts['equal']} equal after cutting to {max_words} words); expected HH transcripts "
            "under 'chosen' and 'rejected', or texts under 'prompt', 'chosen', 'rejected'"
        )
    return Pairs(pd.DataFrame(kept, columns=COLUMNS), counts)


def first_prompts(source: str | Path, split: str = "test") -> list[str]:
    """Prompts of all well-formed rows, in file order, uncut and with repeats.

    Args:
        source: as in `read_pairs`.
        split: as in `read_pairs`.

    Raises:
        InputError: if the source cannot be read or holds no prompt.
    """
    prompts = []
    for row in read_rows(source, split):
        if isinstance(row, dict) and isinstance(row.get("prompt"), str):
            prompt = row["prompt"]
        elif isinstance(row, dict) and isinstance(row.get("chosen"), str):
            # A prompt is usable even if its response is empty, so not `first_turns` here.
            parts = _TURN.split(row["chosen"])
            prompt = parts[2].strip() if parts[1:2] == ["Human"] else ""
        else:
            prompt = ""
        if prompt.strip():
            prompts.append(prompt)
    if not prompts:
        raise InputError(
            f"{source}: no prompt found; expected HH transcripts under 'chosen', or texts under "
            "'prompt'"
        )
    return prompts


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
