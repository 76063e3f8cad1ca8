"""What was asked and what was delivered: every policy of every palette, value by value.

A row is a policy, below the palette that it realises. A column is a value, in standard deviations
of the base model's rewards; 0 is the base model's level on the test prompts. The line is the asked
level, whose gain stands above it, and the shade is where it is reached: green for raised values and
ceilings (≤), grey for those that only have to keep the base mean. A point is the realised level
with its 95 % interval, clustered by prompt: the exact expectation over the candidates for a policy
that chooses among them, the mean of its answers for any other; of a policy that is trained with
several seeds the mean over seeds, with an interval for other seeds too. A full point is at or above
the asked level (reached), a hollow one has its whole interval below (missed), a half one is between
(undecided); at a ceiling below and above change places. An
arrow is where an interval goes on beyond the panel. The last column is the KL to the base model in
nats: full bars are measured on samples; open bars, ≤, are the upper bound that a choice among
candidates has.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.errors import InputError
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, shown_of, variant_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from polyalign.evaluate.delivery import Asked

FIGURE = FigureSpec(needs=("levels", "palettes", "seeds"), palettes="realised")
MOST = 12  # values
FLAT = 7  # values whose names have room side by side
QUANTILE = 5  # letters of a level that there is room for above a panel
LETTERS = 24  # of a row's name
GREEN, SHADE = theme.GREEN, theme.SHADE  # what a palette raises
PALE = "#F0F0F0"  # what it maintains
FILLS = {"reached": "full", "undecided": "left", "missed": "full"}  # the last one in white
NARROWEST = 0.5  # sd of a panel: less would show noise alone
ROW = 0.17  # inches


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`.

    Raises:
        InputError: if no policy realises a palette.
    """
    from polyalign.evaluate.delivery import asked_levels, outcome

    asked = asked_levels(data.levels, data.palettes, data.policies)
    if not asked:
        raise InputError(
            "figure delivery: no policy realises a palette; add a family with `palettes` to "
            "`policies`, or leave the figure out of `plots`"
        )
    values = shown_values(data, asked)
    places = rows(asked)
    lowest = max(place for _, place in places.values()) + 0.7
    wide = len(values) > FLAT
    longest = max(len(data.labels[value]) for value in values)
    height = ROW * (lowest + 0.7) + (1.1 + 0.08 * longest if wide else 1.25)
    title = {"fontsize": theme.RC["axes.labelsize"], "rotation": 90 if wide else 0}
    options: dict[str, Any] = {
        "sharey": True,
        "width_ratios": [1.0] * len(values) + [1.2 if wide else 0.85],
    }
    sheet = theme.sheet(output, 1, len(values) + 1, width=theme.PAGE, height=height, **options)
    with sheet as (figure, panels):
        for axes, value in zip(panels[0], values, strict=False):
            _value(axes, [one for one in asked if one.value == value], places, data, short=wide)
            axes.set_title(data.labels[value], **title)
        _nats(panels[0, -1], data, places, room=3.5 if wide else 2.1)
        panels[0, -1].set_title("KL (nats)", **title)
        panels[0, 0].set_ylim(lowest, -0.7)
        _names(panels[0, 0], data, places)
        figure.suptitle(
            outcome(asked).replace(". ", ".\n"),
            x=0.01,
            ha="left",
            fontsize=theme.RC["axes.titlesize"],
            fontweight="bold",
        )
        figure.legend(
            handles=_key(asked),
            title="Level above that of the base model, in standard deviations of its rewards",
            title_fontsize=theme.RC["legend.fontsize"],
            alignment="left",
            loc="outside lower left",
            ncols=5,
            columnspacing=1.2,
            borderpad=0.2,
        )


def finding(data: FigureData) -> str:
    """How many raised and maintained levels are reached, the worst miss, and doubtful levels."""
    from polyalign.evaluate.delivery import asked_levels, heavy_rows, in_sd_text, outcome

    asked = asked_levels(data.levels, data.palettes, data.policies)
    parts = [outcome(asked)]
    missed = [one for one in asked if one.verdict == "missed" and math.isfinite(one.sd)]
    if missed:
        worst = max(missed, key=lambda one: abs(one.excess))
        where = "below" if worst.excess < 0 else "above"
        ends = " to ".join(in_sd_text(worst.in_sd(end)) for end in (worst.low, worst.high))
        parts.append(
            f"Furthest {where}: {data.labels[worst.value]} of {worst.policy}, asked "
            f"{worst.asked_text} sd, realised {in_sd_text(worst.in_sd(worst.realised))} "
            f"({ends})."
        )
    realised = {name: data.levels[name] for name in dict.fromkeys(one.policy for one in asked)}
    if doubts := heavy_rows(realised, data.labels):
        parts.append(f"Do not trust: {'; '.join(doubts)}.")
    every = dict.fromkeys(one.value for one in asked)
    if shown := shown_of(len(shown_values(data, asked)), list(every)):
        parts.append(shown)
    return " ".join(filter(None, parts))


def shown_values(data: FigureData, asked: Sequence["Asked"]) -> list[str]:
    """The values that are asked for, in the study's order; raised ones first if there are many."""
    named = {one.value for one in asked}
    raised = {one.value for one in asked if one.kind != "maintained"}
    first = sorted((v for v in data.labels if v in named), key=lambda value: value not in raised)
    return [value for value in data.labels if value in first[:MOST]]


def rows(asked: Sequence["Asked"]) -> dict[str, tuple[str, float]]:
    """Policy → its palette and its place from the top; a palette's name has one row above them."""
    places: dict[str, tuple[str, float]] = {}
    place = -1.0
    for one in asked:
        if one.policy not in places:
            new = one.palette not in {palette for palette, _ in places.values()}
            place += (2.0 if places == {} else 2.4) if new else 1.0
            places[one.policy] = (one.palette, place)
    return places


def row_name(policy: str, palette: str, seeds: int = 1) -> str:
    """What a row is called: the family alone if the variant is the palette's name; its seeds."""
    name = family_of(policy) if variant_of(policy) == palette else policy
    short = name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
    return f"{short} ({seeds} seeds)" if seeds > 1 else short


def limits(asked: Sequence["Asked"]) -> tuple[float, float]:
    """Ends of a value's panel: every point and asked level is inside, a rare wide interval not."""
    ends = [
        end for one in asked for end in (one.gain, one.in_sd(one.ceiling), one.in_sd(one.realised))
    ]
    ends = [0.0, *(end for end in ends if math.isfinite(end))]
    halves = [(one.high - one.low) / 2 / one.sd for one in asked]
    halves = sorted(half for half in halves if math.isfinite(half))
    around = 1.4 * halves[len(halves) // 2] if halves else 0.0
    low, high = min(ends) - around, max(ends) + around
    short = max(0.0, NARROWEST - (high - low)) / 2
    margin = 0.04 * (high - low)
    return low - short - margin, high + short + margin


def _round(end: float) -> float:
    """The largest number of one digit that is inside of 95 % of `end`."""
    inside = 0.95 * abs(end)
    power = 10.0 ** math.floor(math.log10(inside))
    return math.copysign(math.floor(inside / power) * power, end)


def _value(
    axes: "Axes",
    asked: Sequence["Asked"],
    places: dict[str, tuple[str, float]],
    data: FigureData,
    *,
    short: bool,
) -> None:
    styles = theme.family_styles(data.families)
    left, right = limits(asked)
    axes.axvline(0, color=theme.SOFT, linewidth=0.8, zorder=1)
    for palette in dict.fromkeys(one.palette for one in asked):
        part = [one for one in asked if one.palette == palette]
        ends = [places[one.policy][1] for one in part]
        top, bottom = min(ends) - 0.5, max(ends) + 0.5
        first = part[0]
        if not math.isfinite(first.gain):
            continue
        binds = first.kind != "maintained"
        bounds = first.in_sd(first.floor), first.in_sd(first.ceiling)
        axes.fill_betweenx(
            [top, bottom],
            max(bounds[0], left),
            min(bounds[1], right),
            color=SHADE if binds else PALE,
            linewidth=0,
            zorder=0,
        )
        for bound in filter(math.isfinite, bounds):
            axes.plot(
                [bound] * 2,
                [top, bottom],
                color=GREEN if binds else theme.GREY,
                linewidth=1.4 if binds else 0.7,
                solid_capstyle="butt",
                zorder=2,
                gid=f"asked {palette}",
            )
        if binds:
            gain = first.asked_text
            asks = f"{first.level}: " if len(first.level) <= QUANTILE else ""
            axes.annotate(
                gain if short else f"{asks}{gain} sd",
                (0.5, top - 0.45),
                xycoords=axes.get_yaxis_transform(),
                ha="center",
                va="center",
                fontsize=6,
                color=GREEN,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            ).set_in_layout(False)
    for one in asked:
        if math.isfinite(one.sd):
            style = styles[family_of(one.policy)]
            _point(axes, one, places[one.policy][1], style.colour, (left, right))
    tick = _round(right if right >= -left else left)
    axes.set(xlim=(left, right))
    # The line at 0 says where 0 is; a narrow panel has no room for more than one number.
    axes.set_xticks([0, tick], ["" if short else "0", f"{tick:+g}".replace("-", "−")])
    # Away from the next panel.
    axes.get_xticklabels()[1].set_horizontalalignment("right" if tick > 0 else "left")
    for text in axes.get_xticklabels():
        text.set_in_layout(False)  # or panels would get unequal widths
        text.set_fontsize(6 if short else theme.RC["xtick.labelsize"])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _point(
    axes: "Axes", one: "Asked", place: float, colour: str, ends: tuple[float, float]
) -> None:
    """The realised level where it is; only its interval is cut at the panel's ends, by an arrow."""
    reach = one.in_sd(one.low), one.in_sd(one.high)
    axes.plot(reach, [place] * 2, color=colour, linewidth=1.1, zorder=3)
    for edge, marker, cut in ((0, "<", reach[0] < ends[0]), (1, ">", reach[1] > ends[1])):
        if cut:
            axes.plot(
                ends[edge],
                place,
                marker=marker,
                markersize=3.5,
                color=colour,
                linestyle="",
                clip_on=False,
                zorder=4,
            )
    axes.plot(
        one.in_sd(one.realised),
        place,
        marker="o",
        markersize=4.6,
        fillstyle=FILLS[one.verdict],
        color=colour,
        markerfacecoloralt="white",
        markerfacecolor="white" if one.verdict == "missed" else colour,
        markeredgewidth=1.0,
        linestyle="",
        zorder=5,
        gid=one.policy,
    )


def _nats(
    axes: "Axes", data: FigureData, places: dict[str, tuple[str, float]], *, room: float
) -> None:
    """Bars of the KL: full where it is measured on samples, open where it is an upper bound."""
    from polyalign.evaluate.clusters import NORMAL_95

    styles = theme.family_styles(data.families)
    longest = 0.0
    for policy, (_, place) in places.items():
        first = data.levels[policy].iloc[0]
        kl, se = float(first["kl"]), float(first["kl_se"])
        if math.isnan(kl):
            continue
        bound = first["kl_kind"] == "choice"
        colour = styles[family_of(policy)].colour
        axes.barh(
            place,
            kl,
            height=0.5,
            facecolor="white" if bound else colour,
            edgecolor=colour,
            linewidth=0.8,
            gid=policy,
        )
        end = kl + (0.0 if bound or math.isnan(se) else NORMAL_95 * se)
        axes.plot([kl, end], [place] * 2, color=colour, linewidth=0.8)
        longest = max(longest, end)
        axes.annotate(
            f"{'≤ ' if bound else ''}{kl:.2f}",
            (max(end, 0.0), place),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize=6,
        ).set_in_layout(False)
    # The numbers stand at the bars, which need no other; a 0 would touch the panel before.
    axes.set(xlim=(0, room * longest or 1.0), xticks=[])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _names(axes: "Axes", data: FigureData, places: dict[str, tuple[str, float]]) -> None:
    """Palettes and policies at the left."""
    styles = theme.family_styles(data.families)
    ticks: dict[float, str] = {}
    looks: list[dict[str, Any]] = []
    above = ""
    for policy, (palette, place) in places.items():
        if palette != above:
            ticks[place - 0.95] = palette + data.adjusted(palette)
            looks.append({"fontweight": "bold"})
            above = palette
        ticks[place] = row_name(policy, palette, data.seeds.get(policy, 1))
        looks.append({"color": styles[family_of(policy)].colour})
    axes.set_yticks(list(ticks), list(ticks.values()))
    for text, look in zip(axes.get_yticklabels(), looks, strict=True):
        text.set(**look)


def _key(asked: Sequence["Asked"]) -> list[Any]:
    """What lines and points mean: only what is there."""
    from matplotlib.lines import Line2D

    handles = []
    for binds, colour, text in ((True, GREEN, "asked"), (False, theme.GREY, "to maintain")):
        if any((one.kind != "maintained") == binds for one in asked):
            handles.append(
                Line2D([], [], color=colour, linewidth=1.4 if binds else 0.7, label=text)
            )
    for verdict, fill in FILLS.items():
        look: dict[str, Any] = {"fillstyle": fill, "markerfacecoloralt": "white"}
        if verdict == "missed":
            look["markerfacecolor"] = "white"
        handles.append(
            Line2D(
                [],
                [],
                color=theme.GREY,
                marker="o",
                markersize=4.6,
                linestyle="",
                label=verdict,
                **look,
            )
        )
    return handles
