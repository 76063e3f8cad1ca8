"""What the page of a study shows besides its summary and its palettes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from polyalign.data.cut_off import Unread


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        name: the figure.
        png: its picture.
        finding: what it shows, in a sentence or two.
    """

    name: str
    png: bytes
    finding: str

    @classmethod
    def read(cls, path: Path, plots: Path) -> "Picture":
        """The picture of a figure and the finding beside it.

        Args:
            path: the PNG file.
            plots: folder of all figures.
        """
        finding = path.with_suffix(".txt").read_text(encoding="utf-8")
        name = path.relative_to(plots).with_suffix("").as_posix()
        return cls(name, path.read_bytes(), finding.strip())


@dataclass(frozen=True)
class PageContent:
    """What the page shows besides the summary and the palettes.

    Attributes:
        study: name of the study.
        left_out: a sentence on the policies that are left out; empty if none is.
        labels: value → its name.
        policies: policy → the palette that it realises, or None; in order.
        levels: policy → its levels, indexed by value.
        unread: policy → texts that the models of the values could not read whole.
        chosen: the values in which a policy has to be better.
        opponent: the policy that win rates compare with.
        families: table of `polyalign.evaluate.navigation.families`.
        judge: numbers of `polyalign.report.judged.judge`; None without a judge.
        facts: model → what is known of it (`{"reward/helpful": {"accuracy": 0.95}}`).
        cards: name of a reward model that the study trained → its card (`polyalign.train.card`).
        pictures: the figures on the page; the first one is at its head.
        elsewhere: names of the figures that are not on the page.
        answers: of `polyalign.report.answers.answers_data`; None where the study has no texts.
        methods: paragraphs on how it was done.
        citations: the works that the study rests on.
        provenance: of `polyalign.report.provenance`.
        config: the config as this study used it.
    """

    study: str
    left_out: str
    labels: Mapping[str, str]
    policies: Mapping[str, str | None]
    levels: Mapping[str, pd.DataFrame]
    unread: Mapping[str, Unread]
    chosen: Sequence[str]
    opponent: str
    families: pd.DataFrame
    judge: pd.DataFrame | None
    facts: Mapping[str, Mapping[str, Any]]
    cards: Mapping[str, Mapping[str, Any]]
    pictures: Sequence[Picture]
    elsewhere: Sequence[str]
    answers: Mapping[str, Any] | None
    methods: Sequence[str]
    citations: Sequence[str]
    provenance: Mapping[str, str]
    config: Mapping[str, Any]
