"""Are learnt soft values right? Predicted against realised on held-out prompts, by position.

After part of a response of the base model, the value model predicts the mean of exp(λ·r) over all
ways to end it, relative to the mean for the prompt. Each prompt has a random λ. A point is a fifth
of all responses, from the lowest prediction to the highest, cut at one position: its predicted and
its realised mean, as logs (nats). On the dashed line they are equal.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.errors import InputError
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

if TYPE_CHECKING:
    import pandas as pd

FIGURE = FigureSpec(needs=("calibration",))


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`.

    Raises:
        InputError: if the study has no value model, or no held-out prompts.
    """
    table = known(data)
    positions = sorted(table["position"].unique())
    styles = theme.series_styles([str(one) for one in positions])
    with theme.tiles(output, 1, 1, aspect=0.9, foot=0.4) as (figure, panels):
        axes = panels[0]
        for position in positions:
            rows, style = table[table["position"] == position], styles[str(position)]
            axes.plot(
                rows["predicted"],
                rows["realised"],
                color=style.colour,
                marker=style.marker,
                markersize=4,
                linewidth=0.8,
                label=f"after {100 * position:.0f} %" if position else "after one token",
            )
        ends = [table[["predicted", "realised"]].min().min(), table["predicted"].max()]
        axes.plot(ends, ends, color=theme.GREY, linestyle="--", linewidth=0.8)
        axes.set(xlabel="predicted (nats)", ylabel="realised (nats)")
        theme.grid(axes)
        theme.headline(figure, title(data))
        axes.legend(fontsize=6, title="of a response", title_fontsize=6)


def title(data: FigureData) -> str:
    """How far apart the two are on average over all groups."""
    table = known(data)
    gap = (table["predicted"] - table["realised"]).abs().mean()
    return f"Learnt values are {gap:.2g} nats from the realised ones, on average"


def finding(data: FigureData) -> str:
    """How far apart the two are, after one token and after the whole response."""
    table = known(data)
    gap = (table["predicted"] - table["realised"]).abs().groupby(table["position"]).mean()
    return (
        f"Predicted and realised differ by {gap.iloc[0]:.2g} nats after one token and by "
        f"{gap.iloc[-1]:.2g} nats after the whole response, on average over the groups."
    )


def known(data: FigureData) -> "pd.DataFrame":
    """The calibration of the study's value model.

    Raises:
        InputError: if the study has no value model, or no held-out prompts.
    """
    table = data.tables.get("calibration")
    if table is None or table.empty:
        raise InputError(
            "figure value_calibration: no value model is judged on held-out prompts; expected the "
            "family `value-d` and prompts in the test split; add them, or leave the figure out of "
            "`plots`"
        )
    return table
