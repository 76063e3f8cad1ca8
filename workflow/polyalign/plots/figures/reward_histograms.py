"""Rewards of one policy: the distribution behind each level.

One panel per value: the share of a policy's answers to test prompts by their reward, in the
colour of its family with its mean as a solid line, over the base model's in grey with its mean
dashed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of

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
    name = data.policy or BASE.name
    styles = theme.family_styles(data.families)
    colour = theme.GREY if name == BASE.name else styles[family_of(name)].colour
    with theme.tiles(output, len(values), ACROSS, aspect=0.72, foot=0.6) as (figure, panels):
        for place, (axes, value) in enumerate(zip(panels, values, strict=True)):
            ours = data.rewards[name][value].to_numpy()
            _panel(axes, ours, data.rewards[BASE.name][value].to_numpy(), colour)
            axes.set_xlabel(data.axis(value))
            axes.set_ylabel("answers (%)" if place % ACROSS == 0 else "")
        distribution_legend(figure, panels[0], name)
        theme.headline(figure, title(data))


def title(data: FigureData) -> str:
    """The value whose mean moves most."""
    name, base = data.policy or BASE.name, data.rewards[BASE.name]
    if name == BASE.name:
        return f"Rewards of the base model's {len(base)} answers"
    gains = {
        value: (data.rewards[name][value].mean() - base[value].mean()) / base[value].std(ddof=0)
        for value in data.labels
        if base[value].std(ddof=0) > 0
    }
    if not gains:
        return f"No value of the base model's answers varies; {name} beside them"
    value = max(gains, key=lambda one: abs(gains[one]))
    gain = f"{gains[value]:+.2f}".replace("-", "−")
    return f"{name} moves {data.labels[value]} most: the mean by {gain} sd of the base model"


def finding(data: FigureData) -> str:
    """The means of the policy and of the base model."""
    ours, base = data.rewards[data.policy or BASE.name], data.rewards[BASE.name]
    name = data.policy or BASE.name
    parts = [
        f"{label} {ours[value].mean():.3g}"
        + ("" if name == BASE.name else f" (base {base[value].mean():.3g})")
        for value, label in data.labels.items()
    ]
    return f"Means of {name}: {', '.join(parts)}."


def distribution_legend(figure: "Figure", axes: "Axes", policy: str) -> None:
    """The key of a figure of distributions, below the panels; from the handles of one panel."""
    handles, labels = axes.get_legend_handles_labels()
    names = {"policy": "base model" if policy == BASE.name else policy, "base": "base model"}
    kept = [i for i, name in enumerate(labels) if name != "base" or policy != BASE.name]
    shown = [names[labels[i]] for i in kept]
    figure.legend([handles[i] for i in kept], shown, loc="outside lower left", ncols=2)


def _panel(axes: "Axes", ours: "np.ndarray", base: "np.ndarray", colour: str) -> None:
    import numpy as np

    edges = np.histogram_bin_edges(np.concatenate([ours, base]), BINS)
    bars(axes, base, edges, colour=theme.GREY, label="base", filled=True)
    bars(axes, ours, edges, colour=colour, label="policy", filled=False)
    axes.axvline(base.mean(), color=theme.GREY, linestyle="--", linewidth=1.0)
    axes.axvline(ours.mean(), color=colour, linewidth=1.0)
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
