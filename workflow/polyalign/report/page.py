"""The study on one HTML page that needs no other file: the page that people send."""

import base64
import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

from polyalign.evaluate.delivery import (
    asked_levels,
)
from polyalign.palettes.record import Palette
from polyalign.report.answers import SCRIPT as ANSWERS_SCRIPT
from polyalign.report.answers import answers_html
from polyalign.report.cards import cards_html
from polyalign.report.content import PageContent, Picture
from polyalign.report.html_tables import (
    contents,
    minus,
    number,
    page,
    printed,
    table,
    with_code,
)
from polyalign.report.judged import printed_judge
from polyalign.report.of_palettes import lam_section, palettes_section
from polyalign.report.of_policies import delivered_section, diagnostics_table, winrates_table
from polyalign.report.outcome import lead, not_to_trust
from polyalign.report.tables import families as families_table
from polyalign.report.text import one_line


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
        "What was asked, and is it attainable?": palettes_section(content, palettes, asked),
        "What was delivered?": delivered_section(asked, labels, summary),
        "Which policies are better?": [
            "<p>P(win) + ½ P(tie) in per cent with its 95 % interval, over all pairs of answers to "
            "the same prompt: 50 is as good as the opponent. Behind the bar stands the win rate at "
            "equal length, which is left when length has no effect. The last column is the "
            "p-value of being better in all chosen values at once, adjusted for the number of "
            "policies.</p>",
            winrates_table(summary, labels, content.opponent),
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
            diagnostics_table(summary, content.levels),
            *lam_section(palettes, labels),
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
