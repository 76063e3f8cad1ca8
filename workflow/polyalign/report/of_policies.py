"""The tables of the page with a row for each policy: gains, win rates, cost."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from polyalign.evaluate.delivery import (
    Asked,
    in_sd_text,
)
from polyalign.report.html_tables import (
    Cell,
    number,
    percent,
    table,
)
from polyalign.report.text import p_value, seeds, short


def delivered_section(
    asked: Sequence[Asked], labels: Mapping[str, str], summary: pd.DataFrame
) -> list[str]:
    """One row for each policy of a palette, one column for each value."""
    if not asked:
        return []
    of_policies = {f"{row['family']}/{row['variant']}": row for _, row in summary.iterrows()}
    several = (
        " Behind the word seeds is the standard deviation of the gain over the seeds that a "
        "policy is trained with."
    )
    by_policy: dict[tuple[str, str], dict[str, Asked]] = {}
    for one in asked:
        by_policy.setdefault((one.palette, one.policy), {})[one.value] = one
    rows = [
        [
            palette,
            policy,
            *(
                _realised(cells[value], of_policies[policy]) if value in cells else ("–", math.nan)
                for value in labels
            ),
        ]
        for (palette, policy), cells in by_policy.items()
    ]
    return [
        "<p>Realised gains on test prompts, which were not used to fit a palette, in standard "
        "deviations of the base model's rewards ± standard error (clustered by prompt), and the "
        "asked gain. ✓ reached: at least what was asked. ? undecided: less, and the 95 % interval "
        "reaches it. ✗ missed: the whole interval is below; of a ceiling (≤), above. A policy "
        "that chooses among candidates has its exact expectation over them."
        f"{several if 'seeds' in summary else ''}</p>",
        table(["Palette", "Policy", *labels.values()], rows, search=True),
    ]


def _realised(one: Asked, row: pd.Series) -> Cell:
    """What was realised of one level; `row` is that of its policy in the summary."""
    if math.isnan(one.sd):
        end = "" if one.floored else "≤ "
        return (f"{short(one.realised)} of {end}{short(one.asked)}", one.realised, one.verdict)
    sign = {"reached": "✓", "undecided": "?", "missed": "✗"}[one.verdict]
    gain = one.in_sd(one.realised)
    spread = _over_seeds(row, f"{one.value}_level", one.sd, 2)
    return (
        f"{in_sd_text(gain)} ± {one.se / one.sd:.2f}{spread} of {one.asked_text} {sign}",
        gain,
        one.verdict,
    )


def _over_seeds(row: pd.Series, name: str, unit: float, digits: int) -> str:
    """A standard deviation over seeds of the summary, as a cell ends with it."""
    return seeds(float(row.get(f"{name}_seeds_sd", math.nan)) / unit, digits)


def winrates_table(summary: pd.DataFrame, labels: Mapping[str, str], opponent: str) -> str:
    """Win rates, and beside each that at equal length; without the opponent against itself."""
    rows = []
    for _, row in summary.iterrows():
        cells: list[Any] = [f"{row['family']}/{row['variant']}"]
        if cells == [opponent]:
            continue
        for value in labels:
            middle, low, high = (
                100 * row[f"{value}_winrate{end}"] for end in ("", "_low", "_high")
            )
            even = 100 * float(row[f"{value}_even_winrate"])
            equal = "–" if math.isnan(even) else f"{even:.1f}"
            equal += _over_seeds(row, f"{value}_even_winrate", 0.01, 1)
            spread = _over_seeds(row, f"{value}_winrate", 0.01, 1)
            cells.append((f"{middle:.1f} ({low:.1f} to {high:.1f}){spread} | {equal}", middle))
        p = float(row["p_all_holm"])
        cells.append((p_value(p), p))
        rows.append(cells)
    return table(["Policy", *labels.values(), "p (all)"], rows, search=True)


def diagnostics_table(summary: pd.DataFrame, levels: Mapping[str, pd.DataFrame]) -> str:
    rows = [
        [
            f"{row['family']}/{row['variant']}",
            number(row["kl"]),
            number(row["n_tokens"]),
            empty_answers(levels[f"{row['family']}/{row['variant']}"]),
            percent(row["truncated"]),
            number(row["job_seconds"]),
            number(row["cpu_seconds"]),
            number(row["gpu_seconds"]),
        ]
        for _, row in summary.iterrows()
    ]
    head = ["Policy", "KL (nats)", "Tokens", "Empty", "Cut off", "Seconds", "CPU s", "GPU s"]
    return table(head, rows, search=True)


def empty_answers(levels: pd.DataFrame) -> Cell:
    """How many answers are empty, since a few in a thousand would be 0 %."""
    empty, every = (int(levels[name].iloc[0]) for name in ("n_empty", "n_samples"))
    return (f"{empty} of {every}" if empty else "0", empty / every)
