"""The study's tables as a paper prints them: win rates, levels, λ, quantiles, families."""

import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from polyalign.evaluate.levels import QUANTILES
from polyalign.families import Policy
from polyalign.palettes.record import Palette
from polyalign.report.render import Printed

NOTHING = "–"


def winrates(tables: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> Printed:
    """Win rates ± standard error in per cent: a row a policy, a column a value.

    The numbers are `family`, `variant` and `V_winrate`, `V_se`, `V_low`, `V_high`, and at equal
    length `V_even_winrate`, `V_even_low`, `V_even_high`, for each value V.

    Args:
        tables: policy (`family/variant`) → its win rates; gives the order of the rows.
        labels: value → its name in the head; gives the order of the columns.
    """
    names = ("winrate", "se", "low", "high", "even_winrate", "even_low", "even_high")
    return _by_policy(tables, labels, names, lambda row: _percent(row["winrate"], row["se"]))


def levels(tables: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> Printed:
    """Levels ± standard error: a row a policy, a column a value.

    The numbers are `family`, `variant` and `V_mean`, `V_se`, `V_low`, `V_high`,
    `V_base_quantile` for each value V.
    """
    names = ("mean", "se", "low", "high", "base_quantile")
    return _by_policy(tables, labels, names, lambda row: _pair(row["mean"], row["se"]))


def realised_quantiles(
    tables: Mapping[str, pd.DataFrame], labels: Mapping[str, str], maintained: Sequence[str]
) -> Printed:
    """Levels as quantiles of the base model's rewards, in per cent: a row a policy.

    Every policy stands there twice: for all values, and with the level itself of those values that
    are only to be maintained. The numbers are `shown`, `family`, `variant`, then for each value V
    `V_base_quantile`, and for each maintained one `V_mean`; NaN where the other one is shown.

    Args:
        tables: policy (`family/variant`) → its levels; gives the order of the rows.
        labels: value → its name in the head; gives the order of the columns.
        maintained: the values that no palette raises.
    """
    rows, numbers = [], []
    for shown, kept in _variants(maintained):
        for policy, table in tables.items():
            made = Policy.parse(policy)
            cells = []
            record: dict[str, object] = {
                "shown": shown,
                "family": made.family,
                "variant": made.variant,
            }
            for value in labels:
                level, quantile = (float(table[name][value]) for name in ("mean", "base_quantile"))
                cells.append(f"mean {level:.4g}" if value in kept else f"{100 * quantile:.1f}")
                record[f"{value}_base_quantile"] = math.nan if value in kept else quantile
                if value in maintained:
                    record[f"{value}_mean"] = level if value in kept else math.nan
            rows.append([shown, made.family, made.variant, *cells])
            numbers.append(record)
    head = ["Variant", "Family", "Policy", *labels.values()]
    return Printed(head, rows, pd.DataFrame(numbers), texts=3)


def lam(palettes: Mapping[str, Palette], labels: Mapping[str, str]) -> Printed:
    """λ of each palette, with its verdict, KL (nats) and effective sample size.

    The verdict says where a palette was adjusted, and the numbers how far it got (`reached`, 1 for
    all the way).
    """
    head = ["Palette", "Verdict", *labels.values(), "KL", "ESS"]
    rows, numbers = [], []
    for palette in palettes.values():
        weights = [palette.lam.get(value, math.nan) for value in labels]
        cells = [NOTHING if math.isnan(one) else f"{one:.3f}" for one in weights]
        ends = [f"{palette.kl:.3f}", f"{palette.ess:.0f}"]
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


def base_quantiles(
    base: pd.DataFrame, labels: Mapping[str, str], maintained: Sequence[str]
) -> Printed:
    """Levels that quantile palettes ask for: a row a quantile of the base model's rewards.

    Every quantile stands there twice: for all values, and as a palette has it that only maintains
    some values, which then show their mean.

    Args:
        base: levels of the base model, indexed by value.
        labels: value → its name in the head; gives the order of the columns.
        maintained: the values that no palette raises.
    """
    rows, numbers = [], []
    for kind, kept in _variants(maintained):
        for percent in QUANTILES:
            level = {
                value: float(base["mean" if value in kept else f"q{percent}"][value])
                for value in labels
            }
            rows.append([kind, f"{percent} %", *(f"{one:.4g}" for one in level.values())])
            numbers.append({"variant": kind, "quantile": percent / 100, **level})
    return Printed(["Variant", "Quantile", *labels.values()], rows, pd.DataFrame(numbers))


def families(table: pd.DataFrame) -> Printed:
    """Navigation efficiency, by win rates and by levels, and hypervolume: a row a family."""
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
    """A row a policy, a cell a value, and the columns `names` of every table as numbers."""
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
