"""Draws the three pictures of docs/idea.md: `python tools/pictures.py [FOLDER]`.

From the table of rewards that comes with the checkout, by the library: without a model, in seconds.
"""

import sys
from pathlib import Path

import numpy as np

from polyalign.data.rewards_table import read_rewards, rewards_array
from polyalign.map.base import Base
from polyalign.map.dual import Limits, policy_weights, solve_on
from polyalign.map.palette import parse_target
from polyalign.map.search import edges
from polyalign.plots import theme

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "configs/data/sandbox-rewards.csv"
VALUES = ("humor", "helpful")
PALETTE = {"humor": "q60", "helpful": "q60"}
DIRECTIONS = 25


class Example:
    """The table with two values, and its palette."""

    def __init__(self) -> None:
        frame = read_rewards(TABLE)
        self.rewards, self.groups = rewards_array(frame, VALUES)
        self.base = Base(self.rewards, self.groups, "prompt")
        self.target = parse_target(PALETTE, self.rewards, VALUES, self.groups, scope="prompt")
        self.solution = solve_on(self.base, self.target, names=VALUES)


def one_prompt(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """Rewards λ·r (K,) and probabilities (K,) of the candidates of the prompt that λ moves most."""
    lam = np.asarray(example.solution.lam)
    weights = policy_weights(example.rewards, lam, example.groups, "prompt")
    largest = np.array([weights[example.groups == g].max() for g in np.unique(example.groups)])
    own = example.groups == np.unique(example.groups)[largest.argmax()]
    return example.rewards[own] @ lam, weights[own]


def dual(example: Example, asked: float, lams: np.ndarray) -> np.ndarray:
    """λ·c − mean over prompts of log mean exp(λ r) for the first value alone, at (m,) λ."""
    rewards = example.rewards[:, 0]
    prompts = [rewards[example.groups == group] for group in np.unique(example.groups)]
    log_z = [[np.log(np.exp(lam * own).mean()) for own in prompts] for lam in lams]
    return lams * asked - np.mean(log_z, axis=1)


def region(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """Ends (m, 2) of what is supported and of what is feasible, in base sd, in m directions."""
    angles = np.linspace(0, np.pi / 2, DIRECTIONS)
    ways = np.column_stack([np.cos(angles), np.sin(angles)])
    found = [
        edges(example.base, example.base.center + way * example.base.scale, Limits())
        for way in ways
    ]
    supported, feasible = np.array(found).T
    return ways * supported[:, None], ways * feasible[:, None]


def draw_choice(example: Example, folder: Path) -> None:
    """The candidates of one prompt: equally likely for the base model, tilted by λ."""
    size, weights = one_prompt(example)
    with theme.sheet([folder / "choice.png"], 1, 1, width=5.0, height=2.6) as (_, panels):
        axes = panels[0, 0]
        axes.vlines(size, 0, weights, color=theme.COLOURS[0], linewidth=3)
        axes.axhline(1 / len(size), color=theme.GREY, linewidth=1)
        axes.annotate(
            "base model: all alike", (size.min(), 1 / len(size)), (0, 3),
            textcoords="offset points", color=theme.GREY,
        )  # fmt: skip
        axes.set(xlabel="λ·r of a candidate", ylabel="its probability", ylim=(0, None))
        axes.set_title("λ makes better candidates of a prompt more likely", loc="left")


def draw_dual(example: Example, folder: Path) -> None:
    """The dual of one value: it has a highest point exactly where the level can be reached."""
    lams = np.linspace(0, 8, 121)
    highest = np.mean(
        [example.rewards[example.groups == g, 0].max() for g in np.unique(example.groups)]
    )
    asked = {
        "the level asked can be reached": float(example.target[0]),
        "it is above that of the best candidates": float(highest + 0.1 * example.base.scale[0]),
    }
    with theme.sheet([folder / "dual.png"], 1, 1, width=5.0, height=2.6) as (_, panels):
        axes = panels[0, 0]
        for (label, level), colour in zip(asked.items(), theme.COLOURS, strict=False):
            found = dual(example, level, lams)
            axes.plot(lams, found, color=colour, label=label)
            if found.argmax() < len(lams) - 1:
                axes.plot(lams[found.argmax()], found.max(), "o", color=colour)
        axes.set(xlabel="λ", ylabel="dual (nats)", ylim=(-0.4, 0.8))
        axes.legend(loc="upper right")
        axes.set_title("λ is where the dual is highest, if it is highest anywhere", loc="left")


def draw_region(example: Example, folder: Path) -> None:
    """Which pairs of levels are supported, feasible only, or out of reach."""
    supported, feasible = region(example)
    zero = np.zeros((1, 2))
    with theme.sheet([folder / "region.png"], 1, 1, width=5.0, height=3.4) as (_, panels):
        axes = panels[0, 0]
        for ends, verdict in ((feasible, "unsupported"), (supported, "supported")):
            colour = theme.VERDICTS[verdict]
            axes.fill(*np.vstack([zero, ends]).T, color=colour, alpha=0.35, label=verdict)
        axes.plot(0, 0, "o", color="black")
        axes.annotate("base model", (0, 0), (6, 5), textcoords="offset points")
        at = (example.target - example.base.center) / example.base.scale
        axes.plot(*at, "D", color=theme.COLOURS[0])
        axes.annotate("the palette", at, (5, 3), textcoords="offset points")
        axes.set(xlabel="gain in humor (base sd)", ylabel="gain in helpful (base sd)")
        axes.set(xlim=(-0.03, 1.9), ylim=(-0.03, 2.0))
        axes.text(0.97, 0.95, "infeasible", ha="right", va="top", transform=axes.transAxes)
        axes.legend(loc="center", ncols=2)
        axes.set_title("What can be asked for, of two values at once", loc="left")


def main(folder: Path) -> None:
    """Draw all three."""
    folder.mkdir(parents=True, exist_ok=True)
    example = Example()
    for draw in (draw_choice, draw_dual, draw_region):
        draw(example, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/figures/idea")
