"""What each policy changed in all values: policy by value, in standard deviations of the base.

A cell is the policy's level minus the base model's on the test prompts, over the standard deviation
of the base model's rewards: the exact expectation over the candidates for a policy that chooses
among them, the mean of its answers for any other. Bold numbers differ from 0 by more than 1.96
standard errors of the difference, in which both levels are taken as independent (this is careful,
since answers to the same prompts go together); no correction is made for the number of cells. Blue
is above the base model, brown below. Values that do not vary have no number.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.families import BASE
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, shortened, shown_of
from polyalign.plots.points import change, is_clear

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

FIGURE = FigureSpec(needs=("levels", "palettes"))
MOST = 45  # rows that fit on a page
LETTERS = 34
ROW = 0.19  # inches
STRONGEST = 1.0  # sd at which the colour is full


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    import numpy as np

    policies, values = shown_policies(data), list(data.labels)
    found = [[change(data, policy, value) for value in values] for policy in policies]
    cells = np.array(found, dtype=float).reshape(len(policies), len(values), 2)
    longest = max(len(data.labels[value]) for value in values)
    upright = len(values) > 7 or longest > 14
    head = 0.06 * min(longest, LETTERS) if upright else 0.25
    height = ROW * max(len(policies), 1) + head + 1.0
    with theme.sheet(output, 1, 1, width=theme.PAGE, height=height) as (figure, panels):
        axes = panels[0, 0]
        axes.imshow(
            np.ma.masked_invalid(cells[:, :, 0]) if policies else np.zeros((1, len(values))),
            cmap=theme.signed_colours(),
            vmin=-STRONGEST,
            vmax=STRONGEST,
            aspect="auto",
        )
        _numbers(axes, cells)
        names = [shortened(data.labels[value], LETTERS) for value in values]
        axes.xaxis.tick_top()
        axes.set_xticks(range(len(values)), names, rotation=90 if upright else 0)
        shown = [
            shortened(policy, LETTERS) + data.adjusted(data.policies[policy] or "")
            for policy in policies
        ]
        axes.set_yticks(range(len(policies)), shown)
        styles = theme.family_styles(data.families)
        for text, policy in zip(axes.get_yticklabels(), policies, strict=True):
            text.set_color(styles[family_of(policy)].colour)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        theme.headline(figure, title(data))
        figure.supxlabel(
            "Level minus that of the base model, in standard deviations of its rewards; bold: the "
            "95 % interval excludes 0",
            x=0.01,
            ha="left",
            fontsize=theme.RC["legend.fontsize"],
        )


def title(data: FigureData) -> str:
    """How many changes are clear, up and down."""
    cells = [
        change(data, policy, value) for policy in shown_policies(data) for value in data.labels
    ]
    known = [(gain, se) for gain, se in cells if math.isfinite(gain) and math.isfinite(se)]
    up = sum(is_clear(*cell) and cell[0] > 0 for cell in known)
    down = sum(is_clear(*cell) and cell[0] < 0 for cell in known)
    if not known:
        return "No policy beside the base model"
    return (
        f"Of {len(known)} levels {up} are clearly above the base model's, {down} clearly below, "
        f"{len(known) - up - down} undecided"
    )


def finding(data: FigureData) -> str:
    """The title, and the largest clear rise and fall with their intervals."""
    from polyalign.evaluate.clusters import NORMAL_95
    from polyalign.evaluate.delivery import in_sd_text

    cells = {
        (policy, value): change(data, policy, value)
        for policy in shown_policies(data)
        for value in data.labels
    }
    clear = {where: cell for where, cell in cells.items() if is_clear(*cell)}
    parts = [f"{title(data)}."]
    for what, sign in (("rise", 1), ("fall", -1)):
        moves = {where: sign * gain for where, (gain, _) in clear.items() if sign * gain > 0}
        if moves:
            policy, value = where = max(moves, key=moves.__getitem__)
            gain, se = clear[where]
            ends = " to ".join(in_sd_text(gain + end * NORMAL_95 * se) for end in (-1, 1))
            parts.append(
                f"Largest clear {what}: {data.labels[value]} of {policy}, {in_sd_text(gain)} sd "
                f"({ends})."
            )
    every = [policy for policy in data.policies if policy != BASE.name]
    parts.append(shown_of(len(shown_policies(data)), every, "policies"))
    return " ".join(filter(None, parts))


def shown_policies(data: FigureData) -> list[str]:
    """The policies without the base model, in order, as many as fit."""
    return [name for name in data.policies if name != BASE.name][:MOST]


def _numbers(axes: "Axes", cells: "np.ndarray") -> None:
    """The number in each cell: bold where the change is clear, white on dark colours."""
    from polyalign.evaluate.delivery import in_sd_text

    for row, column in ((i, j) for i in range(cells.shape[0]) for j in range(cells.shape[1])):
        gain, se = (float(one) for one in cells[row, column])
        axes.text(
            column,
            row,
            in_sd_text(gain),
            ha="center",
            va="center_baseline",
            fontsize=7 if cells.shape[1] <= 8 else 6,
            fontweight="bold" if is_clear(gain, se) else "normal",
            color="white" if abs(gain) > 0.7 * STRONGEST else "black",
        )
