"""The λ that each policy was made with, and the levels that it is expected to give."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from polyalign.data.tables import read_settings, read_table
from polyalign.errors import InputError
from polyalign.palettes.record import Palette
from polyalign.paths import policy_of
from polyalign.sampling.select import weighted_candidates


@dataclass(frozen=True)
class Expected:
    """The λ of a policy and its expected levels.

    Attributes:
        lam: value → weight; empty for a policy without λ.
        predicted: value → level that is expected of the policy on test prompts, in the reward's
            units; empty if they are not known in advance.
    """

    lam: Mapping[str, float]
    predicted: Mapping[str, float]


def read_expected(
    policies: Mapping[str, str | None],
    palettes: Mapping[str, Palette],
    decoded: Iterable[str | Path],
    given: Mapping[str, Mapping[str, float]],
) -> dict[str, Expected]:
    """λ and expected levels of each policy.

    A selection among candidates records its λ, which need not be a palette's, and its exact
    expectation over the candidates. A policy that is trained for a palette, or sampled for it, uses
    the λ for K → ∞ (`lam_train`); without a palette it uses the λ that the config gives. The level
    that it reaches is not known in advance.

    Args:
        policies: policy (`family/variant`) → name of the palette that it realises, or None.
        palettes: name → solved palette.
        decoded: rewards tables `…/{family}/{variant}/rewards.parquet` of the policies that choose
            among candidates.
        given: policy → value → λ that the config gives.

    Raises:
        InputError: if a table does not record its λ and expected levels.
    """
    lam = {
        policy: palettes[palette].lam_train
        if palette and palette in palettes
        else given.get(policy, {})
        for policy, palette in policies.items()
    }
    found = {policy: Expected(weights, {}) for policy, weights in lam.items()}
    for path in map(Path, decoded):
        record = read_settings(path)
        if not {"lam", "expected"} <= set(record):
            raise InputError(
                f"{path}: does not record the λ that it was decoded with; expected the keys lam "
                "and expected in its metadata: delete it and decode again"
            )
        levels = {value: one["level"] for value, one in record["expected"].items()}
        found[policy_of(path).name] = Expected(record["lam"], levels)
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
