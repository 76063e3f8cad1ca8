"""How far λ and the gains depend on the reward model, for the values that several models score.

A row is a palette's value as one model scores it: first the model that λ was fitted with, then its
replicates, which were trained on other draws of the same people's judgements, then all of them
together. Left: the λ that the palette has with this model's rewards. Right: the gain of the study's
own policy, which knows only the first model, by each model, in standard deviations of that model's
rewards; the stroke is the gain that the palette asks for. Bars are 95 % intervals over resamples of
the prompts; in the last row, which is open, also over the models. Measured on the fit prompts.
"""

from collections.abc import Sequence
from pathlib import Path

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

FIGURE = FigureSpec(needs=("replicates", "palettes"), palettes="solved")


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    table = data.tables["replicates"]
    names = [
        f"{palette}: {data.labels.get(model, model)}"
        for palette, model in zip(map(str, table["palette"]), map(str, table["model"]), strict=True)
    ]
    places = range(len(table))
    whole = ~table.duplicated(["palette", "value"], keep="last")
    with theme.tiles(output, 2, 2, aspect=0.1 + 0.08 * len(table), sharey=True) as (
        figure,
        panels,
    ):
        for axes, column in zip(panels, ("lam", "gain"), strict=True):
            theme.grid(axes)
            for place, row, pooled in zip(places, table.to_dict("records"), whole, strict=True):
                axes.plot([row[f"{column}_low"], row[f"{column}_high"]], [place] * 2, color="black")
                axes.plot(
                    row[column],
                    place,
                    color="black",
                    marker="o",
                    markersize=4,
                    markerfacecolor="white" if pooled else "black",
                )
                if column == "gain":
                    axes.plot(row["asked"], place, color=theme.GREEN, marker="|", markersize=11)
            axes.axvline(0, color="black", linewidth=0.9, linestyle="--")
        panels[0].set_yticks(places, names)
        panels[0].set_ylim(len(table) - 0.5, -0.5)
        panels[0].set_xlabel("λ (1 / unit of the value)")
        panels[1].set_xlabel("gain of the policy (sd)")
        theme.headline(figure, title(data))


def title(data: FigureData) -> str:
    """The largest part of an interval that the reward models add."""
    found = _wider(data)
    palette = max(found, key=lambda name: found[name])
    return (
        f"With the reward models' own uncertainty the interval of the gain in {palette} is "
        f"{found[palette]:.2g} times as wide"
    )


def finding(data: FigureData) -> str:
    """The gains of every palette by each model, and with all uncertainty inside."""
    parts = []
    grouped = data.tables["replicates"].groupby(["palette", "value"], sort=False)
    for (palette, value), rows in grouped:
        by = ", ".join(f"{gain:.2f}" for gain in rows["gain"].iloc[:-1])
        last = rows.iloc[-1]
        parts.append(
            f"{data.labels[str(value)]} in {palette} gains {by} sd by its {len(rows) - 1} models, "
            f"{last['gain_low']:.2f} to {last['gain_high']:.2f} with all uncertainty inside "
            f"({last['asked']:.2f} asked), and λ is {last['lam_low']:.2g} to {last['lam_high']:.2g}"
        )
    return f"{'; '.join(parts)}."


def _wider(data: FigureData) -> dict[str, float]:
    """Palette → how many times as wide its interval of the gain is with all models."""
    found = {}
    for palette, rows in data.tables["replicates"].groupby("palette", sort=False):
        wide = rows["gain_high"] - rows["gain_low"]
        found[str(palette)] = float(wide.iloc[-1] / wide.iloc[0])
    return found
