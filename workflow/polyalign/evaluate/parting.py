"""Where two studies part: the first of their stages whose results differ, and by how much.

It is for two runs of one config on two machines: it shows which stage differs first. Later stages
may differ only because of it. The stages are read from the studies' files, in the order of the
workflow.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from polyalign.data.tables import read_table
from polyalign.evaluate.studies import FinishedStudy
from polyalign.families import BASE, POOL
from polyalign.runtime.files import sha256

MOST_NAMED = 4
"""Most files, models or policies that a row names."""


class Parting(NamedTuple):
    """One stage of two studies.

    Attributes:
        stage: what is compared.
        same: whether it is the same in both, to the last bit.
        told: how it differs, or `the same`.
    """

    stage: str
    same: bool
    told: str


def partings(study: FinishedStudy, first: FinishedStudy) -> list[Parting]:
    """The stages that both studies have, in the order of the workflow; see `Parting`.

    Rewards are compared on the answers that are the same in both.
    """
    pools = [_rows(one, POOL.name) for one in (study, first)]
    found = [
        _hashed("data of the sandbox", *(_world(one) for one in (study, first))),
        _prompts(study, first),
        _hashed("base model", *(_contents(one, "sampling") for one in (study, first))),
        _answers(f"answers of {POOL.name}", {POOL.name: pools}),
        _hashed("reward models", *(_contents(one, "values") for one in (study, first))),
        _rewards("rewards of the pool's same answers", {POOL.name: pools}, study, first),
        _lams(study, first),
        _hashed("weights of trained policies", *(_weights(one) for one in (study, first))),
    ]
    policies = {
        name: [_rows(one, name) for one in (study, first)]
        for name in first.policies
        if name in study.policies
    }
    found.append(_answers("answers of the policies", policies))
    found.append(_rewards("rewards of the policies' same answers", policies, study, first))
    return [one for one in found if one is not None]


def parting_sentence(found: list[Parting], study: str, first: str) -> str:
    """Which stage is the first that differs."""
    for one in found:
        if not one.same:
            return f"{study} parts from {first} at the {one.stage}: {one.told}."
    if not found:
        return f"{study} and {first} have no stage in common that can be compared."
    return f"All stages that {study} and {first} have in common are the same."


Rows = pd.DataFrame | None


def _rows(study: FinishedStudy, policy: str) -> Rows:
    path = study.rewards(policy)
    if not path.is_file():
        return None
    return read_table(path).set_index(["prompt_id", "candidate"])


def _both(pair: list[Rows]) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The rows that both tables have; None where there are none, or no answers in them."""
    one, two = pair
    # A table of scores that somebody else made may have no texts.
    if one is None or two is None or not ("response" in one and "response" in two):
        return None
    shared = one.index.intersection(two.index)
    return (one.loc[shared], two.loc[shared]) if len(shared) else None


def _parting(stage: str, faults: list[str]) -> Parting:
    return Parting(stage, not faults, "; ".join(faults) or "the same")


def _hashed(stage: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> Parting | None:
    """Things by their hashes; None where the studies have none in common."""
    shared = [name for name in theirs if name in ours]
    if not shared:
        return None
    apart = [name for name in shared if ours[name] != theirs[name]]
    return _parting(stage, [_counted(apart, len(shared))] if apart else [])


def _counted(apart: list[str], number: int) -> str:
    more = ", …" if len(apart) > MOST_NAMED else ""
    return f"{len(apart)} of {number} differ ({', '.join(apart[:MOST_NAMED])}{more})"


def _world(study: FinishedStudy) -> dict[str, str]:
    folder = study.folder / "world"
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): sha256(file) for file in files if file.name[0] != "."}


def _prompts(study: FinishedStudy, first: FinishedStudy) -> Parting | None:
    paths = [one.folder / "prompts.parquet" for one in (study, first)]
    if not all(path.is_file() for path in paths):
        return None
    ours, theirs = (set(read_table(path).itertuples(index=False, name=None)) for path in paths)
    shared = len(ours & theirs)
    return _parting("prompts", [] if ours == theirs else [f"{shared} of {len(theirs)} are in both"])


def _contents(study: FinishedStudy, part: str) -> dict[str, str]:
    """Hashes of the models that sampled (`sampling`) or that score (`values`), by their names."""
    section: dict[str, Any] = study.spec(BASE.name).get(part, {})
    named = {"base": section.get("base")} if part == "sampling" else section
    return {
        name: spec["content"]
        for name, spec in named.items()
        if isinstance(spec, Mapping) and spec.get("content")
    }


def _weights(study: FinishedStudy) -> dict[str, str]:
    """Hashes of the weights of the study's models but the base model and those that score."""
    found = {}
    for path in sorted((study.folder / "models").glob("*/*.json")):
        family = path.parent.name
        if family in ("base", "reward"):
            continue
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        weights = sorted(hashed for name, hashed in files.items() if Path(name).suffix != ".json")
        found[f"{family}/{path.stem}"] = " ".join(weights)
    return found


def _answers(stage: str, policies: Mapping[str, list[Rows]]) -> Parting | None:
    """Answers with the same prompt and number."""
    faults, compared = [], False
    for name, pair in policies.items():
        both = _both(pair)
        if both is None:
            continue
        compared = True
        ours, theirs = (rows["response"].to_numpy() for rows in both)
        other = int((ours != theirs).sum())
        if other:
            whose = f" of {name}" if len(policies) > 1 else ""
            faults.append(f"{other} of {len(ours)}{whose} differ")
    return _parting(stage, _cut(faults)) if compared else None


def _cut(faults: list[str]) -> list[str]:
    left = len(faults) - MOST_NAMED
    return faults if left <= 0 else [*faults[:MOST_NAMED], f"and of {left} more"]


def _rewards(
    stage: str, policies: Mapping[str, list[Rows]], study: FinishedStudy, first: FinishedStudy
) -> Parting | None:
    """Largest difference of a value on the same answers, in its standard deviations."""
    largest: dict[str, float] = {}
    for pair in policies.values():
        both = _both(pair)
        if both is None:
            continue
        ours, theirs = both
        alike = (ours["response"] == theirs["response"]).to_numpy()
        for value in _shared_values(study, first):
            if alike.sum() > 1:
                apart = (ours[value] - theirs[value])[alike].abs().max()
                spread = float(theirs[value].std()) or 1.0
                largest[value] = max(largest.get(value, 0.0), float(apart) / spread)
    if not largest:
        return None
    told = [f"{name} by up to {apart:.1g} sd" for name, apart in largest.items() if apart > 0]
    return _parting(stage, told)


def _shared_values(study: FinishedStudy, first: FinishedStudy) -> list[str]:
    return [value for value in first.values if value in study.values]


def _lams(study: FinishedStudy, first: FinishedStudy) -> Parting | None:
    """λ of the palettes that both have: the largest difference, relative to the largest λ."""
    faults = []
    pairs = list(_palettes(study, first))
    for name, ours, theirs in pairs:
        if ours["lam"] != theirs["lam"] or ours["values"] != theirs["values"]:
            faults.append(f"{name} {_apart(ours, theirs)}")
    return _parting("λ of the palettes", _cut(faults)) if pairs else None


def _apart(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    if ours["values"] != theirs["values"]:
        return "of other values"
    one, two = (np.array(palette["lam"], dtype=np.float64) for palette in (ours, theirs))
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        return "is infeasible in one study"
    return f"by up to {np.abs(one - two).max() / (np.abs(two).max() or 1.0):.1g} of its largest λ"


def _palettes(
    study: FinishedStudy, first: FinishedStudy
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for path in sorted((first.folder / "palettes/lam").glob("*.json")):
        other = study.folder / "palettes/lam" / path.name
        if other.is_file():
            ours, theirs = (json.loads(one.read_text(encoding="utf-8")) for one in (other, path))
            yield path.stem, ours, theirs
