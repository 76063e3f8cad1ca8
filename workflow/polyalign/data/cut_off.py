"""Responses that the token limit ended, and texts that a reward's model could not read whole.

A study may cut the first back to their last whole sentence. Every reader is warned of them: of the
first from a fifth on.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from polyalign.data.tables import read_settings

MANY = 0.2
"""Share of responses without an end from which rewards are mostly of unfinished texts."""

_SENTENCE_END = re.compile(r"""[.!?…]+["'”’»)\]*_]*(?=\s|$)|[。！？]+[」』”’）]*""")

_ITEM_NUMBER = re.compile(r"(?:^|\n|[.!?…:;,]\s)\s*\(?\d{1,3}\.$")
"""The number of an item of a list, `2.`, which ends no sentence: it follows an end or a mark."""


def whole_sentences(text: str) -> str:
    """A text up to the end of its last whole sentence; the text itself if it has none.

    A sentence ends with `.`, `!`, `?` or `…`, and marks that close, before a space, a line break or
    the end of the text; with `。`, `！` or `？` anywhere. Abbreviations count as ends.
    """
    ends = [found.end() for found in _SENTENCE_END.finditer(text)]
    return next((text[:end] for end in reversed(ends) if not _ITEM_NUMBER.search(text[:end])), text)


def kept(text: str, trim: str | None, *, cut: bool) -> str:
    """A response as the study's rule leaves it.

    Args:
        text: the response.
        trim: `sampling.trim`; None leaves every response as it is.
        cut: whether the token limit ended it.
    """
    return whole_sentences(text) if cut and trim is not None else text


def cut_share(samples: pd.DataFrame) -> float:
    """Share of the responses that the token limit ended; NaN where a table does not say so."""
    if "truncated" not in samples or not len(samples):
        return math.nan
    return float(pd.to_numeric(samples["truncated"], errors="coerce").mean())


def cut_warning(shares: Mapping[str, float]) -> str | None:
    """One sentence on the policies of which many responses were cut; None if there are none.

    Args:
        shares: policy → share of its responses that the token limit ended.
    """
    many = [f"{share:.0%} of {name}" for name, share in shares.items() if share >= MANY]
    if not many:
        return None
    return (
        f"cut off: the token limit ended {', '.join(many)}; their rewards are those of unfinished "
        "texts: raise sampling.max_new_tokens"
    )


Unread = Mapping[str, tuple[int, int]]
"""Value → texts that its model could not read whole, and all texts."""


def unread(tables: Iterable[str | Path]) -> Unread:
    """What tables of scores say of the texts that were cut; values that lost nothing are left out.

    Args:
        tables: of one policy, by value and shard, or merged.
    """
    found: dict[str, tuple[int, int]] = {}
    for path in tables:
        for value, (cut, texts) in read_settings(path).get("cut", {}).items():
            before = found.get(value, (0, 0))
            found[value] = before[0] + cut, before[1] + texts
    return {value: counts for value, counts in found.items() if counts[0]}


def unread_warnings(by_policy: Mapping[str, Unread], labels: Mapping[str, str]) -> list[str]:
    """One sentence for each value whose model could not read all texts whole.

    Args:
        by_policy: policy, or what its texts are called → `unread` of its tables.
        labels: value → its name; the values that are looked at.
    """
    sentences = []
    for value, label in labels.items():
        counts = {who: found[value] for who, found in by_policy.items() if value in found}
        many = [f"{cut} of {texts} texts of {who}" for who, (cut, texts) in counts.items()]
        if many:
            sentences.append(
                f"{label}: {', '.join(many)} are longer than its model reads and were scored "
                "without a part (the logs of annotate say which): shorten them, or take a model "
                "that reads more"
            )
    return sentences
