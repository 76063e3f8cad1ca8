"""Two values against the share of training data for one of them: mixtures of data, and soups.

The two levels against each other, above those of the base model (the star) in standard deviations
of its rewards. The number at a point is the share of the first value's preference pairs. For a soup
this is the mean share of its parts, weighted as the soup weights them; where its parts are not
mixtures, it is the weight of the part that the key names. Lines join policies that differ only in
the share. Intervals are 95 %, clustered by prompt.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.errors import InputError
from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData, family_of, variant_of
from polyalign.plots.places import label_points
from polyalign.plots.points import in_base_sd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = FigureSpec(needs=("levels", "palettes"), shows=("mixtures",))


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`.

    Raises:
        InputError: if no two policies differ in their mixture of two values.
    """
    first, second = traded(data)
    series = curves(data, first)
    if not series:
        raise InputError(
            "figure mixtures: no policies are trained on mixtures of two values' preferences; add "
            "`dpo` with several `mixtures`, or leave the figure out of `plots`"
        )
    styles = theme.family_styles(data.families)
    height = 3.6 + 0.16 * len(series)
    with theme.sheet(output, 1, 1, width=theme.COLUMN, height=height) as (figure, panels):
        axes = panels[0, 0]
        spots: list[tuple[float, float]] = []
        texts, colours = [], []
        for place, (name, members) in enumerate(series.items()):
            style, dash = styles[name.split(" ")[0]], ("-", "--", ":", "-.")[place % 4]
            x, y = (
                [in_base_sd(data, policy, value) for _, policy in members]
                for value in (first, second)
            )
            _line(axes, x, y, style, dash if len(members) > 1 else "", name)
            for (part, _), across, up in zip(members, x, y, strict=True):
                spots.append((across[0], up[0]))
                texts.append(f"{100 * part:.0f} %")
                colours.append(style.colour)
        axes.axhline(0, color=theme.SOFT, linewidth=0.7, zorder=0)
        axes.axvline(0, color=theme.SOFT, linewidth=0.7, zorder=0)
        axes.plot(0, 0, "*", color="black", markersize=9, zorder=6)
        axes.set(xlabel=f"{data.labels[first]} (sd)", ylabel=f"{data.labels[second]} (sd)")
        axes.margins(0.12)
        theme.headline(figure, title(data))
        figure.legend(loc="outside lower left")
        theme.lay_out(figure)
        label_points(axes, spots, texts, colours)


def title(data: FigureData) -> str:
    """What the longest series does to the two values, in base standard deviations."""
    first, second = traded(data)
    series = curves(data, first)
    name = max(series, key=lambda one: len(series[one]))
    members = series[name]
    if len(members) < 2:
        return f"{data.labels[second]} against {data.labels[first]}, by what was mixed"
    moves = [
        in_base_sd(data, members[-1][1], value)[0] - in_base_sd(data, members[0][1], value)[0]
        for value in (first, second)
    ]
    told = " and ".join(
        f"{data.labels[value]} by {move:+.2f} sd"
        for value, move in zip((first, second), moves, strict=True)
    ).replace("-", "−")
    mixed = share(data, members[0][1], first) is not None
    # The weight of another part is named by the series itself.
    of = f" of {data.labels[first]}'s pairs" if mixed else ""
    ends = f"{100 * members[0][0]:.0f} → {100 * members[-1][0]:.0f} %"
    return f"{ends}{of}: {name} moves {told}"


def finding(data: FigureData) -> str:
    """The two levels at both ends of each series."""
    first, second = traded(data)
    parts = []
    for name, members in curves(data, first).items():
        if len(members) < 2:
            continue
        levels = [
            [float(data.levels[policy]["mean"][value]) for value in (first, second)]
            for _, policy in (members[0], members[-1])
        ]
        ends = [
            f"{data.labels[value]} from {start:.3g} to {end:.3g}"
            for value, start, end in zip((first, second), *levels, strict=True)
        ]
        shares = f"{100 * members[0][0]:.0f} % to {100 * members[-1][0]:.0f} %"
        of = "" if share(data, members[0][1], first) is None else f" {data.labels[first]}"
        parts.append(f"{name}, {shares}{of}: {' and '.join(ends)}.")
    return " ".join(parts)


def traded(data: FigureData) -> tuple[str, str]:
    """The two values whose preferences are mixed: the first two in order that mixtures name.

    Where there are soups of other models alone, the first two that palettes raise.

    Raises:
        InputError: if they name fewer.
    """
    named = {part for shares in data.mixtures.values() for part in shares}
    found = [value for value in data.labels if value in named]
    if named and all("/" in part for part in named):
        found = data.raised
    if len(found) < 2:
        raise InputError(
            "figure mixtures: the mixtures name fewer than two values of the study; expected "
            "preference data sets that are called like the values: rename them, or leave the "
            "figure out of `plots`"
        )
    return found[0], found[1]


def curves(data: FigureData, first: str) -> dict[str, list[tuple[float, str]]]:
    """Series of policies, sorted by their share of `first`: `dpo beta-0.1` → [(share, policy)].

    A series has one family, one β, and one set of parts.
    """
    series: dict[tuple[str, str, frozenset[str]], list[tuple[float, str]]] = {}
    for policy, parts in data.mixtures.items():
        if not parts:
            continue
        of_models = any("/" in part for part in parts)
        # `beta-0.1_NAME`, and a name may hold further `_`.
        setting, mark, _ = variant_of(policy).partition("_")
        setting = setting if mark and not of_models else ""
        weight = share(data, policy, first)
        place = parts[_first_part(data, parts)] if weight is None else weight
        traded_alone = {*parts} <= {*traded(data)}
        key = (family_of(policy), setting, frozenset() if traded_alone else frozenset(parts))
        series.setdefault(key, []).append((place, policy))
    alike = [key[:2] for key in series]
    return {
        _name(data, first, key, members[0][1], whole=alike.count(key[:2]) > 1): sorted(members)
        for key, members in series.items()
    }


def _name(
    data: FigureData, first: str, key: tuple[str, str, frozenset[str]], policy: str, *, whole: bool
) -> str:
    """Name of a series; with its parts if `whole`, and with what its share is of if not `first`."""
    family, setting, parts = key
    name = " ".join(filter(None, (family, setting)))
    if whole and parts:
        name += f" of {' + '.join(sorted(parts))}"
    if share(data, policy, first) is None:
        name += f" (weight of {_first_part(data, parts)})"
    return name


def _first_part(data: FigureData, parts: Iterable[str]) -> str:
    """The part that comes first in the study's order."""
    order = list(data.policies)
    return min(parts, key=lambda part: (order.index(part) if part in order else len(order), part))


def share(data: FigureData, policy: str, first: str) -> float | None:
    """Share of a value's preferences in what a policy was trained on, directly or by its parts.

    None where some part was trained on none.
    """
    parts = data.mixtures.get(policy, {})
    if not parts:
        return None
    if not any("/" in part for part in parts):
        return parts.get(first, 0.0)
    found = [share(data, part, first) for part in parts]
    if any(one is None for one in found):
        return None
    return sum(w * one for w, one in zip(parts.values(), found, strict=True) if one is not None)


def _line(
    axes: "Axes",
    across: list[list[float]],
    up: list[list[float]],
    style: theme.Style,
    dash: str,
    label: str,
) -> None:
    """Points joined by a line, each [centre, low, high]."""
    for x, y in zip(across, up, strict=True):
        axes.plot([x[0]] * 2, y[1:], color=style.colour, linewidth=0.8, alpha=0.7)
        axes.plot(x[1:], [y[0]] * 2, color=style.colour, linewidth=0.8, alpha=0.7)
    axes.plot(
        [x[0] for x in across],
        [y[0] for y in up],
        color=style.colour,
        linestyle=dash,
        marker=style.marker,
        markersize=4.5,
        label=label,
    )
