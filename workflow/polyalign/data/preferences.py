"""Preference pairs: reading Anthropic's HH format and plain JSONL, cutting, mixing sources.

HH holds whole dialogues (Bai et al. 2022, "Training a Helpful and Harmless Assistant with RLHF").
The responses of a pair are the first assistant turns in which its two dialogues differ, and the
prompt is the dialogue before them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.formats import PAIRS_FILES, split_file
from polyalign.data.json_lines import is_chat, read_lines
from polyalign.data.keys import split_of
from polyalign.data.packed import is_packed
from polyalign.errors import InputError

COLUMNS = ["prompt", "chosen", "rejected"]
END_COLUMNS = ["chosen_end", "rejected_end"]
"""End token of a response: empty if it is cut and goes on, else None, which means the usual one."""

_TURN = re.compile(r"\n\n(Human|Assistant):")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)*")


@dataclass(frozen=True)
class Pairs:
    """Preference pairs, and counts of the rows that they were read from.

    Attributes:
        frame: columns `prompt`, `chosen`, `rejected`, all text, in file order; and `chosen_end`,
            `rejected_end` (see `END_COLUMNS`).
        counts: `read` = `malformed` (of which `chat` are lists of chat messages) + `equal` (after
            cutting) + `kept`, plus `other_split` if a single file was divided. Of the kept pairs,
            `later_turn` differ after the first answer, and in `cut` a text was cut.
    """

    frame: pd.DataFrame
    counts: dict[str, int]


def cut(text: str, max_words: int) -> str:
    """The first `max_words` words of `text` with the spacing between them as it was."""
    return "".join(re.findall(r"\s*\S+", text)[:max_words]).strip()


def _turns(transcript: str) -> list[str] | None:
    """Turns of an HH transcript, stripped, human and assistant by turns; None if malformed."""
    parts = _TURN.split(transcript)
    speakers, turns = parts[1::2], [turn.strip() for turn in parts[2::2]]
    expected = ["Human", "Assistant"] * len(turns)
    if len(turns) < 2 or speakers[:2] != expected[:2] or parts[0].strip() or not all(turns[:2]):
        return None
    # A dialogue counts up to where its speakers stop taking turns, or one of them says nothing.
    faulty = (n for n, turn in enumerate(turns) if not turn or speakers[n] != expected[n])
    return turns[: next(faulty, len(turns))]


def _first_difference(chosen: str, rejected: str) -> tuple[str, str, str, bool] | None:
    """Prompt and both responses of a pair of HH transcripts, and whether it is a later turn.

    The responses are equal if no assistant turn differs, or a human turn does before one; None if a
    transcript is malformed, or the first human turns differ.
    """
    better, worse = _turns(chosen), _turns(rejected)
    if better is None or worse is None or better[0] != worse[0]:
        return None
    last = 1
    for turn in range(1, min(len(better), len(worse)), 2):
        if better[turn - 1] != worse[turn - 1]:
            break  # what differs is what was asked
        last = turn
        if better[turn] != worse[turn]:
            break
    return (*_pair_at(better, worse, last), last > 1)


def _pair_at(better: list[str], worse: list[str], turn: int) -> tuple[str, str, str]:
    """The dialogue before an assistant turn, as HH writes it, and the turn in both dialogues."""
    said = better[0]
    for number, text in enumerate(better[1:turn], 1):
        said += f"\n\n{'Assistant' if number % 2 else 'Human'}: {text}"
    return said, better[turn], worse[turn]


def _pair(row: Any) -> tuple[str, str, str, bool] | None:
    """Prompt, chosen and rejected response of one row of either format; None if malformed.

    The last entry says whether the responses are a later turn than the first answer.
    """
    if not isinstance(row, dict):
        return None
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        return None
    if "prompt" not in row:
        return _first_difference(chosen, rejected)
    texts = (row["prompt"], chosen, rejected)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        return None
    return row["prompt"].strip(), chosen.strip(), rejected.strip(), False


def _local_file(path: Path, split: str) -> Path:
    """The file of `split` in a folder, or the file itself."""
    if path.is_file():
        if not path.name.endswith(PAIRS_FILES):
            raise InputError(
                f"{path}: unknown format of preference pairs; expected a .jsonl or .jsonl.gz file: "
                "write each pair as a line of JSON"
            )
        return path
    file = split_file(path, split)
    if file is None:
        raise InputError(
            f"{path}: the folder has no {split}.jsonl.gz or {split}.jsonl; "
            "put the preference pairs there, or name the file itself"
        )
    return file


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
    """Rows of a JSONL file or folder, or of a hub data set; None for a line that is not JSON.

    A file may be in an installed package or an archive (see `packed`).

    Raises:
        InputError: if the source cannot be read.
    """
    path = Path(source)
    if path.exists():
        return read_lines(_local_file(path, split))
    if is_packed(source) and str(source).endswith(PAIRS_FILES):
        return read_lines(source)
    if not _HUB_ID.fullmatch(str(source)) or str(source).endswith(PAIRS_FILES):
        raise InputError(
            f"{source}: no such file or folder; expected a folder with {split}.jsonl.gz, a .jsonl "
            "file, or a hub id like owner/name or owner/name/folder"
        )
    return _read_hub(str(source), split)


def read_pairs(
    source: str | Path,
    *,
    split: str = "train",
    max_words: int | None = None,
    held_out: float = 0.0,
) -> Pairs:
    """Read preference pairs.

    Args:
        source: a folder with `train.jsonl.gz` and `test.jsonl.gz` (or `.jsonl`), one such file,
            or a hub id `owner/name`, with a folder of the dataset after it if need be. A row holds
            HH transcripts under `chosen` and `rejected`, or plain texts under `prompt`, `chosen`
            and `rejected`.
        split: which file of the folder, or split of the hub dataset; a single file is taken as is.
        max_words: prompt and responses are cut to so many words; None: they are whole.
        held_out: share of the prompts, by hash of the text once cut, whose pairs are the split
            `test` of a single file; the others are `train`. 0: it is not divided.

    Returns:
        The pairs in file order. Malformed rows, and pairs whose responses are equal once cut, are
        left out and counted.

    Raises:
        InputError: if the source cannot be read or holds no usable pair.
    """
    counts = dict.fromkeys(("read", "malformed", "chat", "equal", "kept", "later_turn", "cut"), 0)
    if held_out:
        counts["other_split"] = 0
    kept = []
    for row in read_rows(source, split):
        counts["read"] += 1
        pair = _pair(row)
        if pair is None:
            counts["malformed"] += 1
            counts["chat"] += isinstance(row, dict) and any(map(is_chat, row.values()))
            continue
        *whole, later = pair
        texts = whole if max_words is None else [cut(text, max_words) for text in whole]
        prompt, chosen, rejected = texts
        if chosen == rejected:
            counts["equal"] += 1
            continue
        if held_out and (split_of(prompt, held_out) == "test") != (split == "test"):
            counts["other_split"] += 1
            continue
        counts["later_turn"] += later
        counts["cut"] += texts != whole
        ends = ["" if short != text else None for short, text in zip(texts, whole, strict=True)]
        kept.append((*texts, *ends[1:]))
    counts["kept"] = len(kept)
    if not kept and counts.get("other_split"):
        raise InputError(
            f"{source}: none of its {counts['other_split']} usable pairs falls into the {split} "
            f"split, which takes prompts by hash ({held_out:g} of them are test); expected more "
            "prompts, or a folder with train.jsonl and test.jsonl"
        )
    if not kept:
        cutting = "" if max_words is None else f" after cutting to {max_words} words"
        chat = (
            f", {counts['chat']} of them lists of chat messages, which cannot be read as text"
            if counts["chat"]
            else ""
        )
        raise InputError(
            f"{source}: no usable pair ({counts['read']} rows: {counts['malformed']} malformed"
            f"{chat}, {counts['equal']} equal{cutting}); expected HH transcripts under 'chosen' "
            "and 'rejected', or texts under 'prompt', 'chosen', 'rejected'"
        )
    return Pairs(pd.DataFrame(kept, columns=[*COLUMNS, *END_COLUMNS], dtype=object), counts)


def prompts_of_rows(source: str | Path, split: str = "test") -> list[str | None]:
    """The prompt of every row, in file order, uncut and with repeats.

    Args:
        source: as in `read_pairs`.
        split: as in `read_pairs`.

    Returns:
        Texts; empty for a row without a prompt, None for a line that is not JSON.

    Raises:
        InputError: if the source cannot be read, or its prompts are lists of chat messages.
    """
    return [
        None if row is None else _prompt(source, number, row)
        for number, row in enumerate(read_rows(source, split), 1)
    ]


def _prompt(source: str | Path, number: int, row: Any) -> str:
    """The prompt of one row; empty if it has none."""
    if not isinstance(row, dict):
        return ""
    if isinstance(row.get("prompt"), str):
        return str(row["prompt"]) if row["prompt"].strip() else ""
    for name in ("prompt", "chosen"):
        if is_chat(row.get(name)):
            raise InputError(
                f"{source}: {name!r} of row {number} is a list of chat messages; expected a text: "
                "write the user's turn as text under 'prompt'"
            )
    if isinstance(row.get("chosen"), str):
        # A prompt is usable even if its response is empty, so not `_turns` here.
        parts = _TURN.split(row["chosen"])
        return str(parts[2]).strip() if parts[1:2] == ["Human"] else ""
    return ""


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
