"""The study's tables as a paper prints them; polyalign.report.registry names them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from polyalign.evaluate.delivery import Asked, asked_levels, in_sd_text
from polyalign.evaluate.levels import QUANTILES
from polyalign.evaluate.navigation import navigable_text, side
from polyalign.evaluate.seeds import Spread
from polyalign.families import BASE, Policy
from polyalign.palettes.record import Palette
from polyalign.report.printed import Printed, Topics
from polyalign.report.text import in_percent, seeds
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
        spread: policy → its spread over seeds, of those that are trained with several.
    """

    labels: Mapping[str, str]
    levels: Mapping[str, pd.DataFrame]
    winrates: Mapping[str, pd.DataFrame]
    palettes: Mapping[str, Palette]
    maintained: Sequence[str]
    summary: pd.DataFrame
    spread: Mapping[str, Spread] = field(default_factory=dict)

    def over_seeds(self, policy: str, value: str) -> float:
        """Standard deviation of a level over seeds; NaN for a policy with one seed."""
        found = self.spread.get(policy)
        return found.level[value] if found else math.nan


def summary(study: StudyTables) -> Topics:
    """The summary of all policies: one row per policy, for readers one table per topic."""
    return by_topic(study.summary, study.labels)


def winrates(study: StudyTables) -> Printed:
    """Win rates ± standard error in per cent, and behind the bar those at equal length.

    One row per policy, one column per value. The numbers are `family`, `variant` and `V_winrate`,
    `V_se`, `V_low`, `V_high`, and at equal length `V_even_winrate`, `V_even_se`, `V_even_low`,
    `V_even_high`, for each value V; in a study that has policies with several seeds `V_seeds_sd`
    and, at equal length, `V_even_seeds_sd`.
    """
    names = ("winrate", "se", "low", "high", "even_winrate", "even_se", "even_low", "even_high")
    over_seeds = {
        "seeds_sd": {policy: one.winrate for policy, one in study.spread.items()},
        "even_seeds_sd": {policy: one.even_winrate for policy, one in study.spread.items()},
    }
    return _by_policy(study.winrates, study.labels, names, _at_both_lengths, over_seeds)


def delivery(study: StudyTables) -> Printed:
    """What was asked and what was delivered: one row per palette and policy that realises it.

    A cell has the realised gain over the base level ± half its 95 % interval, then the asked gain,
    in standard deviations of the base, and whether it is reached; values to maintain have no more
    than the gain where they are reached, and ceilings have `≤`. Raised values of a trained policy
    also have the gain that perfect training would deliver with the policy's λ. The numbers are
    `palette`, `policy` and for each value V `V_asked_sd`, `V_ceiling_sd` (where one is asked),
    `V_realised_sd`, `V_low_sd`, `V_high_sd`, `V_expected_sd`, `V_expected_low_sd`,
    `V_expected_high_sd` (what is expected of the policy), `V_share`, `V_share_low`, `V_share_high`,
    `V_raised`, `V_exact` and `V_outcome`; NaN and empty where nothing is asked. A study that has
    policies with several seeds also has `V_over_seeds_sd`, the standard deviation of the level over
    seeds, and `kl_over_seeds` (nats).
    """
    head = ["Palette", "Policy", *study.labels.values(), "KL (nats)"]
    found = asked_levels(study.levels, study.palettes, _realised(study.summary))
    expected = {f"{row['family']}/{row['variant']}": row for _, row in study.summary.iterrows()}
    rows, numbers = [], []
    for policy in dict.fromkeys(one.policy for one in found):
        asked = {one.value: one for one in found if one.policy == policy}
        palette = next(iter(asked.values())).palette
        adjusted = study.palettes[palette].adjusted
        named = f"{palette} ({adjusted})" if adjusted else palette
        can = {
            value: _expected(expected[policy], value, asked.get(value)) for value in study.labels
        }
        gains = {
            value: study.over_seeds(policy, value) / asked[value].sd if value in asked else math.nan
            for value in study.labels
        }
        cells = [
            _delivered(asked[value], can[value][0], gains[value]) if value in asked else NOTHING
            for value in study.labels
        ]
        nats = study.spread[policy].kl if policy in study.spread else math.nan
        kl = f"{_nats(study.levels[policy].iloc[0])}{seeds(nats, 2)}"
        rows.append([named, policy, *cells, kl])
        record: dict[str, object] = {"palette": palette, "policy": policy}
        for value in study.labels:
            record |= _delivery_numbers(value, asked.get(value), can[value])
        if study.spread:
            record |= {f"{value}_over_seeds_sd": gain for value, gain in gains.items()}
            record["kl_over_seeds"] = nats
        numbers.append(record)
    return Printed(head, rows, pd.DataFrame(numbers, columns=None if numbers else ["palette"]))


def levels(study: StudyTables) -> Printed:
    """Levels ± standard error: one row per policy, one column per value.

    The numbers are `family`, `variant` and `V_mean`, `V_se`, `V_low`, `V_high`,
    `V_base_quantile` for each value V; in a study that has policies with several seeds
    `V_seeds_sd`.
    """
    names = ("mean", "se", "low", "high", "base_quantile")
    over_seeds = {"seeds_sd": {policy: one.level for policy, one in study.spread.items()}}
    return _by_policy(study.levels, study.labels, names, _level, over_seeds)


def realised_quantiles(study: StudyTables) -> Printed:
    """Levels as quantiles of the base model's rewards, in per cent: one row per policy.

    Values that are only maintained have their level beside it, and those of whose rewards many are
    one number have no quantile. The numbers are `family`, `variant`, then for each value V
    `V_base_quantile` and `V_mean`.
    """
    rows, numbers = [], []
    for policy, table in study.levels.items():
        made = Policy.parse(policy)
        cells = []
        record: dict[str, object] = {"family": made.family, "variant": made.variant}
        for value in study.labels:
            level, quantile = (float(table[name][value]) for name in ("mean", "base_quantile"))
            share = NOTHING if _is_tied(study, value) else f"{100 * quantile:.1f}"
            cells.append(share + f" (mean {level:.4g})" * (value in study.maintained))
            record |= {f"{value}_base_quantile": quantile, f"{value}_mean": level}
        rows.append([made.family, made.variant, *cells])
        numbers.append(record)
    head = ["Family", "Policy", *study.labels.values()]
    return Printed(head, rows, pd.DataFrame(numbers))


def _is_tied(study: StudyTables, value: str) -> bool:
    """Whether at least 4 of 10 rewards of the base model are one number, from its quantiles."""
    base = study.levels[BASE.name]
    return bool(base["q50"][value] == base["q90"][value])


def lam(study: StudyTables) -> Printed:
    """λ of each palette, with its verdict, KL (nats) and effective sample size.

    Behind the bar are λ for training and the KL of perfect training. The numbers of them are
    `V_lam_train`, `V_lam_train_low`, `V_lam_train_high`, `train_kl`, and the levels that perfect
    training delivers, `V_train_level`, `V_train_low`, `V_train_high`. The verdict says where a
    palette was adjusted, and the numbers how far it got (`reached`, 1 for all the way). A palette
    without a solution has a verdict alone.
    """
    labels = study.labels
    head = ["Palette", "Verdict", *labels.values(), "KL", "ESS"]
    rows, numbers = [], []
    for palette in study.palettes.values():
        trained = palette.trained
        cells = [_digits_of_both(palette.lam, palette.lam_train, value) for value in labels]
        kl = _digits(palette.kl, 3)
        if math.isfinite(trained.kl):
            kl += f" | {_digits(trained.kl, 3)}"
        ends = [kl, _digits(palette.ess, 0)]
        verdict = ", ".join(filter(None, (palette.verdict, palette.adjusted)))
        rows.append([palette.name, verdict, *cells, *ends])
        numbers.append(
            {
                "palette": palette.name,
                "verdict": verdict,
                "reached": palette.reached,
                **{
                    f"{value}_{name}": numbers_of.get(value, math.nan)
                    for value in labels
                    for name, numbers_of in (
                        ("lam", palette.lam),
                        ("lam_train", palette.lam_train),
                        ("lam_train_low", trained.lam_low),
                        ("lam_train_high", trained.lam_high),
                        ("train_level", trained.level),
                        ("train_low", trained.low),
                        ("train_high", trained.high),
                    )
                },
                "kl": palette.kl,
                "train_kl": trained.kl,
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
    """Navigable policies, by win rates and by levels, and hypervolume: one row per family.

    Numbers of policies have Wilson's interval. The hypervolume is shown as the side of a cube of
    the same volume, whose unit is that of the levels.
    """
    head = ["Family", "Front", "Navigable", "By levels", "Side of hypervolume"]
    values = sum(str(name).endswith("_band") for name in table)
    rows = [
        [
            row["family"],
            row["front"],
            navigable_text(row),
            navigable_text(row, "level_"),
            _range(
                *(side(row[f"hypervolume{end}"], values) for end in ("", "_low", "_high")), digits=2
            ),
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
    cell: Callable[..., str],
    over_seeds: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> Printed:
    """One row per policy, one cell per value; the columns `names` of each table as numbers.

    `over_seeds` holds standard deviations over seeds: column → policy → value → number. A `cell` is
    told the row of its value, and these of it in their order.
    """
    rows, numbers = [], []
    several = any(over_seeds.values())
    for policy, table in tables.items():
        made = Policy.parse(policy)
        sd = {
            value: [of.get(policy, {}).get(value, math.nan) for of in over_seeds.values()]
            for value in labels
        }
        shown = table.loc[list(labels)].iterrows()
        cells = [cell(row, *sd[value]) for value, (_, row) in zip(labels, shown, strict=True)]
        rows.append([made.family, made.variant, *cells])
        record: dict[str, object] = {"family": made.family, "variant": made.variant}
        for value in labels:
            record |= {f"{value}_{name}": table[name][value] for name in names}
            if several:
                named = zip(over_seeds, sd[value], strict=True)
                record |= {f"{value}_{name}": one for name, one in named}
        numbers.append(record)
    return Printed(["Family", "Policy", *labels.values()], rows, pd.DataFrame(numbers))


def _digits(number: float, digits: int) -> str:
    return NOTHING if math.isnan(number) else f"{number:.{digits}f}"


def _digits_of_both(lam: Mapping[str, float], lam_train: Mapping[str, float], value: str) -> str:
    """λ of a value, and behind the bar the one for training."""
    if math.isnan(lam.get(value, math.nan)):
        return NOTHING
    return f"{lam[value]:.3f} | {_digits(lam_train.get(value, math.nan), 3)}"


def _at_both_lengths(row: pd.Series, sd: float, even_sd: float) -> str:
    """A win rate with its spread over seeds, and behind the bar the one at equal length."""
    plain = in_percent(row["winrate"], row["se"])
    even = in_percent(row["even_winrate"], row["even_se"])
    return f"{plain}{seeds(100 * sd, 1)} | {even}{seeds(100 * even_sd, 1)}"


def _level(row: pd.Series, sd: float) -> str:
    """A level with its spread over seeds."""
    return f"{_pair(row['mean'], row['se'])}{seeds(sd, _places(row['se']))}"


def _realised(summary: pd.DataFrame) -> dict[str, str | None]:
    """Policy → the palette that it realises, or None."""
    names = summary["family"] + "/" + summary["variant"]
    return {name: palette or None for name, palette in zip(names, summary["palette"], strict=True)}


def _expected(row: pd.Series, value: str, one: Asked | None) -> list[float]:
    """The gain that is expected of a policy and both ends of its interval, in base sd."""
    levels = [float(row[f"{value}_predicted{end}"]) for end in ("", "_low", "_high")]
    return [one.in_sd(level) if one else math.nan for level in levels]


def _delivered(one: Asked, expected: float, over_seeds: float) -> str:
    """A cell of `delivery`.

    Args:
        one: what is asked and realised.
        expected: the gain that is expected of the policy, in base sd.
        over_seeds: standard deviation of the gain over seeds; NaN without several.
    """
    half = (one.high - one.low) / 2 / one.sd
    realised = f"{in_sd_text(one.in_sd(one.realised))} ± {_digits(half, 2)}{seeds(over_seeds, 2)}"
    if one.kind == "maintained":
        return realised if one.verdict == "reached" else f"{realised} ({one.verdict})"
    known = not one.exact and math.isfinite(expected)
    by_lam = f", λ gives {in_sd_text(expected)}" if known else ""
    return f"{realised} of {one.asked_text}{by_lam} ({one.verdict})"


def _delivery_numbers(
    value: str, one: Asked | None, expected: Sequence[float]
) -> dict[str, object]:
    """The numbers of a cell of `delivery`; `expected` is the expected gain and its interval."""
    gains = [math.nan] * 4
    if one:
        floor = one.asked if one.floored else math.nan
        gains = [one.in_sd(level) for level in (floor, one.realised, one.low, one.high)]
    shares = one.share if one else (math.nan,) * 3
    names = [
        *("asked_sd", "realised_sd", "low_sd", "high_sd"),
        *("expected_sd", "expected_low_sd", "expected_high_sd"),
        *("share", "share_low", "share_high"),
    ]
    found = zip(names, [*gains, *expected, *shares], strict=True)
    capped = one and math.isfinite(one.ceiling)
    return {
        **({f"{value}_ceiling_sd": one.in_sd(one.ceiling)} if one and capped else {}),
        **{f"{value}_{name}": number for name, number in found},
        f"{value}_raised": one.raised if one else False,
        f"{value}_exact": one.exact if one else False,
        f"{value}_outcome": one.verdict if one else "",
    }


def _nats(row: pd.Series) -> str:
    """KL to the base model; `≤` before the upper bound that a choice among candidates has."""
    bound = "≤ " if row["kl_kind"] == "choice" else ""
    return NOTHING if math.isnan(row["kl"]) else f"{bound}{row['kl']:.2f}"


def _pair(level: float, se: float) -> str:
    """A level ± its standard error, to the digit of the standard error's second figure."""
    if not se > 0:
        return f"{level:.4g}"
    digits = _places(se)
    return f"{level:.{digits}f} ± {se:.{digits}f}"


def _places(se: float) -> int:
    """Decimal places that show the second figure of a standard error."""
    return max(0, 1 - math.floor(math.log10(se))) if se > 0 else 4


def _range(centre: float, low: float, high: float, *, digits: int) -> str:
    return f"{centre:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
