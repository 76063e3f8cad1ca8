"""Several studies on one page: what differs in their configs, and their numbers side by side."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from polyalign.evaluate.parting import Parting, parting_sentence
from polyalign.evaluate.significance import LEVEL
from polyalign.report.html_tables import Cell, contents, page, table, with_code
from polyalign.report.text import rounded

PARTS = {
    "config": "What differs in the configs",
    "stages": "Where they part",
    "levels": "Levels",
    "rates": "Win rates",
    "kl": "KL to the base model",
}

MOST_NAMED = 6
"""Most differences that the first paragraph names."""


def lead(frame: pd.DataFrame, names: Sequence[str]) -> str:
    """What was found, in a few sentences.

    Args:
        frame: table of `polyalign.evaluate.studies.compare_studies`.
        names: the studies, the first one being what the others are compared with.
    """
    parts = []
    for study in names[1:]:
        rows = frame[frame["study"] == study]
        shared = rows["shared"].dropna()
        number = int(shared.max()) if len(shared) else 0
        how = (
            f"paired on {number} shared test prompts"
            if number > 1
            else "no test prompts are shared, so that differences are not paired"
        )
        parts.append(f"{study} compared with {names[0]}: {how}; {_differ(rows)}.")
    return " ".join(parts)


def _differ(rows: pd.DataFrame) -> str:
    """How many levels of a study differ from those of the first."""
    # A difference that is 0 for every prompt has no p.
    same = int(((rows["level_diff"] == 0) & (rows["level_diff_se"] == 0)).sum())
    known, tested = int(rows["level_diff"].notna().sum()), int(rows["level_p"].notna().sum())
    if known == 0:
        return "no level can be compared"
    if same == known:
        return f"all {known} levels are the same, prompt by prompt"
    clear = rows[rows["level_p"] < LEVEL]
    signs = np.where(clear["level_diff"] > 0, "higher", "lower")
    told = [
        f"{row['value']} of {row['policy']} is {sign}"
        for sign, (_, row) in zip(signs, clear.iterrows(), strict=True)
    ][:MOST_NAMED]
    listed = f" ({', '.join(told)}{', …' if len(clear) > len(told) else ''})" if told else ""
    equal = f", {same} more are the same, prompt by prompt" if same else ""
    return (
        f"{len(clear)} of {tested} levels differ at the {LEVEL:.0%} level, p adjusted for the "
        f"number of differences{listed}{equal}"
    )


def studies_page(
    frame: pd.DataFrame,
    names: Sequence[str],
    configs: Sequence[tuple[str, Sequence[str]]],
    notes: Sequence[str],
    labels: Mapping[str, str],
    stages: Mapping[str, list[Parting]],
) -> str:
    """A page of several studies, which needs no other file.

    Args:
        frame: table of `polyalign.evaluate.studies.compare_studies`.
        names: the studies, the first one being what the others are compared with.
        configs: a key of the configs that differs, and what each study says.
        notes: what a reader must know, a sentence each.
        labels: value → its name.
        stages: study → how its stages differ from those of the first.
    """
    differ = (
        table(["Key", *names], [[key, *said] for key, said in configs], search=True)
        if configs
        else "<p>Nothing but the name of the study.</p>"
    )
    listed = "".join(f"<li>{with_code(note)}</li>" for note in notes)
    kl = frame.drop_duplicates(["policy", "study"])
    return page(
        f"Studies side by side: {', '.join(names)}",
        [
            "<h1>Studies side by side</h1>",
            f"<p>{with_code(lead(frame, names))}</p>",
            f'<ul class="warnings">{listed}</ul>' if notes else "",
            contents({title: part for part, title in PARTS.items()}),
            _headed("config", differ),
            _headed("stages", _by_stage(stages, names[0])),
            _headed("levels", _by_study(frame, names, labels, "level", rounded)),
            _headed("rates", _by_study(frame, names, labels, "winrate", _percent)),
            _headed("kl", _by_study(kl, names, None, "kl", rounded)),
        ],
    )


SAID = {
    "levels": "Mean reward on the test prompts ± standard error, clustered by prompt; of policies "
    "that choose among candidates the exact expectation. A difference is that on the shared "
    "prompts; p is two-sided and adjusted for all differences of levels on this page (Holm). "
    "Standard errors are over prompts: what another run of the training would change is not in "
    "them.",
    "rates": "Per cent against the study's own opponent, beside it (|) at equal length. A "
    "difference in percentage points is paired by prompt; each study has its own opponent.",
    "kl": "Nats per prompt ± standard error. Of policies that choose among candidates it is an "
    "upper bound (`choice`), else measured on samples; two kinds have no difference.",
    "stages": "The stages that both have, in the order of the workflow. A later stage may "
    "differ only because an earlier one does. Rewards are compared on answers that are the same, "
    "in standard deviations; `the same` means to the last bit.",
    "config": "A path into a study's own results counts as the same whatever the study's name is.",
}
"""What a reader must know of each part."""


def _headed(part: str, body: str) -> str:
    return (
        f'<h2 id="{part}">{PARTS[part]}</h2>\n<p class="note">{with_code(SAID[part])}</p>\n{body}'
    )


def _by_stage(stages: Mapping[str, list[Parting]], first: str) -> str:
    """A sentence and a row for each stage, for each study but the first."""
    told = "".join(
        f"<p>{with_code(parting_sentence(rows, name, first))}</p>" for name, rows in stages.items()
    )
    rows = [[name, one.stage, one.told] for name, found in stages.items() for one in found]
    return told + table(["Study", "Stage", f"Compared with {first}"], rows, search=True)


def _percent(share: float, se: float) -> str:
    return rounded(100 * share, 100 * se)


def _by_study(
    frame: pd.DataFrame,
    names: Sequence[str],
    labels: Mapping[str, str] | None,
    what: str,
    shown: Callable[[float, float], str],
) -> str:
    """A row for each policy (and value, if `labels` are given), a column for each study."""
    head = ["Policy", *(["Value"] if labels else []), names[0]]
    for name in names[1:]:
        head += [name, f"{name} − {names[0]}"]
        head += ["p"] if labels else []
    rows = []
    for keys, group in frame.groupby(["policy", "value"] if labels else ["policy"], sort=False):
        policy, value = map(str, (*keys, "")[:2])
        by_study = {row["study"]: row for _, row in group.iterrows()}
        cells: list[Any] = [policy, *([labels.get(value, value)] if labels else [])]
        for name in names:
            row = by_study.get(name)
            cells.append(_number(row, what, shown))
            if name != names[0]:
                cells.append(_number(row, f"{what}_diff", shown))
                cells += [_p(row, what)] if labels else []
        rows.append(cells)
    return table(head, rows, search=True)


def _number(row: pd.Series | None, what: str, shown: Callable[[float, float], str]) -> Cell:
    if row is None or math.isnan(row[what]):
        return "–", math.nan
    text = shown(row[what], row[f"{what}_se"])
    if what == "winrate" and not math.isnan(row["even_winrate"]):
        text += f" | {100 * row['even_winrate']:.1f}"
    if what == "kl":
        text += f" ({row['kl_kind']})"
    return text, float(row[what])


def _p(row: pd.Series | None, what: str) -> Cell:
    p = math.nan if row is None else float(row[f"{what}_p"])
    return ("–" if math.isnan(p) else f"{p:.2g}"), p
