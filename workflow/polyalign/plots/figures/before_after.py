"""Rewards before and after alignment: the base model's samples, unweighted and weighted by λ.

One row per palette, one column per value that palettes raise. Grey is the density of the base
model's rewards on test prompts; colour is the density of the same samples with the weights of the
palette's solution. Lines mark the two levels, and an arrow goes from one to the other where they
differ visibly. The dotted line is the asked level. All densities are smoothed in the same way
(Gaussian kernels).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.errors import InputError
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, shown_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

    from polyalign.palettes.record import Palette

FIGURE = FigureSpec(needs=("pool", "palettes"), palettes="solved")
MOST = 4  # rows
ACROSS = 3
POINTS = 256
SHORTEST = 0.03  # of the axis: a shorter arrow is all head


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`.

    Raises:
        InputError: if the study has no palette.
    """
    palettes = solved(data)[:MOST]
    if not palettes:
        raise InputError(
            "figure before_after: the study has no palette; add one, or leave the figure out of "
            "`plots`"
        )
    values = data.raised[:ACROSS]
    width = theme.PAGE if len(values) > 1 else theme.COLUMN
    height = 1.35 * len(palettes) + 0.8
    shape = (len(palettes), len(values))
    sheet = theme.sheet(output, *shape, width=width, height=height, sharex="col")
    with sheet as (figure, panels):
        for row, palette in enumerate(palettes):
            rewards, weights = weighted(data, palette)
            for column, value in enumerate(values):
                axes = panels[row, column]
                ours = rewards[value].to_numpy()
                _panel(axes, ours, weights, palette.asked.get(value))
                if row == 0:
                    axes.set_title(data.axis(value))
            panels[row, 0].set_ylabel(
                palette.name + data.adjusted(palette.name).replace(" (", "\n(")
            )
        theme.headline(figure, title(data))
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=5, columnspacing=1.2)


def title(data: FigureData) -> str:
    """The largest move of all."""
    name, value, start, end, sd = max(moves(data), key=lambda one: abs(one[3] - one[2]) / one[4])
    shift = f"{(end - start) / sd:+.2f}".replace("-", "−")
    return (
        f"λ moves the base model's own samples: {data.labels[value]} by {shift} sd in {name}, the "
        f"largest of {len(solved(data)[:MOST])} × {len(data.raised[:ACROSS])} moves"
    )


def finding(data: FigureData) -> str:
    """Where each palette that is shown takes the value that it moves most."""
    parts = [
        f"{name} {data.labels[value]} from {start:.3g} to {end:.3g}"
        for name, value, start, end, _ in moves(data)
    ]
    text = f"Moved most, in standard deviations of the base model: {'; '.join(parts)}."
    palettes = shown_of(len(parts), [one.name for one in solved(data)], "palettes")
    values = shown_of(len(data.raised[:ACROSS]), data.raised)
    return " ".join(filter(None, (text, palettes, values)))


def moves(data: FigureData) -> list[tuple[str, str, float, float, float]]:
    """Of each palette the value that it moves most in sd: (palette, value, start, end, sd)."""
    import numpy as np

    most = []
    for palette in solved(data)[:MOST]:
        rows, weights = weighted(data, palette)
        found = []
        for value in data.raised[:ACROSS]:
            rewards = rows[value].to_numpy()
            start, end = float(rewards.mean()), float(np.average(rewards, weights=weights))
            found.append((palette.name, value, start, end, float(rewards.std()) or 1.0))
        most.append(max(found, key=lambda one: abs(one[3] - one[2]) / one[4]))
    return most


def solved(data: FigureData) -> list["Palette"]:
    """The palettes that have a solution, in order."""
    return [palette for palette in data.palettes.values() if palette.solved]


def weighted(data: FigureData, palette: "Palette") -> tuple["pd.DataFrame", "np.ndarray"]:
    """The pool's test rows, and the weights (n,) that the palette's solution gives them."""
    import numpy as np

    from polyalign.data.rewards_table import rewards_array
    from polyalign.map.dual import policy_weights

    rows = data.pool_rows
    rewards, groups = rewards_array(rows, list(palette.lam))
    lam = np.array(list(palette.lam.values()))
    return rows, policy_weights(rewards, lam, groups=groups, scope=palette.scope)


def _panel(axes: "Axes", rewards: "np.ndarray", weights: "np.ndarray", asked: float | None) -> None:
    import numpy as np
    from scipy.stats import gaussian_kde

    colour = theme.MAP
    low, high = np.percentile(rewards, [0.2, 99.8])
    line = np.linspace(low - 0.1 * (high - low), high + 0.1 * (high - low), POINTS)
    # One bandwidth for both, or the smaller effective sample would look smoother.
    before = gaussian_kde(rewards)
    after = gaussian_kde(rewards, bw_method=before.factor, weights=weights)
    axes.fill_between(line, before(line), color=theme.LIGHT, linewidth=0, label="base model")
    axes.plot(line, after(line), color=colour, label="weighted by λ")
    start, end = float(rewards.mean()), float(np.average(rewards, weights=weights))
    axes.axvline(start, color=theme.GREY, linestyle="--", linewidth=0.9, label="base level")
    axes.axvline(end, color=colour, linewidth=0.9, label="level of the solution")
    if asked is not None:
        axes.axvline(asked, color="black", linestyle=":", linewidth=1.2, label="asked level")
    top = 1.12 * max(before(line).max(), after(line).max())
    arrow = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0, "linewidth": 0.9}
    if abs(end - start) > SHORTEST * (high - low):
        axes.annotate("", (end, 0.96 * top), (start, 0.96 * top), arrowprops=arrow)
    axes.set(ylim=(0, top), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
