"""The study's tables as a paper prints them; polyalign.report.registry names them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from polyalign.evaluate.levels import QUANTILES
from polyalign.families import BASE, Policy
from polyalign.palettes.record import Palette
from polyalign.report.printed import Printed, Topics
from polyalign.report.topics import by_topic

NOTHING = "–"


@dataclass(frozen=True)
class StudyTables:
    """The numbers that the tables of the rule `tables` are made from.

    Attributes:
        labels: value → its name in the head; gives the order of the columns.
        levels: policy (`family/variant`) → its levels, indexed by value; gives the order of the
            rows.
        winrates: policy → its win rates, indexed by value; gives the order of the rows.
        palettes: name → solved palette.
        maintained: the values that no palette raises.
        summary: table of `polyalign.evaluate.summary.summary`.
    """

    labels: Mapping[str, str]
    levels: Mapping[str, pd.DataFrame]
    winrates: Mapping[str, pd.DataFrame]
    palettes: Mapping[str, Palette]
    maintained: Sequence[str]
    summary: pd.DataFrame


def summary(study: StudyTables) -> Topics:
    """The summary of all policies: one row per policy, for readers one table per topic."""
    return by_topic(study.summary, study.labels)


def winrates(study: StudyTables) -> Printed:
    """Win rates ± standard error in per cent: one row per policy, one column per value.

    The numbers are `family`, `variant` and `V_winrate`, `V_se`, `V_low`, `V_high`, and at equal
    length `V_even_winrate`, `V_even_low`, `V_even_high`, for each value V.
    """
    names = ("winrate", "se", "low", "high", "even_winrate", "even_low", "even_high")
    return _by_policy(
        study.winrates, study.labels, names, lambda row: _percent(row["winrate"], row["se"])
    )


def levels(study: StudyTables) -> Printed:
    """Levels ± standard error: one row per policy, one column per value.

    The numbers are `family`, `variant` and `V_mean`, `V_se`, `V_low`, `V_high`,
    `V_base_quantile` for each value V.
    """
    names = ("mean", "se", "low", "high", "base_quantile")
    return _by_policy(study.levels, study.labels, names, lambda row: _pair(row["mean"], row["se"]))


def realised_quantiles(study: StudyTables) -> Printed:
    """Levels as quantiles of the base model's rewards, in per cent: one row per policy.

    Every policy has two rows: for all values, and with the level itself of the values that are only
    maintained. The numbers are `shown`, `family`, `variant`, then for each value V
    `V_base_quantile`, and for each maintained one `V_mean`; NaN where the other one is shown.
    """
    rows, numbers = [], []
    for shown, kept in _variants(study.maintained):
        for policy, table in study.levels.items():
            made = Policy.parse(policy)
            cells = []
            record: dict[str, object] = {
                "shown": shown,
                "family": made.family,
                "variant": made.variant,
            }
            for value in study.labels:
                level, quantile = (float(table[name][value]) for name in ("mean", "base_quantile"))
                cells.append(f"mean {level:.4g}" if value in kept else f"{100 * quantile:.1f}")
                record[f"{value}_base_quantile"] = math.nan if value in kept else quantile
                if value in study.maintained:
                    record[f"{value}_mean"] = level if value in kept else math.nan
            rows.append([shown, made.family, made.variant, *cells])
            numbers.append(record)
    head = ["Variant", "Family", "Policy", *study.labels.values()]
    return Printed(head, rows, pd.DataFrame(numbers), texts=3)


def lam(study: StudyTables) -> Printed:
    """λ of each palette, with its verdict, KL (nats) and effective sample size.

    The verdict says where a palette was adjusted, and the numbers how far it got (`reached`, 1 for
    all the way). A palette without a solution has a verdict alone.
    """
    labels = study.labels
    head = ["Palette", "Verdict", *labels.values(), "KL", "ESS"]
    rows, numbers = [], []
    for palette in study.palettes.values():
        weights = [palette.lam.get(value, math.nan) for value in labels]
        cells = [_digits(one, 3) for one in weights]
        ends = [_digits(palette.kl, 3), _digits(palette.ess, 0)]
        verdict = ", ".join(filter(None, (palette.verdict, palette.adjusted)))
        rows.append([palette.name, verdict, *cells, *ends])
        numbers.append(
            {
                "palette": palette.name,
                "verdict": verdict,
                "reached": palette.reached,
                **{f"{value}_lam": one for value, one in zip(labels, weights, strict=True)},
                "kl": palette.kl,
                "ess": palette.ess,
            }
        )
    return Printed(head, rows, pd.DataFrame(numbers, columns=None if numbers else ["palette"]))


def base_quantiles(study: StudyTables) -> Printed:
    """Levels that quantile palettes ask for: one row per quantile of the base model's rewards.

    Every quantile has two rows: for all values, and as in a palette that only maintains some
    values, which then show their mean.
    """
    base = study.levels[BASE.name]
    rows, numbers = [], []
    for kind, kept in _variants(study.maintained):
        for percent in QUANTILES:
            level = {
                value: float(base["mean" if value in kept else f"q{percent}"][value])
                for value in study.labels
            }
            rows.append([kind, f"{percent} %", *(f"{one:.4g}" for one in level.values())])
            numbers.append({"variant": kind, "quantile": percent / 100, **level})
    return Printed(["Variant", "Quantile", *study.labels.values()], rows, pd.DataFrame(numbers))


def families(table: pd.DataFrame) -> Printed:
    """Navigation efficiency, by win rates and by levels, and hypervolume: one row per family."""
    head = ["Family", "Front", "Policies", "Navigable", "Efficiency (%)", "By levels (%)"]
    head.append("Hypervolume")
    rows = [
        [
            row["family"],
            row["front"],
            str(row["policies"]),
            str(row["navigable"]),
            _range(row, "efficiency", "low", "high", 100, 0),
            _range(row, "level_efficiency", "level_low", "level_high", 100, 0),
            _range(row, "hypervolume", "hypervolume_low", "hypervolume_high", 1, 3),
        ]
        for _, row in table.iterrows()
    ]
    return Printed(head, rows, table)


def _variants(maintained: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """The variants of a table of quantiles, and the values that show their mean in each."""
    return [("all values", ()), *([("maintained at mean", maintained)] if maintained else [])]


def _by_policy(
    tables: Mapping[str, pd.DataFrame],
    labels: Mapping[str, str],
    names: Sequence[str],
    cell: Callable[[pd.Series], str],
) -> Printed:
    """One row per policy, one cell per value; the columns `names` of each table as numbers."""
    rows, numbers = [], []
    for policy, table in tables.items():
        made = Policy.parse(policy)
        rows.append(
            [
                made.family,
                made.variant,
                *(cell(row) for _, row in table.loc[list(labels)].iterrows()),
            ]
        )
        record: dict[str, object] = {"family": made.family, "variant": made.variant}
        for value in labels:
            record |= {f"{value}_{name}": table[name][value] for name in names}
        numbers.append(record)
    return Printed(["Family", "Policy", *labels.values()], rows, pd.DataFrame(numbers))


def _digits(number: float, digits: int) -> str:
    return NOTHING if math.isnan(number) else f"{number:.{digits}f}"


def _percent(share: float, se: float) -> str:
    return f"{100 * share:.1f} ± {100 * se:.1f}"


def _pair(level: float, se: float) -> str:
    """A level ± its standard error, to the digit of the standard error's second figure."""
    if not se > 0:
        return f"{level:.4g}"
    digits = max(0, 1 - math.floor(math.log10(se)))
    return f"{level:.{digits}f} ± {se:.{digits}f}"


def _range(row: pd.Series, centre: str, low: str, high: str, factor: int, digits: int) -> str:
    middle, below, above = (f"{factor * row[name]:.{digits}f}" for name in (centre, low, high))
    return f"{middle} ({below} to {above})"
