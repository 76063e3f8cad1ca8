"""Win rates by a judge beside those by rewards."""

import math
from collections.abc import Mapping

import pandas as pd

from polyalign.families import Policy
from polyalign.report.printed import Printed
from polyalign.report.text import in_percent

NOTHING = "–"
OF_JUDGE = (
    *("winrate", "se", "low", "high", "wilson_low", "wilson_high"),
    *("ties", "differ", "first", "n_pairs", "n_unread"),
)
OF_VALUE = (
    *("reward_winrate", "reward_se", "n_decided", "agreement", "agreement_low", "agreement_high"),
    *("kappa", "kappa_low", "kappa_high"),
)


def judge(found: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> Printed:
    """The judge's win rates, its bias for a position, and each value's win rate and agreement.

    Args:
        found: policy → table of `polyalign.evaluate.judged.judged`.
        labels: value → its name.

    Returns:
        One row per policy. The numbers are `family`, `variant`, those of the judge, and for each
        value V `V_reward_winrate` and so on, named as in `polyalign.evaluate.judged.judged`.
    """
    numbers = []
    for policy, table in found.items():
        made = Policy.parse(policy)
        record: dict[str, object] = {"family": made.family, "variant": made.variant}
        record |= {name: table[name].iloc[0] for name in OF_JUDGE}
        by_value = table.set_index("value")
        for value in labels:
            record |= {f"{value}_{name}": by_value.loc[value, name] for name in OF_VALUE}
        numbers.append(record)
    return printed_judge(pd.DataFrame(numbers), labels)


def printed_judge(numbers: pd.DataFrame, labels: Mapping[str, str]) -> Printed:
    """The same from its numbers, as the CSV file has them."""
    head = ["Family", "Policy", "Judge", "Orders differ", "Shown first", "Pairs", *labels.values()]
    rows = [
        [
            str(row["family"]),
            str(row["variant"]),
            in_percent(row["winrate"], row["se"]),
            in_percent(row["differ"]),
            in_percent(row["first"]),
            f"{row['n_pairs']:.0f}",
            *(_of_value(row, value) for value in labels),
        ]
        for _, row in numbers.iterrows()
    ]
    return Printed(head, rows, numbers)


def _of_value(row: pd.Series, value: str) -> str:
    """A reward's win rate, and behind the bar its agreement with the judge and kappa."""
    of = {name: float(row[f"{value}_{name}"]) for name in OF_VALUE}
    agrees = NOTHING
    if of["n_decided"]:
        agrees = (
            f"{100 * of['agreement']:.0f} ({100 * of['agreement_low']:.0f} to "
            f"{100 * of['agreement_high']:.0f}) of {of['n_decided']:.0f}"
        )
        if not math.isnan(of["kappa"]):
            agrees += f", κ {of['kappa']:.2f}"
            if not math.isnan(of["kappa_low"]):
                agrees += f" ({of['kappa_low']:.2f} to {of['kappa_high']:.2f})"
    return f"{in_percent(of['reward_winrate'], of['reward_se'])} | {agrees}"
