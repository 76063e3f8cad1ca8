"""The look of every figure: sizes, fonts, colours, markers; and how a figure is written.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), which
colour-blind readers can tell apart; families differ in marker as well, for prints in grey.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from polyalign import families
from polyalign.runtime.files import atomic_write

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

COLUMN = 3.4  # inches: one column of a two-column page
PAGE = 7.0  # inches: both columns
GREY = "#666666"
GREEN, SHADE = "#2C7A4B", "#DCEFE6"  # what is asked, reached, supported or better
LIGHT = "#DDDDDD"
SOFT = "#B5B5B5"  # points in a cloud
VERDICTS = {"supported": "#009E73", "unsupported": "#E69F00", "infeasible": "#D55E00"}
COLOURS = (
    "#0072B2",  # blue
    "#D55E00",  # vermillion
    "#009E73",  # bluish green
    "#CC79A7",  # reddish purple
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#8A7A00",  # dark yellow: the original yellow is too pale for lines
    "#000000",
)
MAP = COLOURS[0]  # what λ makes of the base model's samples, as `map-d` does
SERIES = (  # mostly Tol, "Colour schemes" (2021), muted: what is no family has none of its colours
    "#332288",  # indigo
    "#882255",  # wine
    "#44AA99",  # teal
    "#B22222",  # brick
    "#AA4499",  # purple
    "#7B5EE0",  # violet: a green would mean asked or reached
    "#CC6677",  # rose
    "#6D4C41",  # brown
)
MARKERS = ("o", "s", "D", "h", "p", "8", "H", "d")  # each has room for a number
DASHED = (0, (3, 1.5))  # lines to palettes that raise a single value
PALE = ("#E69F00", "#56B4E9", "#CC79A7")  # text on these is black
RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "pdf.fonttype": 42,  # TrueType: text stays text
    "savefig.dpi": 300,
}
UNDATED = {".pdf": {"CreationDate": None}}
DARKEST = 0.65  # how much black the last of several lines of a family has
TITLE_LETTERS = 13.5  # of a headline that fit in an inch


@dataclass(frozen=True)
class Style:
    """Colour and marker of one family or series."""

    colour: str
    marker: str

    @property
    def ink(self) -> str:
        """Colour of text on `colour`."""
        return "black" if self.colour in PALE else "white"


def family_styles(names: Iterable[str]) -> dict[str, Style]:
    """Styles by family: the declared ones are the same in every study, others take what is left."""
    names = list(names)
    declared = {name: families.family(name).colour for name in names if name in families.NAMES}
    places = {name: place for name, place in declared.items() if place is not None}
    free = [place for place in range(len(COLOURS)) if place not in places.values()]
    others = [name for name in names if name not in places]
    places |= {name: free[i % len(free)] if free else i for i, name in enumerate(others)}
    return {name: Style(COLOURS[places[name] % 8], MARKERS[places[name] % 8]) for name in names}


def series_styles(names: Iterable[str]) -> dict[str, Style]:
    """Styles of series that are not families, such as values, in order; 64 of them differ.

    A family's colour means that family in every figure, so that these have others.
    """
    count = len(SERIES)
    return {
        name: Style(SERIES[i % count], MARKERS[(i + i // count) % len(MARKERS)])
        for i, name in enumerate(dict.fromkeys(names))
    }


def shade_styles(style: Style, names: Iterable[str]) -> dict[str, Style]:
    """Styles of members of one family: its colour, darker from one to the next, another marker."""
    from matplotlib.colors import to_hex, to_rgb

    names = list(dict.fromkeys(names))
    first = MARKERS.index(style.marker)
    found = {}
    for i, name in enumerate(names):
        light = 1 - DARKEST * i / max(1, len(names) - 1)
        red, green, blue = to_rgb(style.colour)
        colour = to_hex((light * red, light * green, light * blue))
        found[name] = Style(colour, MARKERS[(first + i) % len(MARKERS)])
    return found


@contextmanager
def sheet(
    output: Sequence[Path],
    rows: int,
    columns: int,
    *,
    width: float,
    height: float,
    **options: Any,
) -> Iterator[tuple["Figure", "np.ndarray"]]:
    """A themed figure without a window, written when the block ends.

    The same figure gives the same bytes: no dates are stored.

    Args:
        output: paths to write, each in the format of its ending.
        rows: rows of axes.
        columns: columns of axes.
        width: width of the figure in inches.
        height: height of the figure in inches.
        options: for `Figure.subplots`.

    Yields:
        The figure and its axes (rows, columns).
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with rc_context(RC):
        # Room between the title of a panel and the row above.
        layout = ConstrainedLayoutEngine(h_pad=0.08, hspace=0.04)
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure, figure.subplots(rows, columns, squeeze=False, **options)
        # Laid out before it is written, or the second file would be laid out from the first one's
        # places; twice, since panels of a fixed aspect settle in the second pass.
        for _ in range(2):
            layout.execute(figure)
        figure.set_layout_engine("none")
        for path in map(Path, output):
            with atomic_write(path) as draft:
                figure.savefig(draft, metadata=UNDATED.get(path.suffix, {}))
                if path.suffix == ".png":
                    _with_few_colours(draft)


def _with_few_colours(path: Path) -> None:
    """Store a PNG with a palette of 256 colours: a third of its size, which pages embed.

    Drawings have few colours but those between an edge and its ground: no eye sees a difference.
    """
    from PIL import Image

    with Image.open(path) as picture:
        resolution = picture.info["dpi"]
        few = picture.convert("RGB").quantize(
            256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
    few.save(path, optimize=True, dpi=resolution)


@contextmanager
def tiles(
    output: Sequence[Path],
    number: int,
    across: int,
    *,
    aspect: float = 1.0,
    foot: float = 0.5,
    **options: Any,
) -> Iterator[tuple["Figure", list["Axes"]]]:
    """A `sheet` of panels that fill rows, at a page's width or a column's if there is but one.

    Args:
        output: paths to write, each in the format of its ending.
        number: number of panels.
        across: most panels in a row.
        aspect: height over width of a panel with its labels.
        foot: inches below the panels, for the key.
        options: for `Figure.subplots`.

    Yields:
        The figure and its panels.
    """
    columns = min(number, across)
    rows = -(-number // columns)
    width = PAGE if columns > 1 else COLUMN
    height = rows * aspect * width / columns + foot
    with sheet(output, rows, columns, width=width, height=height, **options) as (figure, panels):
        for axes in panels.flat[number:]:
            axes.remove()
        yield figure, list(panels.flat[:number])


def headline(figure: "Figure", text: str) -> None:
    """The figure's finding above its panels, at the left, in as many lines as it needs."""
    room = int(TITLE_LETTERS * figure.get_figwidth())
    figure.suptitle(
        fill(text, room),
        x=0.01,
        ha="left",
        fontsize=RC["axes.titlesize"],
        fontweight="bold",
    )


def lay_out(figure: "Figure") -> None:
    """Put panels where they will be, before what depends on their places is drawn."""
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.execute(figure)


def signed_colours() -> "Colormap":
    """Colours of signed numbers: brown below 0, white, blue above; missing ones are grey."""
    from matplotlib.colors import LinearSegmentedColormap

    ends = ["#7F4A1E", "#FFFFFF", "#1F4E79"]
    return LinearSegmentedColormap.from_list("signed", ends).with_extremes(bad="#EEEEEE")


def grid(axes: "Axes") -> None:
    """Thin grid lines behind the data."""
    axes.grid(visible=True)
