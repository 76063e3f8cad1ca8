"""Is what palettes ask delivered? Every asked level in one of three classes, and in base sd.

A level is `reached` if the measured level is at least the asked one, `missed` if its whole 95 %
interval is below, and `undecided` between the two. A wide interval is no success. Raised levels
count apart from those of values that only have to keep the base model's mean.
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
        level: the level as the config asks for it (`q60`, `mean`).
        raised: whether the value must not only keep its mean.
        asked: the level in the reward's units.
        base: the base model's level on the test prompts, and `base_se` its standard error.
        sd: standard deviation of the base model's rewards; NaN where they do not vary.
        realised: the policy's level: over its candidates where `exact`, else over its answers.
        low: lower end of its 95 % interval, clustered by prompt.
        high: the upper end.
        se: its standard error.
        exact: whether `realised` is the exact expectation of a choice among candidates.
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

    @property
    def verdict(self) -> str:
        """`reached`, `undecided` or `missed`."""
        slack = ROUNDING * self.sd if self.sd > 0 else 0.0
        if self.realised >= self.asked - slack:
            return "reached"
        return "missed" if self.high < self.asked - slack else "undecided"

    @property
    def gain(self) -> float:
        """What is asked above the base level, in standard deviations of the base."""
        return self.in_sd(self.asked)

    def in_sd(self, level: float) -> float:
        """A level as its distance from the base level in standard deviations of the base."""
        return (level - self.base) / self.sd

    @property
    def share(self) -> tuple[float, float, float]:
        """Share of the asked gain that is realised, with its 95 % interval.

        The interval is Fieller's (J. R. Statist. Soc. B 16, 1954) for the ratio of the two gains,
        which have the base level in common; the two levels are taken as independent, which makes it
        wider where answers to the same prompts go together. All three are NaN where the asked gain
        is within two standard errors of the base level, and where the interval is wider than the
        whole asked gain.
        """
        nothing = (math.nan, math.nan, math.nan)
        asked, gain = self.asked - self.base, self.realised - self.base
        if not asked > NOTICEABLE * self.base_se or math.isnan(self.se):
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


def counts(asked: Sequence[Asked], *, raised: bool) -> dict[str, int]:
    """How many of the raised levels, or of the others, are in each class."""
    verdicts = [one.verdict for one in asked if one.raised == raised]
    return {name: verdicts.count(name) for name in CLASSES}


def outcome(asked: Sequence[Asked]) -> str:
    """How many raised levels are reached, undecided and missed, then the same of maintained ones.

    Empty if nothing is asked.
    """
    return _told(*(counts(asked, raised=raised) for raised in (True, False)))


def outcome_of(summary: "pd.DataFrame") -> str:
    """The same from the table of `polyalign.evaluate.summary.summary`."""
    return _told(
        *(
            {name: int(summary[f"{kind}_{name}"].sum()) for name in CLASSES}
            for kind in ("raised", "maintained")
        )
    )


def _told(raised: Mapping[str, int], maintained: Mapping[str, int]) -> str:
    parts = []
    for number, what in ((raised, "Raised levels"), (maintained, "Levels to maintain")):
        if total := sum(number.values()):
            parts.append(
                f"{what}: {number['reached']} of {total} reached, {number['undecided']} "
                f"undecided, {number['missed']} missed."
            )
    return " ".join(parts)


def in_sd_text(gain: float) -> str:
    """An asked or realised gain as readers see it: `+0.29`."""
    return "–" if math.isnan(gain) else f"{gain:+.2f}".replace("-", "−")


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
                found.append(
                    f"{label} of {policy}: one answer of {number} carries {100 * share:.0f} % of "
                    f"the variance (its reward is {float(table['heaviest_reward'][value]):.4g}), "
                    "so it may decide the level"
                )
    return found
