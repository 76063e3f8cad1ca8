"""What a feasible palette cannot do on a table: values that do not vary, levels that are low."""

from collections.abc import Mapping, Sequence

import numpy as np

from polyalign.map.base import Tilted
from polyalign.map.words import parse_level


def cautions(
    base: Tilted, levels: Mapping[str, str | float], asked: np.ndarray, names: Sequence[str]
) -> list[str]:
    """One sentence for each value whose λ is 0 because of the table or the level, not by choice.

    A value that is the same for all samples, or in scope `prompt` for all candidates of each
    prompt, keeps its level whatever λ is. A quantile at or below the base level, as q70 of a reward
    that is 0 for most answers, asks for no rise.

    Args:
        base: the base policy.
        levels: value → level as it was asked for.
        asked: (k,) those levels as numbers, in the rewards' units.
        names: names of the k values.
    """
    found = []
    for i, name in enumerate(names):
        if base.constant[i]:
            found.append(
                f"{name} is {base.center[i]:.4g} for every sample: no policy can change it, and "
                "its λ is 0 whatever is asked; look at what computes it"
            )
        elif base.fixed[i]:
            found.append(
                f"{name} is the same for all candidates of each prompt: no choice among them can "
                "change it, and its λ is 0 whatever is asked; expected a value of the response"
            )
        elif parse_level(levels[name])[0] == "quantile" and asked[i] <= base.center[i]:
            found.append(
                f"{name}: {levels[name]} is {asked[i]:.4g}, and the base policy's mean is "
                f"{base.center[i]:.4g} already, so this level raises nothing; to raise it write "
                "+10% or mean+0.5sd"
            )
    return found
