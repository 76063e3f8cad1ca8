"""Rewards of one policy: the distribution behind each level.

One panel per value: the share of a policy's answers to test prompts by their reward, in blue with
its mean as a solid line, over the base model's in grey with its mean dashed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE = FigureSpec(needs=("rewards",), of_a_policy=True)
BINS = 30
ACROSS = 3


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    values = list(data.labels)
    with theme.tiles(output, len(values), ACROSS, aspect=0.72, foot=0.3) as (figure, panels):
        for place, (axes, value) in enumerate(zip(panels, values, strict=True)):
            ours = data.rewards[data.policy or BASE.name][value].to_numpy()
            _panel(axes, ours, data.rewards[BASE.name][value].to_numpy())
            axes.set_xlabel(data.axis(value))
            axes.set_ylabel("answers (%)" if place % ACROSS == 0 else "")
        distribution_legend(figure, panels[0], data.policy or BASE.name)


def finding(data: FigureData) -> str:
    """The means of the policy and of the base model."""
    ours, base = data.rewards[data.policy or BASE.name], data.rewards[BASE.name]
    return means(data, {value: (ours[value].mean(), base[value].mean()) for value in data.labels})


def means(data: FigureData, found: Mapping[str, tuple[float, float]]) -> str:
    """Value → the means of the policy and of the base model, as a sentence."""
    name = data.policy or BASE.name
    parts = [
        f"{data.labels[value]} {ours:.3g}" + ("" if name == BASE.name else f" (base {base:.3g})")
        for value, (ours, base) in found.items()
    ]
    return f"Means of {name}: {', '.join(parts)}."


def distribution_legend(figure: "Figure", axes: "Axes", policy: str) -> None:
    """The key of a figure of distributions, below the panels; from the handles of one panel."""
    handles, labels = axes.get_legend_handles_labels()
    names = {"policy": "base model" if policy == BASE.name else policy, "base": "base model"}
    kept = [i for i, name in enumerate(labels) if name != "base" or policy != BASE.name]
    shown = [names[labels[i]] for i in kept]
    figure.legend([handles[i] for i in kept], shown, loc="outside lower left", ncols=2)


def _panel(axes: "Axes", ours: "np.ndarray", base: "np.ndarray") -> None:
    import numpy as np

    edges = np.histogram_bin_edges(np.concatenate([ours, base]), BINS)
    bars(axes, base, edges, colour=theme.GREY, label="base", filled=True)
    bars(axes, ours, edges, colour=theme.COLOURS[0], label="policy", filled=False)
    axes.axvline(base.mean(), color=theme.GREY, linestyle="--", linewidth=1.0)
    axes.axvline(ours.mean(), color=theme.COLOURS[0], linewidth=1.0)
    axes.locator_params(nbins=5)


def bars(
    axes: "Axes",
    rewards: "np.ndarray",
    edges: "np.ndarray",
    *,
    colour: str,
    label: str,
    filled: bool,
) -> None:
    """A histogram in per cent of all answers: filled, or as an outline."""
    import numpy as np

    axes.hist(
        rewards,
        bins=list(edges),
        weights=np.full(len(rewards), 100 / len(rewards)),
        histtype="stepfilled" if filled else "step",
        color=colour,
        alpha=0.35 if filled else 1.0,
        linewidth=0 if filled else 1.2,
        label=label,
    )
