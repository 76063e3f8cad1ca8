"""Places for labels beside points: none covers a point or another label; the points stay."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RADII = (9.0, 14.0, 20.0, 27.0, 36.0)  # points from the point that is labelled
DIRECTIONS = 16


def label_points(
    axes: "Axes",
    places: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[str],
) -> None:
    """Write a text beside each point, with a thin line to it where they are apart.

    Call it when the limits of the axes are as they stay.

    Args:
        axes: the panel.
        places: the points, in data coordinates.
        texts: what is written at each.
        colours: of each text.
    """
    scale = 72.0 / axes.figure.dpi
    inside = axes.get_window_extent()
    frame = (inside.x0 * scale, inside.y0 * scale, inside.x1 * scale, inside.y1 * scale)
    dots = [(float(x) * scale, float(y) * scale) for x, y in axes.transData.transform(list(places))]
    taken: list[tuple[float, float, float, float]] = []
    for i, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        shift = _free(dots, i, (2.2 + 2.0 * len(text), 3.6), taken, frame)
        centre = dots[i][0] + shift[0], dots[i][1] + shift[1]
        half = 2.2 + 2.0 * len(text)
        taken.append((centre[0] - half, centre[1] - 3.6, centre[0] + half, centre[1] + 3.6))
        far = math.hypot(*shift) > RADII[0]
        axes.annotate(
            text,
            places[i],
            xytext=shift,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=6.5,
            color=colour,
            zorder=9,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": colour, "shrinkB": 2.0}
            if far
            else None,
        ).set_in_layout(False)


def _free(
    dots: Sequence[tuple[float, float]],
    own: int,
    half: tuple[float, float],
    taken: Sequence[tuple[float, float, float, float]],
    frame: tuple[float, float, float, float],
) -> tuple[float, float]:
    """The nearest shift of a label at which it covers the least."""
    x, y = dots[own]
    best, least = (RADII[0], 0.0), math.inf
    for radius in RADII:
        for step in range(DIRECTIONS):
            angle = math.pi / 4 + 2 * math.pi * step / DIRECTIONS
            shift = radius * math.cos(angle), radius * math.sin(angle)
            box = (
                x + shift[0] - half[0],
                y + shift[1] - half[1],
                x + shift[0] + half[0],
                y + shift[1] + half[1],
            )
            covered = sum(_overlap(box, other) > 0 for other in taken)
            covered += sum(
                box[0] - 2 < a < box[2] + 2 and box[1] - 2 < b < box[3] + 2 for a, b in dots
            )
            outside = box[0] < frame[0] or box[1] < frame[1] or box[2] > frame[2]
            outside = outside or box[3] > frame[3]
            cost = 10.0 * covered + 20.0 * outside + radius / RADII[0]
            if cost < least:
                best, least = shift, cost
    return best


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    """Area that two boxes (left, low, right, high) share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    up = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, up)
