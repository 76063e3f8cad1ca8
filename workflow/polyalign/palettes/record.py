"""Solved palettes as tables and figures need them: everything by the value's name."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyalign.errors import InputError
from polyalign.map.words import key_of, rows_of, weights_of

ROUNDING = 1e-6
"""Price in a proof of infeasibility below which it is the tolerance of the solver."""


@dataclass(frozen=True)
class Diagnosis:
    """Diagnostics of the λ of a palette; NaN where something is not defined.

    Attributes:
        warnings: what a reader must know before using λ, one sentence each.
        low: value → lower end of the 95 % interval of λ, clustered by prompt.
        high: value → its upper end.
        kkt: largest residual of the optimality conditions.
        max_weight: largest weight of a sample (scope `prompt`: its mean over the prompts).
        pareto_k: shape of the weights' tail.
        reweighting: value → share of a joint gain that is only a choice of prompts.
        supportable: share of the asked gain at which support ends; above 1 there is a margin.
        feasible: share of the asked gain beyond which no policy on the samples gets.
        suffices: candidates per prompt with which selection reaches the palette; inf if more than a
            billion.
    """

    warnings: list[str]
    low: dict[str, float]
    high: dict[str, float]
    kkt: float
    max_weight: float
    pareto_k: float
    reweighting: dict[str, float]
    supportable: float = math.nan
    feasible: float = math.nan
    suffices: float = math.nan


@dataclass(frozen=True)
class Trained:
    """What a policy delivers that is trained to the optimum with λ for training; NaN if unknown.

    Attributes:
        lam_low: value → lower end of the 95 % interval of λ for training, clustered by prompt.
        lam_high: value → its upper end.
        level: value → expected level, in the reward's units, on test prompts, or on the prompts of
            the fit where there was no test split.
        low: value → lower end of its 95 % interval, clustered by prompt.
        high: value → its upper end.
        kl: KL to the base model (nats).
    """

    lam_low: dict[str, float] = field(default_factory=dict)
    lam_high: dict[str, float] = field(default_factory=dict)
    level: dict[str, float] = field(default_factory=dict)
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)
    kl: float = math.nan


@dataclass(frozen=True)
class Palette:
    """One solved palette.

    Attributes:
        name: the palette's name.
        levels: value → word as the config asks for it (`q70`, `<= mean`).
        asked: value → that level as a number, in the reward's units; of a band its lower end.
        lam: value → weight of the solution, which decoding uses; that of a ceiling is <= 0.
        lam_train: value → weight that training and guided sampling use.
        predicted: value → level that the solution expects on test prompts, or on the prompts of its
            fit where there was no test split.
        verdict: `supported`, `unsupported` or `infeasible`.
        solved: whether it has a solution. If not, policies do not use it, and what follows from λ
            is NaN.
        proof: why no policy reaches it, as a sentence; empty unless it is infeasible.
        message: the facts behind the verdict, as a sentence.
        scope: `prompt` or `joint`.
        reached: share of the way from the base levels to the asked ones that the solution goes; 1
            if the palette was not adjusted.
        kl: KL of the solution to the base model (nats).
        ess: effective sample size of the solution.
        diagnosis: the diagnostics of λ.
        trained: what perfect training delivers.
        ceilings: value → highest level asked; only of values that have one.
    """

    name: str
    levels: dict[str, str]
    asked: dict[str, float]
    lam: dict[str, float]
    lam_train: dict[str, float]
    predicted: dict[str, float]
    verdict: str
    solved: bool
    proof: str
    message: str
    scope: str
    reached: float
    kl: float
    ess: float
    diagnosis: Diagnosis
    trained: Trained = field(default_factory=Trained)
    ceilings: dict[str, float] = field(default_factory=dict)

    @property
    def floors(self) -> dict[str, float]:
        """Value → lowest level asked; only of values that have one."""
        floored = {row.of for row in rows_of(self.levels) if row.sign > 0}
        return {value: level for value, level in self.asked.items() if value in floored}

    @property
    def raised(self) -> list[str]:
        """The values that the palette raises, in its order."""
        return raised_values(self.levels)

    @property
    def adjusted(self) -> str:
        """`adjusted to 64 %` where the solution goes only that far; empty where all the way."""
        return f"adjusted to {min(99.0, 100 * self.reached):.0f} %" if self.reached < 1 else ""


def read_palettes(paths: Iterable[str | Path]) -> dict[str, Palette]:
    """Palettes by name, in the order of the files.

    Raises:
        InputError: if a file is missing, is not JSON, or lacks a key.
    """
    found = {}
    for path in paths:
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            palette = _palette(record)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: cannot be read as a palette ({error}); expected the JSON of a solved "
                "palette: delete it and solve again"
            ) from error
        except KeyError as error:
            raise InputError(
                f"{path}: the palette has no key {error}; it was solved by another version: "
                "delete it and solve again"
            ) from error
        found[palette.name] = palette
    return found


def _palette(record: Mapping[str, Any]) -> Palette:
    values = record["values"]

    def by_value(numbers: list[float | None]) -> dict[str, float]:
        """Of the rows of a value, which have one column, the first one's."""
        found: dict[str, float] = {}
        for row, one in zip(values, numbers, strict=True):
            found.setdefault(key_of(row), _number(one))
        return found

    def weights(numbers: list[float | None]) -> dict[str, float]:
        return weights_of(values, [_number(one) for one in numbers])

    caps = {row.of: i for i, row in enumerate(rows_of(record["levels"])) if row.sign < 0}
    test, ends = record["test"], record["interval"] or {}
    trained = record["trained"] or {}
    nothing: list[float | None] = [None] * len(values)
    return Palette(
        name=record["palette"],
        levels={value: str(level) for value, level in record["levels"].items()},
        asked=by_value(record["asked"]),
        ceilings={value: _number(record["asked"][i]) for value, i in caps.items()},
        lam=weights(record["lam"]),
        lam_train=weights(record["lam_train"]),
        predicted=by_value(test["expected"] if test else record["realised"]),
        verdict=record["verdict"],
        solved=record["status"] == "solved",
        proof=_proof(values, record["proof"]) if record.get("proof") else "",
        message=record["message"],
        scope=record["scope"],
        reached=_number(record["reached"]),
        kl=_number(record["kl"]),
        ess=_number(record["ess"]),
        diagnosis=Diagnosis(
            warnings=record["warnings"],
            low=weights(ends.get("lam_low", nothing)),
            high=weights(ends.get("lam_high", nothing)),
            kkt=_number(record["kkt"]),
            max_weight=_number(record["max_weight"]),
            pareto_k=_number(record["pareto_k"]),
            reweighting=by_value(record["reweighting_share"] or nothing),
            supportable=_number((record["edges"] or {}).get("supportable")),
            feasible=_number((record["edges"] or {}).get("feasible")),
            suffices=_suffices(record["budget"]),
        ),
        trained=Trained(
            lam_low=weights(ends.get("train_low", nothing)),
            lam_high=weights(ends.get("train_high", nothing)),
            level=by_value(trained.get("expected", nothing)),
            low=by_value(trained.get("low", nothing)),
            high=by_value(trained.get("high", nothing)),
            kl=_number(trained.get("kl")),
        ),
    )


def _proof(values: list[str], proof: Mapping[str, Any]) -> str:
    priced = zip(values, proof["prices"], strict=True)
    # The prices sum to 1; what the solver leaves of a price of 0 changes no digit of the two sums.
    total = " + ".join(f"{price:.3g} × {value}" for value, price in priced if price > ROUNDING)
    return (
        f"Proof: no policy on these samples has more than {proof['most']:.4g} of {total}, in "
        f"standard deviations above the base levels; the palette asks for {proof['asks']:.4g}."
    )


def _suffices(budget: Mapping[str, Any] | None) -> float:
    """Candidates that suffice; NaN without a budget, inf where it names no number."""
    if budget is None:
        return math.nan
    return math.inf if budget["suffices"] is None else float(budget["suffices"])


def _number(number: float | None) -> float:
    """JSON has no NaN; what is not defined is null there."""
    return math.nan if number is None else float(number)


def raised_values(levels: Mapping[str, str | float]) -> list[str]:
    """The values of a palette that have a floor, and not only to keep their mean.

    Args:
        levels: value → word as the config asks for it.
    """
    return [row.of for row in rows_of(levels) if row.sign > 0 and row.level != "mean"]


def lam_of(palette: dict[str, Any], key: str) -> dict[str, float]:
    """Key → weight in λ·r of a solved palette; `key` is `lam` or `lam_train`.

    That of a ceiling is <= 0; of a band at most one end weighs.
    """
    return weights_of(palette["values"], palette[key])
