"""The stages of the study's workflow: one box per stage with its rules, and what it hands on.

The work goes from data to the report. ×3 behind a rule: it has three jobs, others have one. A
dashed arrow leads back: trained models are sampled and scored by the same rules as the base model
was. An arrow is left out where a longer way implies it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from polyalign.plots import FigureSpec, theme
from polyalign.plots.data import FigureData
from polyalign.plots.points import TOGETHER

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
WIDTH = 0.82  # of a box, of the distance to the next
HEAD, LINE, GAP = 0.33, 0.098, 0.5  # inches: above a box's rules, of a line of them, between rows
ASIDE = 0.25  # an arrow back is so far from the middle of a box, where the others are
LETTERS = 29  # of a box's width
ARROW = {"linewidth": 1.0, "color": theme.GREY, "arrowstyle": "-|>,head_length=0.4,head_width=0.2"}


def draw(data: FigureData, output: Sequence[Path]) -> None:
    """Draw the figure to every path of `output`."""
    boxes = {
        stage: fill(", ".join(counted(data, rule) for rule in rules), LETTERS)
        for stage, rules in rules_of(data.rules).items()
    }
    tall = HEAD + LINE * (1 + max(text.count("\n") + 1 for text in boxes.values()))
    row = tall + GAP
    height = row + tall + 0.5
    with theme.sheet(output, 1, 1, width=theme.PAGE, height=height) as (figure, panels):
        axes = panels[0, 0]
        axes.set_axis_off()
        axes.set(xlim=(-0.42, 3.42), ylim=(row + tall / 2 + 0.02, -tall / 2 - 0.02))
        for stage, text in boxes.items():
            _box(axes, stage, text, row, tall)
        for start, end in hand_overs(data.jobs):
            _arrow(axes, start, end, row, tall)
        theme.headline(figure, finding(data).rstrip("."))


def stage_of(rule: str) -> str:
    """The stage that a rule belongs to."""
    return next(stage for stage, starts in STAGES.items() if rule.startswith(starts))


def rules_of(rules: Iterable[str]) -> dict[str, list[str]]:
    """Stage → its rules, in the order of the work."""
    names = sorted(rules)
    found = {stage: [rule for rule in names if stage_of(rule) == stage] for stage in ORDER}
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
    """How many jobs the study is, of how many rules and stages, and which rule has the most."""
    stages = rules_of(data.rules)
    most = max(data.rules, key=lambda rule: data.rules[rule])
    return (
        f"{sum(data.rules.values())} jobs of {len(data.rules)} rules in {len(stages)} stages make "
        f"the study; most are of {most} ({data.rules[most]})."
    )


def counted(data: FigureData, rule: str) -> str:
    """A rule with the number of its jobs where that is not one; both stay on one line."""
    number = data.rules[rule]
    return rule if number == 1 else f"{rule}{TOGETHER}×{number}"


def _box(axes: "Axes", stage: str, rules: str, row: float, tall: float) -> None:
    """A box with its stage and rules; heights are in inches, widths in boxes."""
    from matplotlib.patches import FancyBboxPatch

    x, y = PLACES[stage]
    top = row * y - tall / 2
    look: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.06", "facecolor": "white"}
    look |= {"edgecolor": theme.GREY, "linewidth": 1.0}
    axes.add_patch(FancyBboxPatch((x - WIDTH / 2, top), WIDTH, tall, **look))
    axes.text(x, top + 0.09, stage, ha="center", va="top", fontsize=8, fontweight="bold")
    axes.text(x, top + HEAD - 0.05, rules, ha="center", va="top", fontsize=6, linespacing=1.15)


def _arrow(axes: "Axes", start: str, end: str, row: float, tall: float) -> None:
    """An arrow between the near sides of two boxes; one that leads back is dashed."""
    (x, y), (to_x, to_y) = PLACES[start], PLACES[end]
    across, down = (to_x > x) - (to_x < x), (to_y > y) - (to_y < y)
    # Between two rows an arrow stands on the upper and lower sides.
    back = ORDER.index(start) > ORDER.index(end)
    if down:
        across = 0
    aside = ASIDE if back and down else 0.0
    here = (x + across * WIDTH / 2 - aside, row * y + down * tall / 2)
    there = (to_x - across * WIDTH / 2 + aside, row * to_y - down * tall / 2)
    axes.annotate("", there, here, arrowprops={**ARROW, "linestyle": "--" if back else "-"})
