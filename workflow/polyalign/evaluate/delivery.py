"""Is what palettes ask delivered? Every asked level in one of three classes, and in base sd.

A level is `reached` if the measured level is at least the asked one, `missed` if its whole 95 %
interval is below, and `undecided` between the two; a ceiling is missed if the whole interval is
above it. A wide interval is no success. Raised levels count apart from ceilings, and from those of
values that only have to keep the base model's mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polyalign.evaluate.clusters import NORMAL_95
from polyalign.families import BASE
from polyalign.palettes.record import Palette

if TYPE_CHECKING:
    import pandas as pd

CLASSES = ("reached", "undecided", "missed")
KINDS = {"raised": "Raised levels", "capped": "Ceilings", "maintained": "Levels to maintain"}
NOTICEABLE = 2.0  # standard errors of the base level that a gain must exceed to have a share
WIDEST = 1.0  # of the asked gain: the share of a wider interval says nothing
ROUNDING = 1e-9  # base standard deviations
HEAVY = 0.25  # of a variance, in one row


@dataclass(frozen=True)
class Asked:
    """One level that a palette asks of one policy, and what the policy has.

    Attributes:
        policy: `family/variant`.
        palette: name of the palette.
        value: the value.
        level: the word as the config has it (`q60`, `mean`, `<= q40`).
        raised: whether the value has a floor, and not only to keep its mean.
        asked: the level in the reward's units; of a band its lower end.
        base: the base model's level on the test prompts, and `base_se` its standard error.
        sd: standard deviation of the base model's rewards; NaN where they do not vary.
        realised: the policy's level: over its candidates where `exact`, else over its answers.
        low: lower end of its 95 % interval, clustered by prompt.
        high: the upper end.
        se: its standard error.
        exact: whether `realised` is the exact expectation of a choice among candidates.
        ceiling: the highest level that may be, in the reward's units; inf if any may.
        floored: whether `asked` is the lowest level that may be; else it is the ceiling.
    """

    policy: str
    palette: str
    value: str
    level: str
    raised: bool
    asked: float
    base: float
    base_se: float
    sd: float
    realised: float
    low: float
    high: float
    se: float
    exact: bool
    ceiling: float = math.inf
    floored: bool = True

    @property
    def kind(self) -> str:
        """A key of `KINDS`; a band is raised if its lower end is."""
        if self.raised:
            return "raised"
        return "capped" if math.isfinite(self.ceiling) else "maintained"

    @property
    def floor(self) -> float:
        """The lowest level that may be; -inf if any may."""
        return self.asked if self.floored else -math.inf

    @property
    def verdict(self) -> str:
        """`reached`, `undecided` or `missed`."""
        slack = ROUNDING * self.sd if self.sd > 0 else 0.0
        floor, ceiling = self.floor - slack, self.ceiling + slack
        if floor <= self.realised <= ceiling:
            return "reached"
        return "missed" if self.high < floor or self.low > ceiling else "undecided"

    @property
    def excess(self) -> float:
        """How far the level is beyond what may be, in standard deviations of the base; signed.

        Below 0 it is short of its floor, above 0 it exceeds its ceiling.
        """
        short, over = min(0.0, self.realised - self.floor), max(0.0, self.realised - self.ceiling)
        return (short + over) / self.sd

    @property
    def gain(self) -> float:
        """What is asked above the base level, in standard deviations of the base."""
        return self.in_sd(self.asked)

    @property
    def asked_text(self) -> str:
        """What may be, as gains in standard deviations of the base: `+0.29`, `≤ −0.10`."""
        return bounds_text(self.in_sd(self.floor), self.in_sd(self.ceiling))

    def in_sd(self, level: float) -> float:
        """A level as its distance from the base level in standard deviations of the base."""
        return (level - self.base) / self.sd

    @property
    def share(self) -> tuple[float, float, float]:
        """Share of the asked gain that is realised, with its 95 % interval.

        The interval is Fieller's (J. R. Statist. Soc. B 16, 1954) for the ratio of the two gains,
        which have the base level in common; the two levels are taken as independent, which makes it
        wider where answers to the same prompts go together. All three are NaN where the asked gain
        is within two standard errors of the base level, where the interval is wider than the
        whole asked gain, and for a ceiling.
        """
        nothing = (math.nan, math.nan, math.nan)
        asked, gain = self.asked - self.base, self.realised - self.base
        if not self.floored or not asked > NOTICEABLE * self.base_se or math.isnan(self.se):
            return nothing
        own, shared = (NORMAL_95 * self.se) ** 2, (NORMAL_95 * self.base_se) ** 2
        # (gain - R asked)^2 = own + (1 - R)^2 shared, as a R^2 - 2 b R + c = 0.
        a, b, c = asked**2 - shared, gain * asked - shared, gain**2 - own - shared
        root = math.sqrt(max(0.0, b * b - a * c))
        low, high = (b - root) / a, (b + root) / a
        return (gain / asked, low, high) if high - low <= WIDEST else nothing


def asked_levels(
    levels: Mapping[str, "pd.DataFrame"],
    palettes: Mapping[str, Palette],
    policies: Mapping[str, str | None],
) -> list[Asked]:
    """Every level that a palette asks of a policy: by palette, then policy, then value.

    Args:
        levels: policy → its levels table, indexed by value; `base/base` among them.
        palettes: name → solved palette; gives the order.
        policies: policy → name of the palette that it realises, or None.
    """
    base = levels[BASE.name]
    found = []
    for palette in palettes.values():
        for policy in (name for name, asks in policies.items() if asks == palette.name):
            for value in (value for value in base.index if value in palette.asked):
                floor = base.loc[value]
                realised, low, high, se, exact = best_known(levels[policy], value)
                sd = float(floor["sd"])
                found.append(
                    Asked(
                        policy=policy,
                        palette=palette.name,
                        value=str(value),
                        level=palette.levels[value],
                        raised=value in palette.raised,
                        asked=palette.asked[value],
                        base=float(floor["mean"]),
                        base_se=float(floor["se"]),
                        sd=sd if sd > 0 else math.nan,
                        realised=realised,
                        low=low,
                        high=high,
                        se=se,
                        exact=exact,
                        ceiling=palette.ceilings.get(value, math.inf),
                        floored=value in palette.floors,
                    )
                )
    return found


def best_known(table: "pd.DataFrame", value: str) -> tuple[float, float, float, float, bool]:
    """Level, ends of its 95 % interval, standard error, and whether it is an exact expectation.

    A policy that chooses among candidates has an exact expectation over them, which is less
    uncertain than the mean of its draws.

    Args:
        table: levels of the policy, indexed by value.
        value: the value.
    """
    level, se = float(table["expected"][value]), float(table["expected_se"][value])
    if math.isfinite(level) and math.isfinite(se):
        return level, level - NORMAL_95 * se, level + NORMAL_95 * se, se, True
    mean, low, high, se = (float(table[name][value]) for name in ("mean", "low", "high", "se"))
    return mean, low, high, se, False


def counts(asked: Sequence[Asked], kind: str) -> dict[str, int]:
    """How many of the levels of a kind (a key of `KINDS`) are in each class."""
    verdicts = [one.verdict for one in asked if one.kind == kind]
    return {name: verdicts.count(name) for name in CLASSES}


def outcome(asked: Sequence[Asked]) -> str:
    """How many raised levels are reached, undecided and missed, then the same of the other kinds.

    Empty if nothing is asked.
    """
    return _told({kind: counts(asked, kind) for kind in KINDS})


def outcome_of(summary: "pd.DataFrame") -> str:
    """The same from the table of `polyalign.evaluate.summary.summary`."""
    return _told(
        {kind: {name: int(summary[f"{kind}_{name}"].sum()) for name in CLASSES} for kind in KINDS}
    )


def _told(numbers: Mapping[str, Mapping[str, int]]) -> str:
    parts = []
    for kind, number in numbers.items():
        if total := sum(number.values()):
            parts.append(
                f"{KINDS[kind]}: {number['reached']} of {total} reached, {number['undecided']} "
                f"undecided, {number['missed']} missed."
            )
    return " ".join(parts)


def in_sd_text(gain: float) -> str:
    """An asked or realised gain as readers see it, `+0.29`; one that rounds to 0 is `+0.00`."""
    # Adding 0 takes the sign from a rounded -0.
    return "–" if math.isnan(gain) else f"{round(gain, 2) + 0.0:+.2f}".replace("-", "−")


def bounds_text(floor: float, ceiling: float) -> str:
    """What levels may be, as readers see it: `+0.29`, `≤ −0.10`, `−0.10 to +0.29`.

    Args:
        floor: the lowest gain; not finite if there is no floor.
        ceiling: the highest gain; not finite if there is no ceiling.
    """
    low, high = (in_sd_text(gain) for gain in (floor, ceiling))
    if not math.isfinite(ceiling):
        return low
    return f"{low} to {high}" if math.isfinite(floor) else f"≤ {high}"


def heavy_rows(levels: Mapping[str, "pd.DataFrame"], labels: Mapping[str, str]) -> list[str]:
    """A sentence for each level whose variance is for more than a quarter in one answer.

    Args:
        levels: policy → its levels table, indexed by value.
        labels: value → its name; gives the values and their order.
    """
    found = []
    for policy, table in levels.items():
        for value, label in labels.items():
            share, number = float(table["heaviest"][value]), int(table["n_samples"][value])
            if share > HEAVY and number > 1 / HEAVY:
                reward = f"{float(table['heaviest_reward'][value]):.4g}".replace("-", "−")
                found.append(
                    f"{label} of {policy}: one answer of {number} carries {100 * share:.0f} % of "
                    f"the variance (its reward is {reward}), so it may decide the level"
                )
    return found
