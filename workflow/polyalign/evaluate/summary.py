"""The study in one table: what each palette asks, what its policies deliver, and at what KL."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.evaluate.expected import Expected
from polyalign.evaluate.significance import LEVEL, holm, p_all, p_better
from polyalign.families import BASE, Policy
from polyalign.palettes.record import Palette

NOTICEABLE = 2.0  # standard errors of the base level that a gain must exceed to have a share


def summary(
    levels: Mapping[str, pd.DataFrame],
    winrates: Mapping[str, pd.DataFrame],
    palettes: Mapping[str, Palette],
    policies: Mapping[str, str | None],
    expected: Mapping[str, Expected],
    *,
    chosen: Sequence[str],
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
        costs: policy → what `polyalign.evaluate.costs.read_costs` says of it.

    Returns:
        `family`, `variant`, `palette`, `levels` (asked, as text), `verdict`, `reached`; `kl` and
        `kl_se` (nats); `delivered`, the share of the asked gain over the base model that the
        policy's measured levels hold, values weighted by its λ; `better_in_all`, whether the win
        rates are above one half in all chosen values (`p_all` of the intersection-union test is
        below 0.05); `n_tokens`, `empty` and `truncated` (as in the levels); the costs;
        `n_prompts`, `n_samples`; then for each value V: `V_lam` (the weight that the policy was
        made with), `V_asked`, `V_predicted` (what is expected of the policy), `V_level`, `V_se`,
        `V_delivered` (NaN where the gain asked for is within two standard errors of the base
        level), `V_winrate`, `V_winrate_low`, `V_winrate_high`, `V_p` (one-sided p-value of a win
        rate above one half, Holm-adjusted for the policy's values), `V_even_winrate` (at equal
        length). NaN for a policy without a palette, λ or prediction.

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
    base = levels[BASE.name].set_index("value")
    rows = [
        _row(
            policy,
            levels[policy].set_index("value"),
            winrates[policy].set_index("value"),
            base,
            palettes[palette] if palette else None,
            expected[policy],
            chosen,
            costs[policy],
        )
        for policy, palette in policies.items()
    ]
    return pd.DataFrame(rows)


def _row(
    policy: str,
    levels: pd.DataFrame,
    winrates: pd.DataFrame,
    base: pd.DataFrame,
    palette: Palette | None,
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
    joint = p_all(p[list(chosen)].to_numpy())
    row: dict[str, object] = {
        "family": parsed.family,
        "variant": parsed.variant,
        "palette": palette.name if palette else "",
        "levels": levels_text(palette) if palette else "",
        "verdict": palette.verdict if palette else "",
        "reached": palette.reached if palette else np.nan,
        "kl": first["kl"],
        "kl_se": first["kl_se"],
        "delivered": _delivered(levels, base, palette, expected) if palette else np.nan,
        "better_in_all": joint < LEVEL,
        "p_all": joint,
        **{name: first[name] for name in ("n_tokens", "empty", "truncated")},
        **costs,
        "n_prompts": int(first["n_prompts"]),
        "n_samples": int(first["n_samples"]),
    }
    for value in levels.index:
        level, floor = levels.loc[value, "mean"], base.loc[value, "mean"]
        asked = palette.asked.get(value, np.nan) if palette else np.nan
        noticeable = asked - floor > NOTICEABLE * base.loc[value, "se"]
        row |= {
            f"{value}_lam": expected.lam.get(value, np.nan),
            f"{value}_asked": asked,
            f"{value}_predicted": expected.predicted.get(value, np.nan),
            f"{value}_level": level,
            f"{value}_se": levels.loc[value, "se"],
            f"{value}_delivered": (level - floor) / (asked - floor) if noticeable else np.nan,
            f"{value}_winrate": winrates.loc[value, "winrate"],
            f"{value}_winrate_low": winrates.loc[value, "low"],
            f"{value}_winrate_high": winrates.loc[value, "high"],
            f"{value}_p": adjusted[value],
            f"{value}_even_winrate": winrates.loc[value, "even_winrate"],
        }
    return row


def levels_text(palette: Palette) -> str:
    """The levels that a palette asks for, as one line: `humor q60, helpful mean`."""
    return ", ".join(f"{value} {level}" for value, level in palette.levels.items())


def _delivered(
    levels: pd.DataFrame, base: pd.DataFrame, palette: Palette, expected: Expected
) -> float:
    """Σ λ (level - base) / Σ λ (asked - base): in λ's own units, in which values add up."""
    values = [value for value in palette.asked if expected.lam.get(value, 0.0) > 0]
    lam = np.array([expected.lam[value] for value in values])
    floor = base.loc[values, "mean"].to_numpy(dtype=np.float64)
    gain = lam @ (levels.loc[values, "mean"].to_numpy(dtype=np.float64) - floor)
    asked = lam @ (np.array([palette.asked[value] for value in values]) - floor)
    return float(gain / asked) if asked > 0 else float("nan")
