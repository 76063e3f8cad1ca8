"""Families as wholes: how many of their policies can be navigated to, and how much they reach."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from polyalign.errors import InputError
from polyalign.evaluate.clusters import INTERVAL, check_columns, cluster_counts, judged_rows
from polyalign.evaluate.winrate import chances, compare, wilson
from polyalign.families import BASE, Policy
from polyalign.map.front import hypervolume


def families(
    frames: Mapping[str, pd.DataFrame],
    values: Sequence[str],
    *,
    opponent: str,
    slack: float,
    reference: Mapping[str, float],
    scale: Mapping[str, float],
    bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """Navigation efficiency and hypervolume of each family, on the test prompts.

    Navigation efficiency is the share of a family's policies whose win rates are at least
    ½ - `slack` in every chosen value. Its interval `low`, `high` resamples prompts, the same for
    all policies: how much the result depends on the test prompts. `wilson_low`,
    `wilson_high` treats the policies as a random sample of the family's policies, as random λ are.

    The same holds for levels: a policy is navigable there if no chosen level is below the base
    model's by more than `slack` times the standard deviation of the base model's rewards.

    The hypervolume is that of the union of the boxes between the reference point and the policies'
    levels, in units of `scale`. The policies of the front are those that no other of the family
    dominates on one half of the prompts; their levels are measured on the other half, so a
    lucky choice gains nothing; both ways are averaged. Its interval resamples the prompts that
    measure, the front being given.

    Args:
        frames: policy → rewards table, with `base/base` and `opponent` among them.
        values: the chosen values.
        opponent: the policy that win rates compare with.
        slack: how far below one half a win rate may be, and a level below the base level in
            standard deviations of the base model's rewards.
        reference: value → level; a value left out takes the base model's.
        scale: value → unit; a value left out takes the standard deviation of the base model's
            rewards.
        bootstrap: resamples of prompts behind an interval.
        seed: seed of the resamples.

    Returns:
        One row per family, that of the base model among them: `family`, `policies`, `navigable`
        (their number), `efficiency`, `low`, `high`, `wilson_low`, `wilson_high`, `slack`; of levels
        `level_efficiency`, `level_low`, `level_high`; `hypervolume`, `hypervolume_low`,
        `hypervolume_high`, `front` (policies of the front by all prompts); and for each value V
        `V_band`, the slack of its level in the reward's units.

    Raises:
        InputError: if a table has no test row or lacks a value, the test prompts differ, or there
            is one only.
    """
    names = list(values)
    scores, levels = {}, {}
    for policy, frame in frames.items():
        found = compare(frame, frames[opponent], names)
        scores[policy] = found.scores
        levels[policy] = prompt_levels(frame, names, found.prompts)
    if len(levels[BASE.name][1]) < 2:
        raise InputError(
            "a front is chosen on one half of the test prompts and measured on the other; there is "
            "1 test prompt: raise prompts.test_share"
        )
    # Neighbours in the sorted list of hashes have nothing in common: even against odd halves.
    half = np.arange(len(levels[BASE.name][1])) % 2 == 0
    base = judged_rows(frames[BASE.name])[names]
    zero = np.array([reference.get(name, base[name].mean()) for name in names])
    unit = np.array([scale.get(name, base[name].std(ddof=0)) for name in names])
    band = slack * base.std(ddof=0).to_numpy()
    counts = np.concatenate(list(cluster_counts(len(half), bootstrap, seed)))
    rows = []
    for family in dict.fromkeys(Policy.parse(name).family for name in frames):
        members = [name for name in frames if Policy.parse(name).family == family]
        rates = np.stack([scores[name].mean(axis=0) for name in members])
        good = navigable(rates, slack)
        again = np.stack([counts @ scores[name] / len(half) for name in members], axis=1)
        shares = navigable(again, slack).mean(axis=1)
        low, high = np.percentile(shares, INTERVAL, method="inverted_cdf")
        wilson_low, wilson_high = wilson(np.array([good.mean()]), len(members))
        own = [levels[name] for name in members]
        volume, ends, front = _volumes(own, half, zero, unit, bootstrap=bootstrap, seed=seed)
        rows.append(
            {
                "family": family,
                "policies": len(members),
                "navigable": int(good.sum()),
                "efficiency": good.mean(),
                "low": low,
                "high": high,
                "wilson_low": wilson_low[0],
                "wilson_high": wilson_high[0],
                "slack": slack,
                **_by_levels(own, levels[BASE.name], band, counts),
                "hypervolume": volume,
                "hypervolume_low": ends[0],
                "hypervolume_high": ends[1],
                "front": " ".join(Policy.parse(members[i]).variant for i in front),
                **{f"{name}_band": width for name, width in zip(names, band, strict=True)},
            }
        )
    return pd.DataFrame(rows)


def navigable_text(row: pd.Series, kind: str = "") -> str:
    """How many of a family's policies are navigable, as readers see it: `1 of 4 (5 to 70 %)`.

    The interval is Wilson's over the policies. One policy has none: it says nothing of a share.

    Args:
        row: a row of the table of `families`.
        kind: `level_` for navigability by levels, else by win rates.
    """
    policies, share = int(row["policies"]), float(row[f"{kind}efficiency"])
    text = f"{round(share * policies)} of {policies}"
    if policies == 1:
        return text
    (low,), (high,) = wilson(np.array([share]), policies)
    return f"{text} ({100 * low:.0f} to {100 * high:.0f} %)"


def side(volume: float, values: int) -> float:
    """Side of the cube of `values` dimensions that has this hypervolume, in the units of levels."""
    return float(max(volume, 0.0) ** (1 / values))


def navigable(rates: np.ndarray, slack: float) -> np.ndarray:
    """Whether win rates (…, k) are all at least ½ - `slack`, up to rounding."""
    return np.asarray((rates >= 0.5 - slack - 1e-12).all(axis=-1))


def _by_levels(
    own: Sequence[tuple[np.ndarray, np.ndarray]],
    base: tuple[np.ndarray, np.ndarray],
    band: np.ndarray,
    counts: np.ndarray,
) -> dict[str, float]:
    """Navigation efficiency by levels with its interval; arguments as of `_not_below`."""
    shares = [
        np.mean([_not_below(one, base, band, weights) for one in own], axis=0)
        for weights in (np.ones((1, counts.shape[1])), counts)
    ]
    low, high = np.percentile(shares[1], INTERVAL, method="inverted_cdf")
    return {"level_efficiency": float(shares[0][0]), "level_low": low, "level_high": high}


def _not_below(
    ours: tuple[np.ndarray, np.ndarray],
    base: tuple[np.ndarray, np.ndarray],
    band: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """For each row of weights, whether all levels are at least the base levels - `band`.

    Args:
        ours: sums (N, k) and numbers (N,) of a policy's rewards by prompt.
        base: those of the base model.
        band: (k,) in the rewards' units.
        weights: (m, N) how often each prompt counts.
    """
    level, floor = ((weights @ sums) / (weights @ sizes)[:, None] for sums, sizes in (ours, base))
    return np.asarray((level >= floor - band - 1e-9 * np.abs(floor)).all(axis=1))


def prompt_levels(
    frame: pd.DataFrame, values: Sequence[str], prompts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Sums (N, k) and numbers (N,) of a policy's rewards for each of the test prompts.

    Candidates with a probability (`CHANCE`) count with it, so that each prompt has the number 1.
    """
    rows = judged_rows(frame)
    check_columns(rows, list(values), "the policy's rewards table")
    chance = pd.Series(chances(rows), rows.index)
    groups = rows[list(values)].mul(chance, axis="index").groupby(rows["prompt_id"])
    sizes = chance.groupby(rows["prompt_id"]).sum()
    return groups.sum().loc[list(prompts)].to_numpy(), sizes.loc[list(prompts)].to_numpy()


def undominated(points: np.ndarray) -> list[int]:
    """Rows (m, k) that no other row equals or exceeds in all columns and exceeds in one."""
    return [
        i
        for i, point in enumerate(points)
        if not ((points >= point).all(axis=1) & (points > point).any(axis=1)).any()
    ]


def _volumes(
    levels: Sequence[tuple[np.ndarray, np.ndarray]],
    half: np.ndarray,
    zero: np.ndarray,
    unit: np.ndarray,
    *,
    bootstrap: int,
    seed: int,
) -> tuple[float, np.ndarray, list[int]]:
    """Hypervolume of a family with its interval (2,), and its front by all prompts."""

    def points(weight: np.ndarray, policies: Sequence[int]) -> np.ndarray:
        means = [(weight @ levels[i][0]) / (weight @ levels[i][1]) for i in policies]
        return (np.array(means) - zero) / unit

    everyone = range(len(levels))
    volume, again = 0.0, np.zeros(bootstrap)
    for turn, chosen in enumerate((half, ~half)):
        front = undominated(points(chosen.astype(float), everyone))
        volume += hypervolume(points((~chosen).astype(float), front)) / 2
        weight = np.zeros((bootstrap, len(half)))
        weight[:, ~chosen] = np.concatenate(
            list(cluster_counts(int((~chosen).sum()), bootstrap, seed + turn))
        )
        again += [hypervolume(points(one, front)) / 2 for one in weight]
    ends = np.percentile(again, INTERVAL)
    return volume, ends, undominated(points(np.ones(len(half)), everyone))
