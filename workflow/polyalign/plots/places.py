"""Places for labels beside points: none covers a point or another label; the points stay."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

RADII = (9.0, 14.0, 20.0, 27.0, 36.0)  # points from the point that is labelled
DIRECTIONS = 16
PLACES = 40  # for the label of a line
COVERED, CROSSED, OUTSIDE = 10.0, 1.5, 20.0  # what a label pays, in radii: by point, line, frame


def label_points(
    axes: "Axes",
    places: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[str],
    lines: Sequence[tuple["Line2D", str]] = (),
) -> None:
    """Write a text beside each point, with a thin line to it where they are apart.

    A text covers neither the points nor the other texts, and the lines and intervals that are drawn
    in the panel only where all else is taken. Call it when all these are drawn, and the limits of
    the axes are as they stay.

    Args:
        axes: the panel.
        places: the points, in data coordinates.
        texts: what is written at each.
        colours: of each text.
        lines: lines of the panel and a text for each, which is written somewhere on it.
    """
    import numpy as np

    scale = 72.0 / axes.figure.dpi
    room = _Room(axes, scale)
    if places:
        room.dots = np.vstack([room.dots, scale * axes.transData.transform(list(places))])
    centred: dict[str, Any] = {"ha": "center", "va": "center"}
    for line, text in lines:
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        label = axes.text(0, 0, text, fontsize=6, zorder=4, bbox=ground, **centred)
        label.set_in_layout(False)
        ends = axes.transData.transform(line.get_xydata())
        spot = room.best(
            scale * _along(ends), _half(label, scale), own=list(axes.lines).index(line)
        )
        x, y = axes.transData.inverted().transform(spot / scale)
        label.set_position((x, y))
    for text, place, colour in zip(texts, places, colours, strict=True):
        label = axes.annotate(
            text,
            place,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=6.5,
            color=colour,
            zorder=9,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": colour, "shrinkB": 2.0},
            **centred,
        )
        label.set_in_layout(False)
        spot = scale * axes.transData.transform(place)
        shift = room.best(spot + _shifts(), _half(label, scale), spot) - spot
        label.set_position((shift[0], shift[1]))
        assert label.arrow_patch is not None
        label.arrow_patch.set_visible(math.hypot(*shift) > RADII[0] + 0.1)


def _half(label: "Text", scale: float) -> "np.ndarray":
    """Half the width and height of a text with a little air, in points."""
    import numpy as np
    from matplotlib.text import Text

    box = Text.get_window_extent(label)
    return 0.5 * scale * np.array([box.width, box.height]) + 0.4


class _Room:
    """What is drawn in a panel, and the labels that have found a place; all in points."""

    def __init__(self, axes: "Axes", scale: float) -> None:
        import numpy as np

        inside = axes.get_window_extent()
        self.frame = scale * np.array([inside.x0, inside.y0, inside.x1, inside.y1])
        self.strokes, self.owners, self.dots = _drawn(axes, scale)
        self.taken = np.empty((0, 4))

    def best(
        self,
        centres: "np.ndarray",
        half: "np.ndarray",
        spot: "np.ndarray | None" = None,
        own: int | None = None,
    ) -> "np.ndarray":
        """The centre at which a text covers the least, and the nearest to `spot` of these.

        Args:
            centres: where it may be: (candidates, 2).
            half: half the width and height of the text, which takes the place.
            spot: the point that it belongs to.
            own: the number of the line that it may cover.
        """
        import numpy as np

        boxes = np.hstack([centres - half, centres + half])
        cost = COVERED * _overlaps(boxes, self.taken).sum(axis=1)
        cost += COVERED * _overlaps(boxes, np.hstack([self.dots - 2, self.dots + 2])).sum(axis=1)
        outside = (boxes[:, :2] < self.frame[:2]) | (boxes[:, 2:] > self.frame[2:])
        cost += OUTSIDE * outside.any(axis=1)
        crossed = _crossings(boxes, self.strokes)
        for one in set(self.owners) - {own}:
            cost += CROSSED * crossed[:, self.owners == one].any(axis=1)
        if spot is not None:
            cost += np.hypot(*(centres - spot).T) / RADII[0]
        best = int(cost.argmin())
        self.taken = np.vstack([self.taken, boxes[best]])
        return centres[best]


def _along(ends: "np.ndarray") -> "np.ndarray":
    """Points on a line of straight pieces, from its last end to its first: (PLACES, 2)."""
    import numpy as np

    way = np.concatenate([[0], np.hypot(*np.diff(ends, axis=0).T).cumsum()])
    at = np.linspace(0.97 * way[-1], 0.03 * way[-1], PLACES)
    return np.column_stack([np.interp(at, way, ends[:, 0]), np.interp(at, way, ends[:, 1])])


def _shifts() -> "np.ndarray":
    """Where a label may be, from its point: (candidates, 2), the nearest first, in points."""
    import numpy as np

    angles = math.pi / 4 + 2 * math.pi * np.arange(DIRECTIONS) / DIRECTIONS
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    return np.vstack([radius * circle for radius in RADII])


def _drawn(axes: "Axes", scale: float) -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
    """What is drawn in data coordinates, in points.

    Returns:
        The straight pieces of lines (pieces, 4), as x and y of one end and of the other; the number
        of each piece's line (pieces,); and the middles of markers (markers, 2).
    """
    import numpy as np

    pieces, owners, dots = [np.empty((0, 4))], [], [np.empty((0, 2))]
    for number, line in enumerate(axes.lines):
        if line.get_transform() != axes.transData:
            continue
        ends = scale * axes.transData.transform(line.get_xydata())
        if line.get_linestyle() != "None":
            pieces.append(np.hstack([ends[:-1], ends[1:]]))
            owners += [number] * (len(ends) - 1)
        if line.get_marker() != "None":
            dots.append(ends)
    return np.vstack(pieces), np.array(owners, int), np.vstack(dots)


def _overlaps(boxes: "np.ndarray", others: "np.ndarray") -> "np.ndarray":
    """Whether each box (left, low, right, high) overlaps each of the others: (boxes, others)."""
    return (
        (boxes[:, None, 0] < others[:, 2])
        & (others[:, 0] < boxes[:, None, 2])
        & (boxes[:, None, 1] < others[:, 3])
        & (others[:, 1] < boxes[:, None, 3])
    )


def _crossings(boxes: "np.ndarray", strokes: "np.ndarray") -> "np.ndarray":
    """Whether each straight piece goes through each box: (boxes, pieces).

    It does where the corners lie on both sides of it, and the box that it spans overlaps.
    """
    import numpy as np

    x, y, to_x, to_y = strokes.T
    span = np.column_stack(
        [np.minimum(x, to_x), np.minimum(y, to_y), np.maximum(x, to_x), np.maximum(y, to_y)]
    )
    corners = np.stack([boxes[:, [0, 0, 2, 2]], boxes[:, [1, 3, 1, 3]]])[:, :, None]
    sides = (to_x - x)[:, None] * (corners[1] - y[:, None])
    sides = sides - (to_y - y)[:, None] * (corners[0] - x[:, None])
    return _overlaps(boxes, span) & (sides.min(axis=2) < 0) & (sides.max(axis=2) > 0)
