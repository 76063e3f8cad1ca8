"""The pool's two splits as base policies, with rewards in one unit."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from polyalign.data.rewards_table import rewards_array
from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.diagnostics import assess_many


@dataclass(frozen=True)
class Bases:
    """The base policy on both splits; rewards are standardised by the `fit` split.

    Attributes:
        values: the k values, in order.
        fit: the base policy on the prompts of the `fit` split.
        test: the same on those of the `test` split; the `fit` split where there are none.
        center: (k,) base level on the `fit` split, raw.
        scale: (k,) standard deviation of the base model's rewards there, raw.
    """

    values: list[str]
    fit: Base
    test: Base
    center: np.ndarray
    scale: np.ndarray

    def raw_lam(self, lam: np.ndarray) -> np.ndarray:
        """λ (…, k) in 1 / the rewards' units, from 1 / standard deviations."""
        return np.asarray(lam / self.scale)

    def raw_level(self, level: np.ndarray) -> np.ndarray:
        """Levels (…, k) in the rewards' units, from standardised ones."""
        return np.asarray(self.center + level * self.scale)

    def judged(self, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw levels (m, k) and KL (m,) in nats of p_λ on the test prompts.

        Args:
            lam: (m, k) in 1 / standard deviations.
        """
        found = assess_many(self.test, lam)
        return self.raw_level(found.levels), found.kl


def bases(pool: pd.DataFrame, values: list[str], scope: str) -> Bases:
    """Both splits of the pool.

    Raises:
        InputError: if the `fit` split is empty, or a value has no column or is the same in all
            rows.
    """
    parts = {name: pool[pool["split"] == name] for name in ("fit", "test")}
    if parts["fit"].empty:
        raise InputError("the pool has no rows of the fit split; lower prompts.test_share")
    rewards, groups = rewards_array(parts["fit"], values)
    center, scale = rewards.mean(axis=0), rewards.std(axis=0)
    flat = [value for value, spread in zip(values, scale, strict=True) if not spread > 0]
    if flat:
        raise InputError(
            f"value '{flat[0]}' is the same in all samples of the pool; expected some spread: "
            "leave it out of the palettes, or put it into evaluation.evaluate_only"
        )
    fit = Base((rewards - center) / scale, groups, scope)
    test = fit
    if not parts["test"].empty:
        rewards, groups = rewards_array(parts["test"], values)
        test = Base((rewards - center) / scale, groups, fit.scope)
    return Bases(list(values), fit, test, center, scale)


def columns(values: list[str], **arrays: np.ndarray) -> pd.DataFrame:
    """A table with one column `V_name` for each value V and each array (m, k) `name`."""
    return pd.DataFrame(
        {
            f"{value}_{name}": array[:, i]
            for i, value in enumerate(values)
            for name, array in arrays.items()
        }
    )
