"""The λ that each policy was made with, and the levels that it is expected to give."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from polyalign.data.tables import read_settings, read_table
from polyalign.errors import InputError
from polyalign.evaluate.clusters import NORMAL_95
from polyalign.palettes.record import Palette
from polyalign.paths import model_of, policy_of
from polyalign.sampling.select import weighted_candidates


@dataclass(frozen=True)
class Expected:
    """The λ of a policy and its expected levels.

    Attributes:
        lam: value → weight; empty for a policy without λ.
        predicted: value → level that is expected of the policy on test prompts, in the reward's
            units: of a policy that is trained or guided, what its λ delivers once it is p_λ. Empty
            if they are not known in advance.
        low: value → lower end of its 95 % interval, clustered by prompt.
        high: value → its upper end.
    """

    lam: Mapping[str, float]
    predicted: Mapping[str, float]
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)


def read_expected(
    policies: Mapping[str, str | None],
    palettes: Mapping[str, Palette],
    decoded: Iterable[str | Path],
    given: Mapping[str, Mapping[str, float]],
    manifests: Iterable[str | Path] = (),
    steered: Iterable[str | Path] = (),
) -> dict[str, Expected]:
    """λ and expected levels of each policy.

    A selection among candidates records its λ, which need not be a palette's, and its exact
    expectation over the candidates. A policy that is trained for a palette, or sampled for it, uses
    the λ for K → ∞ (`lam_train`), and is expected to give the levels of p_λ. Where λ moved while it
    was trained, or before it was sampled, so that it reaches these levels, λ is the one at the end.
    Without a palette it uses the λ that the config gives, and its level is not known in advance.

    Args:
        policies: policy (`family/variant`) → name of the palette that it realises, or None.
        palettes: name → solved palette.
        decoded: rewards tables `…/{family}/{variant}/rewards.parquet` of the policies that choose
            among candidates.
        given: policy → value → λ that the config gives.
        manifests: of trained policies, `…/{family}/{variant}.json`.
        steered: λ of sampled policies that was moved, `…/{family}/{variant}/lam.json`.

    Raises:
        InputError: if a table does not record its λ and expected levels.
    """
    found = {}
    for policy, name in policies.items():
        if name and name in palettes:
            palette = palettes[name]
            trained = palette.trained
            found[policy] = Expected(palette.lam_train, trained.level, trained.low, trained.high)
        else:
            found[policy] = Expected(given.get(policy, {}), {})
    for path in map(Path, manifests):
        policy = model_of(path).name
        record = json.loads(path.read_text(encoding="utf-8"))["record"]
        if "closed_loop" in record and policy in found:
            found[policy] = replace(found[policy], lam=record["closed_loop"]["lam"])
    for path in map(Path, steered):
        policy = policy_of(path).name
        lam = json.loads(path.read_text(encoding="utf-8"))["lam"]
        found[policy] = replace(found[policy], lam=lam)
    for path in map(Path, decoded):
        record = read_settings(path)
        if not {"lam", "expected"} <= set(record):
            raise InputError(
                f"{path}: does not record the λ that it was decoded with; expected the keys lam "
                "and expected in its metadata: delete it and decode again"
            )
        levels = {value: one["level"] for value, one in record["expected"].items()}
        half = {
            value: math.nan if one["se"] is None else NORMAL_95 * one["se"]
            for value, one in record["expected"].items()
        }
        found[policy_of(path).name] = Expected(
            record["lam"],
            levels,
            {value: level - half[value] for value, level in levels.items()},
            {value: level + half[value] for value, level in levels.items()},
        )
    return found


def read_choices(path: str | Path, pool: pd.DataFrame | None) -> pd.DataFrame:
    """A policy's rewards table, or where it chooses by λ·r all candidates with their chance.

    Args:
        path: rewards table of the policy.
        pool: the pool's rewards table; None where no policy of the comparison chooses.

    Raises:
        InputError: if a table cannot be read, or a policy that chooses comes without the pool.
    """
    record = read_settings(path)
    if record.get("greedy") is None:
        return read_table(path)
    if pool is None:
        raise InputError(
            f"{path}: chooses among the candidates of a pool, which is not given; expected the "
            "pool's rewards table beside it"
        )
    return weighted_candidates(pool, record["lam"], greedy=record["greedy"])
