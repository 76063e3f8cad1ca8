"""What came out of a study in a few sentences, and what of it not to trust."""

from collections.abc import Mapping, Sequence

import pandas as pd

from polyalign.data.cut_off import cut_warning, unread_warnings
from polyalign.evaluate.delivery import (
    NOTICEABLE,
    Asked,
    asked_levels,
    heavy_rows,
    in_sd_text,
)
from polyalign.evaluate.delivery import outcome as delivered_outcome
from polyalign.families import BASE
from polyalign.palettes.record import Palette
from polyalign.report.content import PageContent
from polyalign.report.facts import DOUBT
from polyalign.report.text import one_line, p_value


def lead(
    content: PageContent,
    summary: pd.DataFrame,
    palettes: Mapping[str, Palette],
) -> str:
    """The outcome: what was asked, what is attainable, what was reached, which is better.

    Args:
        content: the study.
        summary: table of `polyalign.evaluate.summary.summary`.
        palettes: name → solved palette.
    """
    asked = asked_levels(content.levels, palettes, content.policies)
    solved = sum(palette.solved for palette in palettes.values())
    parts = [
        f"Asked: {len(palettes)} palettes; attainable: {solved}." if palettes else "",
        delivered_outcome(asked),
        outcome(summary, labels=content.labels, chosen=content.chosen, opponent=content.opponent),
        f"All measured on {summary['n_prompts'].iloc[0]} test prompts.",
    ]
    return " ".join(filter(None, parts))


def outcome(
    summary: pd.DataFrame, *, labels: Mapping[str, str], chosen: Sequence[str], opponent: str
) -> str:
    """How many policies are better in all chosen values at once, and at equal length; and which.

    The p-values are adjusted for the number of policies.

    Args:
        summary: table of `polyalign.evaluate.summary.summary`.
        labels: value → its name.
        chosen: the values in which a policy has to be better.
        opponent: the policy that win rates compare with.
    """
    names = [labels[value] for value in chosen]
    whom = "the base model" if opponent == BASE.name else opponent
    others = summary[summary["family"] + "/" + summary["variant"] != opponent]
    parts = []
    for claim, p in (
        ("better_in_all", "p_all_holm"),
        ("better_at_equal_length", "p_all_even_holm"),
    ):
        better = others[others[claim]]
        listed = ", ".join(
            f"{row['family']}/{row['variant']} ({_told(float(row[p]))})"
            for _, row in better.iterrows()
        )
        parts.append(f"{len(better)} of {len(others)} policies{': ' + listed if listed else ''}.")
    even = f" At equal length: {parts[1]}" if others["p_all_even"].notna().any() else ""
    return (
        f"Better than {whom} in all of {', '.join(names)} at once, at the 5 % level (p adjusted "
        f"for {len(others)} policies): {parts[0]}{even}"
    )


def _told(p: float) -> str:
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def not_to_trust(
    content: PageContent,
    summary: pd.DataFrame,
    palettes: Mapping[str, Palette],
    asked: Sequence[Asked],
) -> list[str]:
    """What a reader must not rely on, and why: one sentence each.

    Args:
        content: the study.
        summary: table of `polyalign.evaluate.summary.summary`.
        palettes: name → solved palette.
        asked: every level that a palette asks of a policy.
    """
    labels = content.labels
    found = [content.left_out] if content.left_out else []
    for palette in palettes.values():
        found += [f"{palette.name}: {warning}" for warning in palette.diagnosis.warnings]
    names = summary["family"] + "/" + summary["variant"]
    cut = cut_warning(dict(zip(names, summary["truncated"].astype(float), strict=True)))
    found += [cut] if cut else []
    found += unread_warnings(content.unread, labels)
    found += [
        f"{model}: {facts[DOUBT]}" for model, facts in content.facts.items() if DOUBT in facts
    ]
    found += heavy_rows(content.levels, labels)
    for policy, levels in content.levels.items():
        if (empty := levels["n_empty"].iloc[0]) > 0:
            are = "is" if empty == 1 else "are"
            found.append(
                f"{policy}: {empty:.0f} of {levels['n_samples'].iloc[0]} answers {are} empty"
            )
    for (of, value), small in _small_gains(asked).items():
        found.append(
            f"{labels[value]} in {of}: the asked gain, {in_sd_text(small.gain)} sd, is within "
            f"{NOTICEABLE:g} standard errors of the base level: reached or missed says little"
        )
    for name, (_, row) in zip(names, summary.iterrows(), strict=True):
        if row["better_in_all"] and not row["better_at_equal_length"]:
            even = ", ".join(
                f"{labels[value]} {100 * row[f'{value}_even_winrate']:.1f} %"
                for value in content.chosen
            )
            found.append(
                f"{name} is better in all chosen values, but not at equal length: its win rates "
                f"there are {even}"
            )
    return [one_line(one) for one in found]


def _small_gains(asked: Sequence[Asked]) -> dict[tuple[str, str], Asked]:
    """Raised levels whose gain is within the uncertainty of the base level, once each."""
    return {
        (one.palette, one.value): one
        for one in asked
        if one.raised and not one.asked - one.base > NOTICEABLE * one.base_se
    }
