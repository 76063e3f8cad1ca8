"""Random palettes by their number of values: feasibility, λ, and what adjusting them takes."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from polyalign.map.base import Base
from polyalign.map.batch import Batch, solve_many_on
from polyalign.map.dual import Limits, solve_on
from polyalign.map.search import interpolate
from polyalign.palettes.sweeps.bases import bases, columns


def compute(
    pool: pd.DataFrame,
    palettes: Mapping[str, Mapping[str, Any]],
    *,
    values: list[str],
    scope: str,
    draws: int,
    adjusted: int,
    limits: Mapping[str, Any],
    seed: int,
) -> pd.DataFrame:
    """Draw palettes of the first value, the first two, …, all of them; solve them on `fit`.

    A level is uniform between the base level and the largest that any policy on the samples has.

    Args:
        pool: rewards table of the base model's candidates.
        palettes: not used.
        values: the values, in order.
        scope: `auto`, `prompt` or `joint`.
        draws: palettes of each number of values.
        adjusted: how many of them, the first, are also solved alone and adjusted.
        limits: what the verdict `supported` requires (fields of `polyalign.map.dual.Limits`).
        seed: of the draws.

    Returns:
        One row per palette: `n_values`, `draw`, `feasible`; for each value V `V_asked` (raw),
        `V_lam` (1 / the reward's unit; 0 for values that the palette lacks, NaN if it is
        infeasible) and `V_weight` (the same in 1 / standard deviations). Of the first `adjusted`
        ones, else NaN: `solve_ms`, CPU time of solving it; `edge`, share of the way from the base
        level to the palette that is feasible, and `reached`, that is supported (both 1 where the
        palette is feasible, since nothing is adjusted then); `adjust_ms`, CPU time of adjusting it.
    """
    judged, spread = Limits(**limits), bases(pool, values, scope).scale
    tables = []
    for number in range(1, len(values) + 1):
        part = bases(pool, values[:number], scope)
        highest = np.array([part.fit.best(unit)[i] for i, unit in enumerate(np.eye(number))])
        share = np.random.default_rng([seed, number]).random((draws, number))
        batch = solve_many_on(part.fit, part.fit.raw(share * highest))
        free = np.full((draws, len(values) - number), np.nan)
        asked = np.hstack([part.raw_level(batch.targets), free])
        weight = np.hstack([batch.lam, np.where(batch.feasible[:, None], 0.0, free)])
        table = columns(values, asked=asked, lam=weight / spread, weight=weight)
        table.insert(0, "n_values", number)
        table.insert(1, "draw", range(draws))
        table.insert(2, "feasible", batch.feasible)
        costs = pd.DataFrame(
            [_adjusted(part.fit, batch, row, judged) for row in range(min(adjusted, draws))]
        )
        tables.append(table.join(costs))
    return pd.concat(tables, ignore_index=True)


def _adjusted(base: Base, batch: Batch, row: int, limits: Limits) -> dict[str, float]:
    """What solving and adjusting one palette takes, and how far it gets."""
    target = batch.targets[row]
    _, solve_ms = _timed(lambda: solve_on(base, target))
    if batch.feasible[row]:
        return {"solve_ms": solve_ms, "edge": 1.0, "reached": 1.0, "adjust_ms": np.nan}
    moved, adjust_ms = _timed(lambda: interpolate(base, target, limits))
    return {
        "solve_ms": solve_ms,
        "edge": min(1.0, moved.furthest),
        "reached": moved.share,
        "adjust_ms": adjust_ms,
    }


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its CPU time in ms, which a busy machine does not lengthen."""
    began = time.process_time()
    found = call()
    return found, 1e3 * (time.process_time() - began)
