"""The study on one HTML page that needs no other file: the page that people send."""

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from polyalign.data.cut_off import Unread, cut_warning, unread_warnings
from polyalign.evaluate.delivery import (
    NOTICEABLE,
    Asked,
    asked_levels,
    bounds_text,
    heavy_rows,
    in_sd_text,
)
from polyalign.evaluate.delivery import outcome as delivered_outcome
from polyalign.families import BASE
from polyalign.palettes.record import Palette
from polyalign.report.answers import SCRIPT as ANSWERS_SCRIPT
from polyalign.report.answers import answers_html
from polyalign.report.cards import cards_html
from polyalign.report.facts import DOUBT
from polyalign.report.html_tables import (
    Cell,
    contents,
    minus,
    number,
    page,
    percent,
    printed,
    table,
    with_code,
)
from polyalign.report.judged import printed_judge
from polyalign.report.tables import families as families_table
from polyalign.report.text import one_line, p_value, ranged, rounded, short


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        name: the figure.
        png: its picture.
        finding: what it shows, in a sentence or two.
    """

    name: str
    png: bytes
    finding: str

    @classmethod
    def read(cls, path: Path, plots: Path) -> "Picture":
        """The picture of a figure and the finding beside it.

        Args:
            path: the PNG file.
            plots: folder of all figures.
        """
        finding = path.with_suffix(".txt").read_text(encoding="utf-8")
        name = path.relative_to(plots).with_suffix("").as_posix()
        return cls(name, path.read_bytes(), finding.strip())


@dataclass(frozen=True)
class PageContent:
    """What the page shows besides the summary and the palettes.

    Attributes:
        study: name of the study.
        left_out: a sentence on the policies that are left out; empty if none is.
        labels: value → its name.
        policies: policy → the palette that it realises, or None; in order.
        levels: policy → its levels, indexed by value.
        unread: policy → texts that the models of the values could not read whole.
        chosen: the values in which a policy has to be better.
        opponent: the policy that win rates compare with.
        families: table of `polyalign.evaluate.navigation.families`.
        judge: numbers of `polyalign.report.judged.judge`; None without a judge.
        facts: model → what is known of it (`{"reward/helpful": {"accuracy": 0.95}}`).
        cards: name of a reward model that the study trained → its card (`polyalign.train.card`).
        pictures: the figures on the page; the first one is at its head.
        elsewhere: names of the figures that are not on the page.
        answers: of `polyalign.report.answers.answers_data`; None where the study has no texts.
        methods: paragraphs on how it was done.
        citations: the works that the study rests on.
        provenance: of `polyalign.report.provenance`.
        config: the config as this study used it.
    """

    study: str
    left_out: str
    labels: Mapping[str, str]
    policies: Mapping[str, str | None]
    levels: Mapping[str, pd.DataFrame]
    unread: Mapping[str, Unread]
    chosen: Sequence[str]
    opponent: str
    families: pd.DataFrame
    judge: pd.DataFrame | None
    facts: Mapping[str, Mapping[str, Any]]
    cards: Mapping[str, Mapping[str, Any]]
    pictures: Sequence[Picture]
    elsewhere: Sequence[str]
    answers: Mapping[str, Any] | None
    methods: Sequence[str]
    citations: Sequence[str]
    provenance: Mapping[str, str]
    config: Mapping[str, Any]


def summary_html(
    content: PageContent, summary: pd.DataFrame, palettes: Mapping[str, Palette]
) -> str:
    """The page.

    Args:
        content: the study.
        summary: table of `polyalign.evaluate.summary.summary`.
        palettes: name → solved palette.

    Returns:
        HTML that loads nothing from anywhere.
    """
    labels = content.labels
    asked = asked_levels(content.levels, palettes, content.policies)
    doubts = not_to_trust(content, summary, palettes, asked)
    listed = "".join(f"<li>{minus(one)}</li>" for one in doubts)
    trust = f'<ul class="warnings">{listed}</ul>' if doubts else "<p>No warning was raised.</p>"
    parts = {
        "Do not trust": [trust],
        "What was asked, and is it attainable?": _palettes(content, palettes, asked),
        "What was delivered?": _delivered(asked, labels, summary),
        "Which policies are better?": [
            "<p>P(win) + ½ P(tie) in per cent with its 95 % interval, over all pairs of answers to "
            "the same prompt: 50 is as good as the opponent. Behind the bar stands the win rate at "
            "equal length, which is left when length has no effect. The last column is the "
            "p-value of being better in all chosen values at once, adjusted for the number of "
            "policies.</p>",
            _winrates(summary, labels, content.opponent),
            *_judge(content),
        ],
        "Families": [
            "<p>A policy is navigable if its win rates are at most the slack below one half in all "
            "chosen values. By levels it is navigable if its levels are at most the slack below "
            "the base levels, in standard deviations of the base model's rewards. Brackets show "
            "Wilson's 95 % interval. The hypervolume is that of the family's front, which is "
            "chosen on one half of the prompts and measured on the other half; shown is the side "
            "of a cube of the same volume.</p>",
            printed(families_table(content.families), search=False),
        ],
        "Figures": _figures(content),
        "Answers": answers_html(content.answers) if content.answers else [],
        "Diagnostics": [
            "<p>Seconds are those of a policy's own training, sampling and scoring. Work that all "
            "policies share (the pool, reward models) is charged to no policy.</p>",
            _diagnostics(summary, content.levels),
            *_of_lam(palettes, labels),
            *cards_html(content.cards),
            *(
                ["<h3>The models behind the numbers</h3>", _facts(content.facts)]
                if content.facts
                else []
            ),
        ],
        "How it was done": [
            *(f"<p>{with_code(paragraph)}</p>" for paragraph in content.methods),
            "<h3>References</h3>",
            "<ul>",
            *(f"<li>{_with_links(work)}</li>" for work in content.citations),
            "</ul>",
        ],
        "Where it comes from": _provenance(content),
    }
    kept = {title: part for title, part in parts.items() if part}
    places = {title: re.sub(r"\W+", "-", title.lower()).strip("-") for title in kept}
    sections = [
        f"<h1>Study {escape(content.study)}</h1>",
        f'<p id="outcome"><b>{escape(lead(content, summary, palettes))}</b></p>',
        contents(places),
        *map(_picture, content.pictures[:1]),
    ]
    for title, part in kept.items():
        sections += [f'<section id="{places[title]}"><h2>{title}</h2>', *part, "</section>"]
    return page(content.study, sections, script=ANSWERS_SCRIPT if content.answers else "")


def lead(
    content: PageContent,
    summary: pd.DataFrame,
    palettes: Mapping[str, Palette],
) -> str:
    """The outcome: what was asked, what is attainable, what was reached, which is better.

    Args:
        content: the study.
        summary: table of `polyalign.evaluate.summary.summary`.
        palettes: name → solved palette.
    """
    asked = asked_levels(content.levels, palettes, content.policies)
    solved = sum(palette.solved for palette in palettes.values())
    parts = [
        f"Asked: {len(palettes)} palettes; attainable: {solved}." if palettes else "",
        delivered_outcome(asked),
        outcome(summary, labels=content.labels, chosen=content.chosen, opponent=content.opponent),
        f"All measured on {summary['n_prompts'].iloc[0]} test prompts.",
    ]
    return " ".join(filter(None, parts))


def not_to_trust(
    content: PageContent,
    summary: pd.DataFrame,
    palettes: Mapping[str, Palette],
    asked: Sequence[Asked],
) -> list[str]:
    """What a reader must not rely on, and why: one sentence each.

    Args:
        content: the study.
        summary: table of `polyalign.evaluate.summary.summary`.
        palettes: name → solved palette.
        asked: every level that a palette asks of a policy.
    """
    labels = content.labels
    found = [content.left_out] if content.left_out else []
    for palette in palettes.values():
        found += [f"{palette.name}: {warning}" for warning in palette.diagnosis.warnings]
    names = summary["family"] + "/" + summary["variant"]
    cut = cut_warning(dict(zip(names, summary["truncated"].astype(float), strict=True)))
    found += [cut] if cut else []
    found += unread_warnings(content.unread, labels)
    found += [
        f"{model}: {facts[DOUBT]}" for model, facts in content.facts.items() if DOUBT in facts
    ]
    found += heavy_rows(content.levels, labels)
    for policy, levels in content.levels.items():
        if (empty := levels["n_empty"].iloc[0]) > 0:
            are = "is" if empty == 1 else "are"
            found.append(
                f"{policy}: {empty:.0f} of {levels['n_samples'].iloc[0]} answers {are} empty"
            )
    for (of, value), small in _small_gains(asked).items():
        found.append(
            f"{labels[value]} in {of}: the asked gain, {_in_sd(small.gain)} sd, is within "
            f"{NOTICEABLE:g} standard errors of the base level: reached or missed says little"
        )
    for name, (_, row) in zip(names, summary.iterrows(), strict=True):
        if row["better_in_all"] and not row["better_at_equal_length"]:
            even = ", ".join(
                f"{labels[value]} {100 * row[f'{value}_even_winrate']:.1f} %"
                for value in content.chosen
            )
            found.append(
                f"{name} is better in all chosen values, but not at equal length: its win rates "
                f"there are {even}"
            )
    return [one_line(one) for one in found]


def _small_gains(asked: Sequence[Asked]) -> dict[tuple[str, str], Asked]:
    """Raised levels whose gain is within the uncertainty of the base level, once each."""
    return {
        (one.palette, one.value): one
        for one in asked
        if one.raised and not one.asked - one.base > NOTICEABLE * one.base_se
    }


def _with_links(work: str) -> str:
    """A work in HTML, its number at arXiv as a link."""
    return re.sub(
        r"arXiv[ :](\d{4}\.\d{4,5})",
        r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>',
        escape(work),
    )


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    finding = escape(one_line(picture.finding))
    # Its width at 300 dpi in CSS pixels, of which an inch has 96; a PNG has it in its first chunk.
    natural = round(int.from_bytes(picture.png[16:20], "big") / 300 * 96)
    return (
        f'<figure id="figure-{escape(picture.name.replace("/", "-"))}">'
        f'<div class="wide" tabindex="0"><img alt="{finding}" style="--natural: {natural}px" '
        f'src="data:image/png;base64,{data}"></div>'
        f"<figcaption><b>{escape(picture.name)}.</b> {finding}</figcaption></figure>"
    )


def _figures(content: PageContent) -> list[str]:
    if not content.pictures:
        return []
    others = ", ".join(content.elsewhere)
    rest = (
        [f"<p>More figures are in the report (report.html): {escape(others)}.</p>"]
        if others
        else []
    )
    return [*map(_picture, content.pictures[1:]), *rest]


def _palettes(
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


def _trained(palette: Palette, value: str) -> Any:
    """What perfect training delivers, with its interval."""
    found = palette.trained
    level = found.level.get(value, math.nan)
    if math.isnan(level):
        return number(level)
    return ranged(level, found.low[value], found.high[value]), level


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


def _delivered(
    asked: Sequence[Asked], labels: Mapping[str, str], summary: pd.DataFrame
) -> list[str]:
    """One row for each policy of a palette, one column for each value."""
    if not asked:
        return []
    of_policies = {f"{row['family']}/{row['variant']}": row for _, row in summary.iterrows()}
    several = (
        " Behind the word seeds is the standard deviation of the gain over the seeds that a "
        "policy is trained with."
    )
    by_policy: dict[tuple[str, str], dict[str, Asked]] = {}
    for one in asked:
        by_policy.setdefault((one.palette, one.policy), {})[one.value] = one
    rows = [
        [
            palette,
            policy,
            *(
                _realised(cells[value], of_policies[policy]) if value in cells else ("–", math.nan)
                for value in labels
            ),
        ]
        for (palette, policy), cells in by_policy.items()
    ]
    return [
        "<p>Realised gains on test prompts, which were not used to fit a palette, in standard "
        "deviations of the base model's rewards ± standard error (clustered by prompt), and the "
        "asked gain. ✓ reached: at least what was asked. ? undecided: less, and the 95 % interval "
        "reaches it. ✗ missed: the whole interval is below; of a ceiling (≤), above. A policy "
        "that chooses among candidates has its exact expectation over them."
        f"{several if 'seeds' in summary else ''}</p>",
        table(["Palette", "Policy", *labels.values()], rows, search=True),
    ]


def _in_sd(gain: float) -> str:
    """A gain in standard deviations, to two places, without a sign of zero."""
    return in_sd_text(round(gain, 2) + 0.0)


def _seeds(row: pd.Series, name: str, unit: float, digits: int) -> str:
    """A standard deviation over seeds of the summary, as a cell has it; empty without one."""
    sd = float(row.get(f"{name}_seeds_sd", math.nan)) / unit
    return "" if math.isnan(sd) else f", seeds ± {sd:.{digits}f}"


def _realised(one: Asked, row: pd.Series) -> Cell:
    """What was realised of one level; `row` is that of its policy in the summary."""
    if math.isnan(one.sd):
        end = "" if one.floored else "≤ "
        return (f"{short(one.realised)} of {end}{short(one.asked)}", one.realised, one.verdict)
    sign = {"reached": "✓", "undecided": "?", "missed": "✗"}[one.verdict]
    gain = one.in_sd(one.realised)
    return (
        f"{_in_sd(gain)} ± {one.se / one.sd:.2f}{_seeds(row, f'{one.value}_level', one.sd, 2)} "
        f"of {one.asked_text} {sign}",
        gain,
        one.verdict,
    )


def _winrates(summary: pd.DataFrame, labels: Mapping[str, str], opponent: str) -> str:
    """Win rates, and beside each that at equal length; without the opponent against itself."""
    rows = []
    for _, row in summary.iterrows():
        cells: list[Any] = [f"{row['family']}/{row['variant']}"]
        if cells == [opponent]:
            continue
        for value in labels:
            middle, low, high = (
                100 * row[f"{value}_winrate{end}"] for end in ("", "_low", "_high")
            )
            even = 100 * float(row[f"{value}_even_winrate"])
            equal = "–" if math.isnan(even) else f"{even:.1f}"
            equal += _seeds(row, f"{value}_even_winrate", 0.01, 1)
            seeds = _seeds(row, f"{value}_winrate", 0.01, 1)
            cells.append((f"{middle:.1f} ({low:.1f} to {high:.1f}){seeds} | {equal}", middle))
        p = float(row["p_all_holm"])
        cells.append((p_value(p), p))
        rows.append(cells)
    return table(["Policy", *labels.values(), "p (all)"], rows, search=True)


def _judge(content: PageContent) -> list[str]:
    """Win rates by a judge, if there is one."""
    if content.judge is None:
        return []
    return [
        "<h3>By a judge</h3>",
        "<p>Win rates by a language model as judge, in per cent ± standard error, on one pair of "
        "answers per prompt. It saw each pair in both orders: where its votes differ, the pair is "
        "a tie. Shown first is the share of votes for the answer that stood first: far from 50, "
        "the place decides. Each value has the win rate of its rewards on the same pairs, and "
        "behind the bar the share of pairs, of those that both decide, on which judge and reward "
        "prefer the same answer (95 % interval), and Cohen's κ, their agreement beyond chance.</p>",
        printed(printed_judge(content.judge, content.labels), search=False),
    ]


def outcome(
    summary: pd.DataFrame, *, labels: Mapping[str, str], chosen: Sequence[str], opponent: str
) -> str:
    """How many policies are better in all chosen values at once, and at equal length; and which.

    The p-values are adjusted for the number of policies.

    Args:
        summary: table of `polyalign.evaluate.summary.summary`.
        labels: value → its name.
        chosen: the values in which a policy has to be better.
        opponent: the policy that win rates compare with.
    """
    names = [labels[value] for value in chosen]
    whom = "the base model" if opponent == BASE.name else opponent
    others = summary[summary["family"] + "/" + summary["variant"] != opponent]
    parts = []
    for claim, p in (
        ("better_in_all", "p_all_holm"),
        ("better_at_equal_length", "p_all_even_holm"),
    ):
        better = others[others[claim]]
        listed = ", ".join(
            f"{row['family']}/{row['variant']} ({_told(float(row[p]))})"
            for _, row in better.iterrows()
        )
        parts.append(f"{len(better)} of {len(others)} policies{': ' + listed if listed else ''}.")
    even = f" At equal length: {parts[1]}" if others["p_all_even"].notna().any() else ""
    return (
        f"Better than {whom} in all of {', '.join(names)} at once, at the 5 % level (p adjusted "
        f"for {len(others)} policies): {parts[0]}{even}"
    )


def _told(p: float) -> str:
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _diagnostics(summary: pd.DataFrame, levels: Mapping[str, pd.DataFrame]) -> str:
    rows = [
        [
            f"{row['family']}/{row['variant']}",
            number(row["kl"]),
            number(row["n_tokens"]),
            _empty(levels[f"{row['family']}/{row['variant']}"]),
            percent(row["truncated"]),
            number(row["job_seconds"]),
            number(row["cpu_seconds"]),
            number(row["gpu_seconds"]),
        ]
        for _, row in summary.iterrows()
    ]
    head = ["Policy", "KL (nats)", "Tokens", "Empty", "Cut off", "Seconds", "CPU s", "GPU s"]
    return table(head, rows, search=True)


def _empty(levels: pd.DataFrame) -> Cell:
    """How many answers are empty, since a few in a thousand would be 0 %."""
    empty, every = (int(levels[name].iloc[0]) for name in ("n_empty", "n_samples"))
    return (f"{empty} of {every}" if empty else "0", empty / every)


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


def _of_lam(palettes: Mapping[str, Palette], labels: Mapping[str, str]) -> list[str]:
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


def _provenance(content: PageContent) -> list[str]:
    rows = "".join(
        f"<tr><th scope='row'>{escape(what)}</th><td class='text'>{escape(said)}</td></tr>"
        for what, said in content.provenance.items()
    )
    config = json.dumps(content.config, indent=1, ensure_ascii=False)
    return [
        f'<div class="wide"><table><tbody>{rows}</tbody></table></div>',
        f"<details><summary>The config as this study used it</summary><pre>{escape(config)}</pre>"
        "</details>",
    ]


def _facts(facts: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [model, name, number(fact) if isinstance(fact, int | float) else str(fact)]
        for model, known in facts.items()
        for name, fact in known.items()
    ]
    return table(["Model", "Fact", ""], rows, search=False)
