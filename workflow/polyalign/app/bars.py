"""Rewards of two answers as bars: how they lie among the rewards of the base model's answers."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from polyalign.data.tables import read_table
from polyalign.families import POOL
from polyalign.paths import Paths
from polyalign.study import Study

COLOURS = ("#0072b2", "#d55e00")
"""Of the two answers; people who do not see all colours tell them apart (Okabe and Ito)."""

Reference = Mapping[str, np.ndarray]
"""Value → sorted rewards of the base model's answers."""


def read_reference(study: Study) -> Reference:
    """The rewards of the study's pool, sorted; nothing if it is not made."""
    path = Path(Paths(study.study).rewards(POOL))
    if not path.is_file():
        return {}
    table = read_table(path)
    return {value: np.sort(table[value].to_numpy(np.float64)) for value in study.values}


def quantile(rewards: np.ndarray, reward: float) -> float:
    """Share of sorted rewards that are below one, with half of those that equal it."""
    low, high = (np.searchsorted(rewards, reward, side=side) for side in ("left", "right"))
    return float(low + high) / (2 * len(rewards))


def bars(
    rewards: Sequence[Mapping[str, float] | None],
    names: Sequence[str],
    labels: Mapping[str, str],
    reference: Reference,
) -> str:
    """A table with a bar for every value and answer; no text of a model is in it.

    Args:
        rewards: of each answer, value → reward; None if it was not finished.
        names: what the answers are called.
        labels: value → its name for people.
        reference: see `read_reference`; without it there are numbers alone.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = []
    for value, label in labels.items():
        cells = []
        for of_text, colour in zip(rewards, COLOURS, strict=True):
            cells.append(
                _cell(None if of_text is None else of_text[value], value, reference, colour)
            )
        rows.append(f'<tr><th scope="row">{escape(label)}</th>{"".join(cells)}</tr>')
    note = (
        "Bar and %: share of the base model's answers in the study's pool with a lower reward "
        "(equal ones count half)."
        if reference
        else "The study has no pool of rewards to compare with."
    )
    return (
        f'<div class="bars"><table><caption>Rewards. {note}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(reward: float | None, value: str, reference: Reference, colour: str) -> str:
    if reward is None:
        return "<td>–</td>"
    if value not in reference:
        return f"<td>{reward:.4g}</td>"
    share = quantile(reference[value], reward)
    return (
        f"<td>{reward:.4g} <small>{share:.0%}</small>"
        f'<div class="track" aria-hidden="true"><div style="width:{share:.1%};'
        f'background:{colour}"></div></div></td>'
    )


CSS = """
.bars table { width: 100%; border-collapse: collapse; table-layout: fixed; }
.bars caption { text-align: left; font-size: 0.8rem; color: var(--body-text-color); }
.bars tbody tr { border-top: 1px solid var(--border-color-primary); }
.bars th, .bars td { text-align: left; padding: 0.1rem 0.4rem; border: 0; font-size: 0.85rem;
  overflow-wrap: anywhere; color: var(--body-text-color); vertical-align: top; }
.bars .track { height: 6px; background: var(--border-color-primary); border-radius: 3px; }
.bars .track div { height: 6px; border-radius: 3px; }
"""
