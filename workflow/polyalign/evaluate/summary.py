"""The study in one table: what each palette asks, what its policies deliver, and at what KL."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.evaluate.delivery import KINDS, Asked, asked_levels, counts
from polyalign.evaluate.expected import Expected
from polyalign.evaluate.significance import LEVEL, holm, p_all, p_better
from polyalign.families import BASE, Policy
from polyalign.palettes.record import Palette


def summary(
    levels: Mapping[str, pd.DataFrame],
    winrates: Mapping[str, pd.DataFrame],
    palettes: Mapping[str, Palette],
    policies: Mapping[str, str | None],
    expected: Mapping[str, Expected],
    *,
    chosen: Sequence[str],
    opponent: str,
    costs: Mapping[str, Mapping[str, float]],
) -> pd.DataFrame:
    """One row per policy.

    Args:
        levels: policy (`family/variant`) → its levels table; `base/base` among them.
        winrates: policy → its win rates table.
        palettes: name → solved palette.
        policies: policy → name of the palette that it realises, or None; gives the order of rows.
        expected: policy → what `polyalign.evaluate.expected.read_expected` says of it.
        chosen: the values that the joint claim is about.
        opponent: the policy that win rates compare with, about which there is no claim.
        costs: policy → what `polyalign.evaluate.costs.read_costs` says of it.

    Returns:
        `family`, `variant`, `palette`, `levels` (asked, as text), `verdict`, `reached`; `kl`,
        `kl_se` (nats) and `kl_kind` (as in the levels); how many levels are in each class of
        `polyalign.evaluate.delivery`, `raised_reached`, `raised_undecided`, `raised_missed` of the
        raised values, `capped_…` of ceilings and `maintained_…` of the others; `better_in_all`,
        whether the win rates are above one half in all chosen values: `p_all` is the p-value of the
        intersection-union test, `p_all_holm` is adjusted for the number of policies and below 0.05
        if the claim holds; the same at equal length: `better_at_equal_length`, `p_all_even`,
        `p_all_even_holm` (NaN where lengths are not known); `n_tokens`, `empty`, `n_empty` and
        `truncated` (as in the levels); the costs; `n_prompts`, `n_samples`; then for each value V:
        `V_lam` (the weight that the policy was made with), `V_asked` (the lowest level that may
        be), `V_ceiling` (the highest one; where a palette of the study has a ceiling for the
        value), `V_predicted` (what is expected of the policy: of one that is trained, the level of
        p_λ), `V_predicted_low`, `V_predicted_high`, `V_level`, `V_se`; in standard deviations of
        the base above its level
        `V_asked_sd`, `V_ceiling_sd` (as `V_ceiling`), `V_realised_sd`,
        `V_realised_sd_low`, `V_realised_sd_high`, with `V_outcome` (`reached`, `undecided`,
        `missed`); the share of the asked gain `V_delivered`, `V_delivered_low`, `V_delivered_high`
        (`Asked.share`); `V_winrate`, `V_winrate_low`, `V_winrate_high`, `V_p` (one-sided p-value of
        a win rate above one half, Holm-adjusted for the policy's values), `V_even_winrate`,
        `V_even_low`, `V_even_high` (at equal length). NaN for a policy without a palette, λ or
        prediction.

    Raises:
        InputError: if the levels or win rates of a policy, or its palette, are missing.
    """
    for name, table in (("levels", levels), ("win rates", winrates)):
        absent = sorted({*policies, BASE.name} - set(table))
        if absent:
            raise InputError(
                f"no {name} of {', '.join(absent)}; expected them of every policy: evaluate it, or "
                "leave it out of `policies`"
            )
    unknown = sorted({name for name in policies.values() if name} - set(palettes))
    if unknown:
        raise InputError(f"no palette {', '.join(unknown)}; solve it before the summary")
    by_value = {name: table.set_index("value") for name, table in levels.items()}
    asked = asked_levels(by_value, palettes, policies)
    rows = [
        _row(
            policy,
            by_value[policy],
            winrates[policy].set_index("value"),
            palettes[palette] if palette else None,
            palettes,
            [one for one in asked if one.policy == policy],
            expected[policy],
            chosen,
            costs[policy],
        )
        for policy, palette in policies.items()
    ]
    found = pd.DataFrame(rows)
    claims = np.array([policy != opponent for policy in policies])
    for p, claim in (("p_all", "better_in_all"), ("p_all_even", "better_at_equal_length")):
        known = claims & found[p].notna().to_numpy()
        adjusted = np.full(len(found), np.nan)
        adjusted[known] = holm(found[p].to_numpy()[known])
        found[f"{p}_holm"] = adjusted
        found[claim] = adjusted < LEVEL
    return found


def _row(
    policy: str,
    levels: pd.DataFrame,
    winrates: pd.DataFrame,
    palette: Palette | None,
    palettes: Mapping[str, Palette],
    asked: Sequence[Asked],
    expected: Expected,
    chosen: Sequence[str],
    costs: Mapping[str, float],
) -> dict[str, object]:
    parsed = Policy.parse(policy)
    first = levels.iloc[0]
    p = pd.Series(
        p_better(winrates["winrate"].to_numpy(), winrates["se"].to_numpy()), winrates.index
    )
    adjusted = pd.Series(holm(p.to_numpy()), p.index)
    even = winrates.loc[list(chosen), ["even_winrate", "even_se"]].to_numpy(dtype=np.float64)
    row: dict[str, object] = {
        "family": parsed.family,
        "variant": parsed.variant,
        "palette": palette.name if palette else "",
        "levels": levels_text(palette) if palette else "",
        "verdict": palette.verdict if palette else "",
        "reached": palette.reached if palette else np.nan,
        "kl": first["kl"],
        "kl_se": first["kl_se"],
        "kl_kind": first["kl_kind"],
        **_counts(asked),
        # What the claim is, and its adjusted p-value, need all policies.
        "better_in_all": False,
        "p_all": p_all(p[list(chosen)].to_numpy()),
        "p_all_holm": np.nan,
        "better_at_equal_length": False,
        "p_all_even": p_all(p_better(*even.T)) if np.isfinite(even).all() else np.nan,
        "p_all_even_holm": np.nan,
        **{name: first[name] for name in ("n_tokens", "empty", "n_empty", "truncated")},
        **costs,
        "n_prompts": int(first["n_prompts"]),
        "n_samples": int(first["n_samples"]),
    }
    for value in levels.index:
        row |= {
            f"{value}_lam": expected.lam.get(value, np.nan),
            f"{value}_asked": palette.floors.get(value, np.nan) if palette else np.nan,
            f"{value}_predicted": expected.predicted.get(value, np.nan),
            f"{value}_predicted_low": expected.low.get(value, np.nan),
            f"{value}_predicted_high": expected.high.get(value, np.nan),
            f"{value}_level": levels.loc[value, "mean"],
            f"{value}_se": levels.loc[value, "se"],
            **_reached(str(value), next((one for one in asked if one.value == value), None)),
            **_ceiling(str(value), palettes, palette, asked),
            f"{value}_winrate": winrates.loc[value, "winrate"],
            f"{value}_winrate_low": winrates.loc[value, "low"],
            f"{value}_winrate_high": winrates.loc[value, "high"],
            f"{value}_p": adjusted[value],
            **{
                f"{value}_{name}": winrates.loc[value, name]
                for name in ("even_winrate", "even_low", "even_high")
            },
        }
    return row


def levels_text(palette: Palette) -> str:
    """The levels that a palette asks for, as one line: `humor q60, helpful mean`."""
    return ", ".join(f"{value} {level}" for value, level in palette.levels.items())


def _ceiling(
    value: str,
    palettes: Mapping[str, Palette],
    palette: Palette | None,
    asked: Sequence[Asked],
) -> dict[str, float]:
    """The ceiling of a value, where some palette of the study has one for it."""
    if not any(value in one.ceilings for one in palettes.values()):
        return {}
    ceiling = palette.ceilings.get(value, math.nan) if palette else math.nan
    gains = [one.in_sd(ceiling) for one in asked if one.value == value]
    return {f"{value}_ceiling": ceiling, f"{value}_ceiling_sd": gains[0] if gains else math.nan}


def _counts(asked: Sequence[Asked]) -> dict[str, float]:
    """Levels of each class: of raised values, and of the others; NaN where nothing is asked."""
    return {
        f"{kind}_{name}": number if asked else math.nan
        for kind in KINDS
        for name, number in counts(asked, kind).items()
    }


def _reached(value: str, asked: Asked | None) -> dict[str, object]:
    """What was asked of a value and realised, in standard deviations of the base and as a share."""
    share = asked.share if asked else (math.nan,) * 3
    floor = asked.asked if asked and asked.floored else math.nan
    levels = (floor, asked.realised, asked.low, asked.high) if asked else ()
    gains = [asked.in_sd(level) for level in levels] if asked else [math.nan] * 4
    names = ("asked_sd", "realised_sd", "realised_sd_low", "realised_sd_high")
    return {
        **{f"{value}_{name}": gain for name, gain in zip(names, gains, strict=True)},
        f"{value}_outcome": asked.verdict if asked else "",
        **{
            f"{value}_delivered{end}": one
            for end, one in zip(("", "_low", "_high"), share, strict=True)
        },
    }
