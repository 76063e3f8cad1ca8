"""The stages of the study's workflow: one box per stage with its rules, and what it hands on.

The work goes from data to the report. A dashed arrow leads back: trained models are sampled and
scored by the same rules as the base model was. An arrow is left out where a longer way implies it.
"""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = FigureSpec(needs=("jobs",))
STAGES = {  # stage → how the names of its rules start; the first that fits
    "models and rewards": ("base_model", "reward_model"),
    "policies": ("train", "value_model", "steer", "decode", "generate_"),
    "samples, scored": ("generate", "annotate", "merge", "import"),
    "λ of palettes": ("solve", "diagnose", "explore"),
    "judged": ("levels", "winrate", "tables", "families", "mixing", "seeds", "judge"),
    "shown": ("plot", "overview", "report"),
    "data": ("",),
}
PLACES = {  # stage → column and row of its box; the second row goes back to the left
    "data": (0, 0),
    "models and rewards": (1, 0),
    "samples, scored": (2, 0),
    "λ of palettes": (3, 0),
    "policies": (3, 1),
    "judged": (2, 1),
    "shown": (1, 1),
}
ORDER = list(PLACES)
WIDTH, HEIGHT = 0.82, 0.6  # of a box, of the distance to the next
ASIDE = 0.25  # an arrow back is so far from the middle of a box, where the others are
LETTERS = 29  # of a box's width
ARROW = {"linewidth": 1.0, "color": theme.GREY, "arrowstyle": "-|>,head_length=0.4,head_width=0.2"}


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    members = rules_of(data.jobs)
    with theme.sheet(output, 1, 1, width=theme.PAGE, height=2.9) as (figure, panels):
        axes = panels[0, 0]
        axes.set_axis_off()
        axes.set(xlim=(-0.42, 3.42), ylim=(1.4, -0.4))
        for stage, rules in members.items():
            _box(axes, stage, rules)
        for start, end in hand_overs(data.jobs):
            _arrow(axes, start, end)
        theme.headline(figure, finding(data).rstrip("."))


def stage_of(rule: str) -> str:
    """The stage that a rule belongs to."""
    return next(stage for stage, starts in STAGES.items() if rule.startswith(starts))


def rules_of(edges: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Stage → its rules, in the order of the work."""
    rules = sorted({rule for edge in edges for rule in edge})
    found = {stage: [rule for rule in rules if stage_of(rule) == stage] for stage in ORDER}
    return {stage: several for stage, several in found.items() if several}


def hand_overs(edges: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of stages between which there is an arrow, without those that a longer way implies."""
    between = {(stage_of(start), stage_of(end)) for start, end in edges}
    forward = {pair for pair in between if ORDER.index(pair[0]) < ORDER.index(pair[1])}
    back = {pair for pair in between if ORDER.index(pair[0]) > ORDER.index(pair[1])}
    return sorted(pair for pair in forward if not implied(forward, *pair)) + sorted(back)


def implied(edges: set[tuple[str, str]], start: str, end: str) -> bool:
    """Whether a longer way than the edge itself leads from one stage to the other."""
    after = {b for a, b in edges if a == start} - {end}
    while after:
        if end in after:
            return True
        after = {b for a, b in edges if a in after}
    return False


def finding(data: FigureData) -> str:
    """How many rules and stages the study uses."""
    members = rules_of(data.jobs)
    return (
        f"{sum(map(len, members.values()))} rules in {len(members)} stages make the study, with "
        f"{len(data.jobs)} hand-overs between rules."
    )


def _box(axes: "Axes", stage: str, rules: Sequence[str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = PLACES[stage]
    corner = (x - WIDTH / 2, y - HEIGHT / 2)
    look: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.06", "facecolor": "white"}
    axes.add_patch(
        FancyBboxPatch(corner, WIDTH, HEIGHT, edgecolor=theme.GREY, linewidth=1.0, **look)
    )
    top = y - HEIGHT / 2
    axes.text(x, top + 0.07, stage, ha="center", va="top", fontsize=8, fontweight="bold")
    axes.text(
        x, top + 0.19, fill(", ".join(rules), LETTERS), ha="center", va="top", fontsize=6,
        linespacing=1.15,
    )  # fmt: skip


def _arrow(axes: "Axes", start: str, end: str) -> None:
    """An arrow between the near sides of two boxes; one that leads back is dashed."""
    (x, y), (to_x, to_y) = PLACES[start], PLACES[end]
    across, down = (to_x > x) - (to_x < x), (to_y > y) - (to_y < y)
    # Between two rows an arrow stands on the upper and lower sides.
    back = ORDER.index(start) > ORDER.index(end)
    if down:
        across = 0
    aside = ASIDE if back and down else 0.0
    here = (x + across * WIDTH / 2 - aside, y + down * HEIGHT / 2)
    there = (to_x - across * WIDTH / 2 + aside, to_y - down * HEIGHT / 2)
    axes.annotate("", there, here, arrowprops={**ARROW, "linestyle": "--" if back else "-"})
