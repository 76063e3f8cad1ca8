"""Random palettes of a study: feasible and supported levels, drawn from the base model's pool."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from polyalign.data.rewards_table import rewards_array
from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.dual import Limits
from polyalign.map.search import supportable_share
from polyalign.palettes.solve import fit_rows


def draw_levels(
    pool: pd.DataFrame,
    palette: str,
    values: Sequence[str],
    *,
    scope: str,
    limits: Limits,
    seed: int,
) -> dict[str, float]:
    """Levels of one random palette, on the `fit` split.

    A point is drawn uniformly between the base level and the highest level of each value. Few of
    such points are feasible, so the palette is on the way from the base levels to it: as far as λ
    is supported, times the k-th root of a uniform number, which is uniform in volume.

    Args:
        pool: rewards table of the base model's candidates.
        palette: its name, which ends in its number: that and the seed decide the draw.
        values: the k values.
        scope: `auto`, `prompt` or `joint`.
        limits: what counts as supported.
        seed: of the study.

    Returns:
        Value → level, in the rewards' units.

    Raises:
        InputError: if the limits are so tight that not even the base policy keeps them.
    """
    rewards, groups = rewards_array(fit_rows(pool), list(values))
    base = Base(rewards, groups, scope)
    draws = np.random.default_rng([seed, int(palette.rpartition("-")[2])])
    highest = np.array([base.best(unit)[i] for i, unit in enumerate(np.eye(base.k))])
    far = base.raw(draws.random(base.k) * highest)
    share = supportable_share(base, far, limits) * draws.random() ** (1 / base.k)
    if np.isnan(share):
        raise InputError(
            f"palette '{palette}': not even the base policy is supported; expected limits that it "
            "keeps: loosen map.min_ess, map.max_weight or map.max_kl_share"
        )
    levels = base.center + share * (far - base.center)
    return dict(zip(values, levels.tolist(), strict=True))
