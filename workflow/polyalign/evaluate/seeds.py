"""Policies that are trained with several seeds: how far their numbers depend on the seed.

All seeds answer the same test prompts, so a number y of each prompt and seed is taken as mean +
prompt + seed + rest, all three random. The mean squares of this crossed layout without repetition
give the variance of the mean over new prompts and new trainings (Searle, Casella and McCulloch,
Variance components, 1992, chapter 4).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
from scipy.stats import t as student

from polyalign.errors import InputError
from polyalign.evaluate import length_control
from polyalign.evaluate.clusters import judged_rows
from polyalign.evaluate.nats import nats
from polyalign.evaluate.navigation import prompt_levels
from polyalign.evaluate.winrate import compare
from polyalign.families import Policy


@dataclass(frozen=True)
class Spread:
    """Standard deviations over the seeds that a policy is trained with.

    Attributes:
        seeds: how many there are.
        kl: of the KL (nats); NaN where it is not measured.
        level: value → of its level.
        winrate: value → of its win rate; empty where the opponent is one of these policies.
        even_winrate: value → of its win rate at equal length; empty where lengths are not known
            too, or separate wins from losses perfectly.
    """

    seeds: int
    kl: float
    level: Mapping[str, float]
    winrate: Mapping[str, float]
    even_winrate: Mapping[str, float]


def seeds(
    frames: Mapping[str, pd.DataFrame],
    groups: Mapping[str, Sequence[str]],
    values: Sequence[str],
    opponent: str,
) -> pd.DataFrame:
    """The mean over seeds of every level, win rate and KL, and how certain it is.

    Args:
        frames: policy → rewards table, of the policies of all groups and of the opponent.
        groups: policy → the policies that differ in the seed alone, itself among them.
        values: values to judge, in order.
        opponent: the policy that win rates compare with.

    Returns:
        One row per group and number: `family`, `variant`, `policies` (names, with spaces between),
        `number` (`level`, `winrate`, `even_winrate` or `kl`), `value` (empty for the KL), `seeds`,
        then what `two_way` says. No win rates where the opponent is in the group, none at equal
        length where that of a seed is not known, and no KL without log-probabilities.

    Raises:
        InputError: if a table has no test row or lacks a value, or the test prompts differ.
    """
    names, rows = list(values), []
    for group, members in groups.items():
        first = Policy.parse(group)
        for (number, value), by_prompt in _numbers(frames, members, names, opponent).items():
            rows.append(
                {
                    "family": first.family,
                    "variant": first.variant,
                    "policies": " ".join(members),
                    "number": number,
                    "value": value,
                    "seeds": len(members),
                    **two_way(by_prompt),
                }
            )
    return pd.DataFrame(rows)


def _numbers(
    frames: Mapping[str, pd.DataFrame],
    members: Sequence[str],
    values: list[str],
    opponent: str,
) -> dict[tuple[str, str], np.ndarray]:
    """Number and value → its (P, S) means by prompt and seed."""
    tables = [frames[name] for name in members]
    prompts = _same_prompts(dict(zip(members, tables, strict=True)))
    levels = np.stack([_by_prompt(table, values, prompts) for table in tables], axis=1)
    found = {("level", value): levels[:, :, i] for i, value in enumerate(values)}
    if opponent not in members:
        scores = [compare(table, frames[opponent], values).scores for table in tables]
        rates = np.stack(scores, axis=1)
        found |= {("winrate", value): rates[:, :, i] for i, value in enumerate(values)}
        against = judged_rows(frames[opponent])
        even = [length_control.by_prompt(judged_rows(one), against, values) for one in tables]
        known = [one for one in even if one is not None]
        if len(known) == len(even):
            rates = np.stack(known, axis=1)
            found |= {("even_winrate", value): rates[:, :, i] for i, value in enumerate(values)}
    spent = [nats(table)[0] for table in tables]
    if all(one is not None for one in spent):
        named = [table.assign(kl=one) for table, one in zip(tables, spent, strict=True)]
        found["kl", ""] = np.stack(
            [_by_prompt(table, ["kl"], prompts)[:, 0] for table in named], axis=1
        )
    return found


def _same_prompts(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The test prompts of all tables, sorted."""
    answered = {name: set(judged_rows(table)["prompt_id"]) for name, table in tables.items()}
    (first, expected), *others = answered.items()
    for name, found in others:
        if found != expected:
            raise InputError(
                f"the test prompts of {name} are not those of {first}, e.g. prompt_id "
                f"{min(found ^ expected)}; expected the same prompts for every seed: make the "
                "samples of both again"
            )
    return sorted(expected)


def _by_prompt(frame: pd.DataFrame, columns: list[str], prompts: list[str]) -> np.ndarray:
    """Means (P, k) of some columns of a policy's answers to each prompt."""
    sums, sizes = prompt_levels(frame, columns, prompts)
    return np.asarray(sums / sizes[:, None])


def two_way(numbers: np.ndarray) -> dict[str, float]:
    """The mean of numbers by prompt and seed, and how far prompts and seeds move it.

    With the mean squares A of the prompts, B of the seeds and E of the rest, the squared standard
    error is (A + B - E) / PS. The parts of prompts and of seeds are at least 0, so A and B count as
    at least E. Half the interval, squared, is (t² A + u² (B - E)) / PS, with Student's quantiles t
    for P - 1 and u for S - 1 degrees of freedom (Howe, JASA 69, 1974): two or three seeds make it
    wide where the seeds decide. It covers at least 95 %, where Satterthwaite's has 92 %.

    Args:
        numbers: (P, S), of P prompts and S seeds.

    Returns:
        `mean`; `sd`, the standard deviation over seeds of their means, and `sd_training`, what is
        left of it without the part that prompts answered by chance better or worse have in it;
        `se_prompts`, the standard error for these seeds and new prompts; `se_seeds`, that for these
        prompts and new seeds; `se`, that for both, with its 95 % interval `low`, `high`; `min` and
        `max` over the seeds. NaN for what one prompt cannot tell.
    """
    prompts, seeds = numbers.shape
    mean, by_seed = float(numbers.mean()), numbers.mean(axis=0)
    ends = {"min": float(by_seed.min()), "max": float(by_seed.max())}
    sd = float(by_seed.std(ddof=1))
    if prompts < 2:
        names = ("sd_training", "se_prompts", "se_seeds", "se", "low", "high")
        return {"mean": mean, "sd": sd, **dict.fromkeys(names, math.nan), **ends}
    by_prompt = numbers.mean(axis=1)
    rest = numbers - by_prompt[:, None] - by_seed + mean
    of_prompts = seeds * float(by_prompt.var(ddof=1))
    of_seeds = prompts * sd**2
    of_rest = float((rest**2).sum()) / ((prompts - 1) * (seeds - 1))
    answered = max(of_prompts, of_rest) / numbers.size
    trained = max(0.0, of_seeds - of_rest) / numbers.size
    t, u = (float(student.ppf(0.975, number - 1)) for number in (prompts, seeds))
    half = math.sqrt(t**2 * answered + u**2 * trained)
    return {
        "mean": mean,
        "sd": sd,
        "sd_training": math.sqrt(seeds * trained),
        "se_prompts": math.sqrt(of_prompts / numbers.size),
        "se_seeds": math.sqrt(of_seeds / numbers.size),
        "se": math.sqrt(answered + trained),
        "low": mean - half,
        "high": mean + half,
        **ends,
    }


def spread(table: pd.DataFrame) -> dict[str, Spread]:
    """Policy → its spread over seeds, for every policy of a group.

    Args:
        table: what `seeds` returns, as it is read from its file.
    """
    found: dict[str, Spread] = {}
    for policies, rows in table.groupby("policies", sort=False):
        sd = {
            number: dict(zip(part["value"], map(float, part["sd"]), strict=True))
            for number, part in rows.groupby("number")
        }
        of_group = Spread(
            seeds=int(rows["seeds"].iloc[0]),
            kl=next(iter(sd.get("kl", {}).values()), math.nan),
            level=sd["level"],
            winrate=sd.get("winrate", {}),
            even_winrate=sd.get("even_winrate", {}),
        )
        found |= dict.fromkeys(str(policies).split(), of_group)
    return found


def over_seeds(levels: Mapping[str, pd.DataFrame], table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Levels with one policy for all seeds: their mean, certain as far as other seeds go too.

    Args:
        levels: policy → its levels table, indexed by value.
        table: what `seeds` returns, as it is read from its file.

    Returns:
        `levels` without the policies that repeat another one. Of the one that they repeat `mean`,
        `se`, `low`, `high`, `kl` and `kl_se` are those of the table.
    """
    found = dict(levels)
    for policies, rows in table.groupby("policies", sort=False):
        first, *others = str(policies).split()
        if first in found:
            own, numbers = found[first].copy(), dict(list(rows.groupby("number")))
            ends = numbers["level"].set_index("value").loc[own.index]
            own[["mean", "se", "low", "high"]] = ends[["mean", "se", "low", "high"]]
            if "kl" in numbers:
                own["kl"], own["kl_se"] = numbers["kl"][["mean", "se"]].iloc[0]
            found[first] = own
        for other in others:
            found.pop(other, None)
    return found


def with_spread(summary: pd.DataFrame, found: Mapping[str, Spread]) -> pd.DataFrame:
    """The summary with the spread over seeds, in a study that has policies with several seeds.

    Args:
        summary: table of `polyalign.evaluate.summary.summary`.
        found: policy → its spread.

    Returns:
        The summary with further columns at its end: `seeds`, `kl_seeds_sd`, and `V_level_seeds_sd`,
        `V_winrate_seeds_sd` and `V_even_winrate_seeds_sd` for each value V; NaN for policies with
        one seed. Without a spread, the summary as it is.
    """
    if not found:
        return summary
    values = list(dict.fromkeys(chain(*(one.level for one in found.values()))))
    alone = Spread(1, math.nan, {}, {}, {})
    rows = []
    for name in summary["family"] + "/" + summary["variant"]:
        one = found.get(name, alone)
        row: dict[str, float] = {"seeds": one.seeds, "kl_seeds_sd": one.kl}
        for value in values:
            row[f"{value}_level_seeds_sd"] = one.level.get(value, math.nan)
            row[f"{value}_winrate_seeds_sd"] = one.winrate.get(value, math.nan)
            row[f"{value}_even_winrate_seeds_sd"] = one.even_winrate.get(value, math.nan)
        rows.append(row)
    return pd.concat([summary, pd.DataFrame(rows, index=summary.index)], axis="columns")
