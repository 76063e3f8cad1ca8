"""Probabilities that a policy's answers have what a value asks for, such as being positive.

One panel for each value whose rewards are logs of probabilities, or are between 0 and 1: the share
of one policy's answers to test prompts by that probability, in blue with its mean as a solid line,
over the base model's in grey with its mean dashed. The mean alone does not show whether most
answers are a little better, or a few are much better.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.errors import InputError
from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData
from polyalign.plots.figures.reward_histograms import bars, distribution_legend, means

if TYPE_CHECKING:
    import numpy as np

FIGURE = FigureSpec(needs=("rewards",), shows=("log_probabilities",), of_a_policy=True)
BINS = 20
ACROSS = 3


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`.

    Raises:
        InputError: if no value is a probability.
    """
    import numpy as np

    values = [value for value in data.labels if is_probability(data, value)]
    if not values:
        raise InputError(
            "figure probability_histogram: no value is a probability; expected rewards that are "
            "logs of probabilities (`output: log_probability`), or lie between 0 and 1: add such a "
            "value, or leave the figure out of `plots`"
        )
    edges = np.linspace(0, 1, BINS + 1)
    with theme.tiles(output, len(values), ACROSS, aspect=0.72, foot=0.3) as (figure, panels):
        for place, (axes, value) in enumerate(zip(panels, values, strict=True)):
            for name, colour in (
                (BASE.name, theme.GREY),
                (data.policy or BASE.name, theme.COLOURS[0]),
            ):
                shares = probabilities(data, name, value)
                filled = colour == theme.GREY
                label = "base" if filled else "policy"
                bars(axes, shares, edges, colour=colour, label=label, filled=filled)
                style = "--" if filled else "-"
                axes.axvline(shares.mean(), color=colour, linestyle=style, linewidth=1.0)
            axes.set(xlim=(0, 1), xlabel=data.labels[value])
            axes.set_ylabel("answers (%)" if place % ACROSS == 0 else "")
        distribution_legend(figure, panels[0], data.policy or BASE.name)


def finding(data: FigureData) -> str:
    """The mean probabilities of the policy and of the base model."""
    found = {
        value: (
            float(probabilities(data, data.policy or BASE.name, value).mean()),
            float(probabilities(data, BASE.name, value).mean()),
        )
        for value in data.labels
        if is_probability(data, value)
    }
    return means(data, found)


def is_probability(data: FigureData, value: str) -> bool:
    """Whether a value's rewards are logs of probabilities, or all lie between 0 and 1."""
    if value in data.log_probabilities:
        return True
    return all(frame[value].between(0, 1).all() for frame in data.rewards.values())


def probabilities(data: FigureData, policy: str, value: str) -> "np.ndarray":
    """Probabilities (n,) of a policy's answers."""
    import numpy as np

    rewards = data.rewards[policy][value].to_numpy(dtype=np.float64)
    return np.exp(rewards) if value in data.log_probabilities else rewards
