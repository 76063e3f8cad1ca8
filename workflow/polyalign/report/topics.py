"""Wide tables as readers see them: one table per topic instead of 85 columns, or per soup."""

import math
from collections.abc import Callable, Mapping

import pandas as pd

from polyalign.evaluate.delivery import bounds_text, in_sd_text
from polyalign.report.printed import Printed, Topics
from polyalign.report.text import p_value, ranged, rounded, short

OF_POLICY = {
    "palette": "Palette",
    "verdict": "Verdict",
    "p_all_holm": "p (all)",
    "p_all_even_holm": "p at equal length",
    "kl": "KL (nats)",
    "kl_kind": "of",
    "n_tokens": "Tokens",
    "empty": "Empty (%)",
    "truncated": "Cut off (%)",
    "job_seconds": "Seconds",
    "cpu_seconds": "CPU s",
    "gpu_seconds": "GPU s",
}
"""Column of the summary → its head, of those that are not of one value."""

OVER_SEEDS: dict[str, Callable[[pd.Series, str], str]] = {
    "Levels: standard deviation over seeds": lambda row, value: short(
        row[f"{value}_level_seeds_sd"]
    ),
    "Win rates: standard deviation over seeds (%)": lambda row, value: short(
        100 * row[f"{value}_winrate_seeds_sd"]
    ),
    "Win rates at equal length: standard deviation over seeds (%)": lambda row, value: short(
        100 * row[f"{value}_even_winrate_seeds_sd"]
    ),
}
"""Topic → its cell, of a study that has policies with several seeds."""

PERCENT = ("empty", "truncated")
"""Columns of the summary that are shares."""


def by_topic(frame: pd.DataFrame, labels: Mapping[str, str]) -> Topics:
    """The summary by topic.

    Args:
        frame: table of `polyalign.evaluate.summary.summary`.
        labels: value → its name; gives the order of the columns.
    """
    of_values: dict[str, Callable[[pd.Series, str], str]] = {
        "Levels ± standard error": lambda row, value: rounded(
            row[f"{value}_level"], row[f"{value}_se"]
        ),
        **(OVER_SEEDS if "seeds" in frame else {}),
        "Levels asked": _asked,
        "Levels expected": _expected,
        "Realised and asked gain (sd)": _gain,
        "Share of the asked gain (%)": lambda row, value: _interval(row, f"{value}_delivered", 0),
        "Win rates (%)": lambda row, value: _interval(row, f"{value}_winrate", 1),
        "Win rates at equal length (%)": lambda row, value: _interval(
            row, f"{value}_even_winrate", 1, ends=f"{value}_even"
        ),
        "λ": lambda row, value: short(row[f"{value}_lam"]),
    }
    rows = [row for _, row in frame.iterrows()]
    names = [[row["family"], row["variant"]] for row in rows]
    parts = {"Palette, KL, length and cost": _of_policies(frame, rows, names)}
    for topic, cell in of_values.items():
        cells = [
            [*name, *(cell(row, value) for value in labels)]
            for name, row in zip(names, rows, strict=True)
        ]
        parts[topic] = Printed(["Family", "Policy", *labels.values()], cells, frame)
    return Topics(frame, parts)


def _of_policies(frame: pd.DataFrame, rows: list[pd.Series], names: list[list[str]]) -> Printed:
    cells = [
        [*name, *(_cell(column, row[column]) for column in OF_POLICY)]
        for name, row in zip(names, rows, strict=True)
    ]
    return Printed(["Family", "Policy", *OF_POLICY.values()], cells, frame, texts=4)


def _cell(column: str, content: object) -> str:
    if isinstance(content, str):
        return content or "–"
    number = float(str(content))
    if column.startswith("p_"):
        return p_value(number)
    return short(100 * number) if column in PERCENT else short(number)


def _gain(row: pd.Series, value: str) -> str:
    floor, ceiling = row[f"{value}_asked_sd"], row.get(f"{value}_ceiling_sd", math.nan)
    if pd.isna(floor) and pd.isna(ceiling):
        return "–"
    asked = bounds_text(floor, ceiling)
    return f"{in_sd_text(row[f'{value}_realised_sd'])} of {asked}, {row[f'{value}_outcome']}"


def _asked(row: pd.Series, value: str) -> str:
    """The level asked: its floor, its ceiling, or both."""
    floor, ceiling = row[f"{value}_asked"], row.get(f"{value}_ceiling", math.nan)
    if pd.isna(ceiling):
        return short(floor)
    return f"≤ {short(ceiling)}" if pd.isna(floor) else f"{short(floor)} to {short(ceiling)}"


def _expected(row: pd.Series, value: str) -> str:
    """The level that is expected of a policy, with its 95 % interval."""
    middle, low, high = (row[f"{value}_predicted{end}"] for end in ("", "_low", "_high"))
    return "–" if pd.isna(middle) else f"{short(middle)} ({short(low)} to {short(high)})"


def _interval(row: pd.Series, name: str, digits: int, *, ends: str = "") -> str:
    """A share in per cent with its 95 % interval, whose columns begin with `ends` or the name."""
    middle, low, high = row[name], row[f"{ends or name}_low"], row[f"{ends or name}_high"]
    if pd.isna(middle):
        return "–"
    return f"{100 * middle:.{digits}f} ({100 * low:.{digits}f} to {100 * high:.{digits}f})"


def by_soup(frame: pd.DataFrame, labels: Mapping[str, str]) -> Topics:
    """The levels of soups beside those of their parts: one table per soup.

    Args:
        frame: table of `polyalign.evaluate.linearity.defects`.
        labels: value → its name.
    """
    head = ["Value", "Level", "Mean of the parts", "Difference (95 %)"]
    parts = {}
    for (family, variant, of), rows in frame.groupby(["family", "variant", "parts"], sort=False):
        cells = [
            [
                labels[row["value"]],
                short(row["level"]),
                short(row["linear"]),
                ranged(row["defect"], row["low"], row["high"]),
            ]
            for _, row in rows.iterrows()
        ]
        parts[f"{family}/{variant} = {of}"] = Printed(head, cells, frame, texts=1)
    return Topics(frame, parts)
