"""Pages that open without a network: tables that sort by their heads and filter by typing."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from polyalign.report.printed import Printed, Topics
from polyalign.report.text import answer, one_line, short

Cell = tuple[str, float] | tuple[str, float, str]
"""The text, the number that it sorts by, and maybe a class of the style."""

NAME = 32  # letters of a text that is not broken into lines
PARTS = re.compile(r" (?=\(|\| |of \S+ [✓?✗]$|of ≤ )")  # where a cell of numbers may be broken
TALL = 25  # rows, from which on a table scrolls below its head
STYLE = """
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 72rem; margin: 1.5rem auto;
  padding: 0 1rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.2rem; } h3 { margin: 1.4rem 0 .4rem; }
a { color: #005a9c; }
.wide { overflow: auto; margin: .3rem 0 1rem; } .tall { max-height: 85vh; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: .25rem .7rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid #ddd; overflow-wrap: normal; }
thead th { position: sticky; top: 0; z-index: 1; background: #fff; white-space: nowrap;
  box-shadow: inset 0 -2px #333; }
.sorts thead th { padding: 0; }
th button { all: unset; box-sizing: border-box; display: block; width: 100%;
  padding: .25rem .7rem; cursor: pointer; }
th button:hover { background: #eef4fa; }
th button:focus-visible { outline: 2px solid #005a9c; outline-offset: -2px; }
th button::after { content: " \\2195"; color: #767676; }
th[aria-sort=ascending] button::after { content: " \\25B2"; color: inherit; }
th[aria-sort=descending] button::after { content: " \\25BC"; color: inherit; }
td { max-width: 34rem; } td.text { overflow-wrap: anywhere; min-width: 5rem; }
td.name { white-space: nowrap; }
th.number button { text-align: right; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.parts { white-space: normal; } td.parts span { white-space: nowrap; }
td.reached { background: #d9f0e6; } td.undecided { background: #fff3d6; }
td.missed { background: #fbdcdc; }
.user { unicode-bidi: isolate; white-space: pre-wrap; overflow-wrap: anywhere; }
td.answer { min-width: 16rem; } td.same { color: #666; font-style: italic; }
.prompt { background: #f3f3f3; border-left: 3px solid #0072b2; padding: .4rem .7rem; }
.warnings { color: #7a4600; }
input, select, .pages button { font: inherit; padding: .2rem .5rem; margin: 0 .4rem .4rem 0;
  max-width: 100%; }
.found, .note { color: #555; font-size: 13px; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; }
@media screen and (max-width: 700px) {  /* a figure is read by scrolling in its box */
  figure img { width: var(--natural); max-width: none; }
}
figcaption { font-size: 13px; color: #333; max-width: 48rem; }
pre { white-space: pre-wrap; font-size: 12px; }
nav li { display: inline-block; margin-right: 1rem; } nav ul { padding: 0; list-style: none; }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  body { font-size: 11px; max-width: none; margin: 0; padding: 0; }
  .wide { overflow: visible; max-height: none !important; }
  table { width: 100%; font-size: 8px; }
  th, td { padding: .1rem .3rem; max-width: none; }
  td.number, td.parts span, td.name, thead th { white-space: normal; }
  thead th { position: static; box-shadow: none; border-bottom: 2px solid #333; }
  th button { padding: .1rem .3rem; } th button::after { content: none !important; }
  td.text, td.answer { min-width: 0; }
  th, td.text, td.name, td.answer { overflow-wrap: anywhere; }
  tr, figure { break-inside: avoid; } h2, h3 { break-after: avoid; }
  figure img { max-height: 150mm; }
  input, select, .pages, .found { display: none; }
}
"""
SCRIPT = """
const words = text => text.toLowerCase().split(/\\s+/).filter(word => word);
const has = (text, wanted) => wanted.every(word => text.includes(word));
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const order = new Intl.Collator(undefined, {numeric: true});
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => {
      const cell = row.cells[column], sort = cell.dataset.sort ?? cell.textContent;
      return sort === "\u2013" ? "" : sort;
    };
    const compare = (a, b) => {
      if (a === "" || b === "") return (a === "") - (b === "");  // what is missing is last
      return (up ? 1 : -1) * (isNaN(a) || isNaN(b) ? order.compare(a, b) : a - b);
    };
    [...body.rows].sort((a, b) => compare(key(a), key(b))).forEach(row => body.append(row));
  }));
}
for (const field of document.querySelectorAll("input.filter")) {
  const rows = [...field.parentElement.querySelector("table").tBodies[0].rows];
  const texts = rows.map(row => [...row.cells].map(cell => cell.textContent).join(" ")
    .toLowerCase());
  field.addEventListener("input", () => {
    const wanted = words(field.value);
    rows.forEach((row, i) => { row.hidden = !has(texts[i], wanted); });
    const left = rows.filter(row => !row.hidden).length;
    field.nextElementSibling.textContent = wanted.length ? `${left} of ${rows.length} rows` : "";
  });
}
"""


def page(title: str, sections: Iterable[str], *, script: str = "") -> str:
    """A page of sections in HTML, which needs no other file.

    Args:
        title: title of the window.
        sections: HTML.
        script: runs after the script of the tables.
    """
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(one_line(title))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        f"<script>{SCRIPT}{script}</script>\n</body>\n</html>\n"
    )


def printed(shown: Printed, *, search: bool) -> str:
    """A table as a paper prints it; numbers sort by what comes before ± or the interval."""
    rows = [
        [cell if i < shown.texts else _keyed(cell) for i, cell in enumerate(row)]
        for row in shown.rows
    ]
    return table(shown.head, rows, search=search)


def printed_page(title: str, shown: Printed, caption: str = "") -> str:
    """A page with one table as a paper prints it, below what it shows."""
    return page(title, [*_head(title, caption), printed(shown, search=True)])


def frame_page(title: str, frame: pd.DataFrame, caption: str = "") -> str:
    """A page with one table as it is: all columns by their names, numbers with four digits."""
    rows = [[_cell(one) for one in row] for row in frame.itertuples(index=False)]
    shown = table(list(map(str, frame.columns)), rows, search=True)
    return page(title, [*_head(title, caption), shown])


def topics_page(title: str, topics: Topics, caption: str = "") -> str:
    """A page with one table for each topic of a wide one, and a list of the topics."""
    places = {topic: f"topic-{place}" for place, topic in enumerate(topics.parts)}
    parts = []
    for topic, shown in topics.parts.items():
        parts.append(f'<h2 id="{places[topic]}">{escape(topic)}</h2>')
        parts.append(printed(shown, search=True))
    return page(title, [*_head(title, caption), contents(places), *parts])


def contents(places: Mapping[str, str]) -> str:
    """Links to the parts of a page: title → id."""
    links = "".join(
        f'<li><a href="#{place}">{escape(title)}</a></li>' for title, place in places.items()
    )
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def with_code(text: str) -> str:
    """A text in HTML, what is between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _head(title: str, caption: str) -> list[str]:
    said = [f"<p>{with_code(one_line(caption))}</p>"] if caption else []
    return [f"<h1>{escape(one_line(title))}</h1>", *said]


def _keyed(cell: str) -> Cell:
    first = re.search(r"-?[\d.]+(e[-+]?\d+)?", cell)
    return cell, float(first[0]) if first else math.nan


def _cell(content: object) -> str | Cell:
    if isinstance(content, bool):
        return "yes" if content else "no"
    return number(content) if isinstance(content, int | float) else str(content)


def number(value: float) -> Cell:
    """The cell of a number."""
    return short(float(value)), float(value)


def percent(share: float) -> Cell:
    """The cell of a share, in per cent."""
    return ("–" if math.isnan(share) else f"{100 * share:.0f} %", float(share))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, search: bool) -> str:
    """An HTML table in a box of its own that scrolls, maybe with a field that filters its rows.

    It sorts and filters only on a `page`, which has the script. A click on a head, or Enter or the
    space bar there, sorts.

    Args:
        head: titles of the columns.
        rows: cells, each a text or a `Cell`.
        search: whether there is a field.
    """
    lines = []
    for row in rows:
        cells = []
        for title, cell in zip(head, row, strict=True):
            if isinstance(cell, tuple):
                text, key, *kind = cell
                sort = "" if math.isnan(key) else repr(float(key))
                parts = [f"<span>{minus(part)}</span>" for part in PARTS.split(text)]
                several = ["parts"] if len(parts) > 1 else []
                classes = " ".join(["number", *kind, *several])
                shown = " ".join(parts) if several else minus(text)
                cells.append(f'<td class="{classes}" data-sort="{sort}">{shown}</td>')
            elif title == "Answer":
                cells.append(f'<td class="answer user" dir="auto">{escape(answer(cell))}</td>')
            else:
                text = one_line(cell)
                breaks = "name" if len(text) <= NAME else "text"
                cells.append(f'<td class="{breaks}">{escape(text)}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    # The head of a column of numbers stands above their right ends, as they do.
    numbers = {i for row in rows for i, cell in enumerate(row) if isinstance(cell, tuple)}
    titles = "".join(
        f'<th scope="col" class="{"number" if i in numbers else "words"}" aria-sort="none">'
        f'<button type="button">{escape(one_line(title))}</button></th>'
        for i, title in enumerate(head)
    )
    field = (
        '<input class="filter" type="search" placeholder="words, in any order" '
        'aria-label="show the rows with these words">'
        '<span class="found" aria-live="polite"></span>\n'
    )
    tall = " tall" if len(lines) > TALL else ""
    body = "\n".join(lines)
    return (
        f'<div>{field if search else ""}<div class="wide{tall}" tabindex="0">'
        f'<table class="sorts">\n<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div></div>"
    )


def minus(text: str) -> str:
    """A number in HTML, with the sign of a minus instead of a hyphen."""
    return escape(re.sub(r"(?<![\w.])-(?=[\d.])", "\u2212", one_line(text)))
