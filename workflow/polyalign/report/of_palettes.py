"""The sections of the page that speak of palettes: what was asked, and each λ."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from polyalign.evaluate.delivery import (
    Asked,
    bounds_text,
)
from polyalign.families import BASE
from polyalign.palettes.record import Palette
from polyalign.report.content import PageContent
from polyalign.report.html_tables import (
    Cell,
    minus,
    number,
    percent,
    table,
)
from polyalign.report.text import ranged, rounded, short


def palettes_section(
    content: PageContent, palettes: Mapping[str, Palette], asked: Sequence[Asked]
) -> list[str]:
    """The base levels, then one small table for each palette."""
    if not palettes:
        return ["<p>The study asks for no palette.</p>"]
    base = content.levels[BASE.name]
    levels = ", ".join(
        f"{label} {rounded(base['mean'][value], base['se'][value])}"
        for value, label in content.labels.items()
    )
    return [
        f"<p>On {int(base['n_prompts'].iloc[0])} test prompts the base model's levels (mean "
        f"rewards ± standard error) are {minus(levels)}. Gains are in standard deviations (sd) of "
        "the base model's rewards. Supported, unsupported and infeasible say whether λ can be "
        "trusted; reached, undecided and missed say what was measured. Perfect training is the "
        "level that a policy has, with its 95 % interval, that is trained to the optimum with λ "
        "for training.</p>",
        *(part for one in palettes.values() for part in _palette(content, one, asked)),
    ]


def _palette(content: PageContent, palette: Palette, asked: Sequence[Asked]) -> list[str]:
    base = content.levels[BASE.name]
    rows: list[list[Any]] = []
    for value, label in content.labels.items():
        if value not in palette.asked:
            continue
        level, sd = palette.asked[value], float(base["sd"][value])
        floor, ceiling = (
            (bounds[value] - float(base["mean"][value])) / sd
            if sd > 0 and value in bounds
            else math.nan
            for bounds in (palette.floors, palette.ceilings)
        )
        found = palette.diagnosis
        verdicts = [
            one.verdict for one in asked if (one.palette, one.value) == (palette.name, value)
        ]
        rows.append(
            [
                label,
                (f"{palette.levels[value]} ({_asked(palette, value)})", level),
                (bounds_text(floor, ceiling), ceiling if math.isnan(floor) else floor),
                (
                    ranged(palette.lam[value], found.low[value], found.high[value]),
                    palette.lam[value],
                ),
                number(palette.predicted[value]),
                _trained(palette, value),
                *_by_class(verdicts),
            ]
        )
    head = ["Value", "Asked", "Asked, in sd", "λ (95 %)", "Solution on test"]
    head += ["Perfect training", "Reached by"]
    kind = escape(palette.verdict)
    return [
        f'<h3 id="palette-{escape(palette.name)}">{escape(palette.name)}: {kind}</h3>',
        f"<p>{escape(_sentence(palette))}</p>",
        table([*head, "Verdict"], rows, search=False),
    ]


def _asked(palette: Palette, value: str) -> str:
    """What a palette asks of a value, as numbers: its floor, its ceiling, or both."""
    ends = [bounds[value] for bounds in (palette.floors, palette.ceilings) if value in bounds]
    return " to ".join(map(short, ends))


def _trained(palette: Palette, value: str) -> Any:
    """What perfect training delivers, with its interval."""
    found = palette.trained
    level = found.level.get(value, math.nan)
    if math.isnan(level):
        return number(level)
    return ranged(level, found.low[value], found.high[value]), level


def _by_class(verdicts: Sequence[str]) -> list[Cell | str]:
    """How many policies reach a level, and the others' classes in a word."""
    if not verdicts:
        return [("–", math.nan), "no policy"]
    reached = verdicts.count("reached")
    rest = [
        f"{verdicts.count(name)} {name}" for name in ("undecided", "missed") if name in verdicts
    ]
    said = ", ".join(rest) if rest else "reached by all"
    return [(f"{reached} of {len(verdicts)}", reached / len(verdicts)), said]


def _sentence(palette: Palette) -> str:
    """Verdict, margin to the edge, K that suffices, KL, effective sample size."""
    said = palette.message.removeprefix(f"{palette.verdict}: ").rstrip(".")
    parts = [f"{said[:1].upper()}{said[1:]}."]
    if not palette.solved:
        parts += [palette.proof, "There is no λ, so that its policies are left out."]
        return " ".join(filter(None, parts))
    found = palette.diagnosis
    if palette.adjusted:
        parts.append(
            f"It was adjusted: its solution goes {100 * palette.reached:.0f} % of the way from the "
            "base levels to the asked ones."
        )
    if not math.isnan(found.supportable):
        edges = f"Support ends at {100 * found.supportable:.0f} % of the asked gain"
        if math.isfinite(found.feasible):
            edges += f", and what any policy can do at {100 * found.feasible:.0f} %"
        parts.append(f"{edges}.")
    if not math.isnan(found.suffices):
        many = (
            f"{found.suffices:.0f} candidates per prompt suffice"
            if math.isfinite(found.suffices)
            else "more than a billion candidates per prompt are needed"
        )
        parts.append(f"For selection {many}.")
    parts.append(f"The scope is {palette.scope}.")
    return " ".join(parts)


def lam_section(palettes: Mapping[str, Palette], labels: Mapping[str, str]) -> list[str]:
    if not any(palette.solved for palette in palettes.values()):
        return []
    return [
        "<h3>Diagnostics of each λ</h3>",
        "<p>λ is that of the solution, with its 95 % interval clustered by prompt. Training and "
        "guided sampling use the λ in the fifth column, with its own interval. Re-weighting "
        "belongs to MAP's joint form alone: the share of its gain that would only come from "
        "choosing prompts, which no policy can do. KKT is the largest residual of the optimality "
        "conditions. A Pareto k above 0.7 says that the tail of the weights is too heavy to trust "
        "the levels.</p>",
        _worth(palettes, labels),
    ]


def _worth(palettes: Mapping[str, Palette], labels: Mapping[str, str]) -> str:
    rows = []
    for palette in (one for one in palettes.values() if one.solved):
        found = palette.diagnosis
        for value, label in labels.items():
            if value not in palette.lam:
                continue
            ends = (found.low[value], found.high[value])
            rows.append(
                [
                    palette.name,
                    label,
                    number(palette.lam[value]),
                    (f"{short(ends[0])} to {short(ends[1])}", ends[0]),
                    _lam_train(palette, value),
                    number(palette.predicted[value]),
                    percent(found.reweighting[value]),
                    number(found.kkt),
                    number(palette.ess),
                    number(found.max_weight),
                    number(found.pareto_k),
                ]
            )
    head = ["Palette", "Value", "λ", "95 % interval", "λ for training", "Solution on test"]
    head += ["Re-weighting", "KKT", "ESS", "Largest weight", "Pareto k"]
    return table(head, rows, search=True)


def _lam_train(palette: Palette, value: str) -> Any:
    """λ for training, with its interval where its bias could be estimated."""
    lam, low = palette.lam_train[value], palette.trained.lam_low.get(value, math.nan)
    if math.isnan(low):
        return number(lam)
    return ranged(lam, low, palette.trained.lam_high[value]), lam
