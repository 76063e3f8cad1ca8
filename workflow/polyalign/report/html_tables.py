"""Pages that open without a network: tables that sort by a click on a head and filter by typing."""

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import pandas as pd

from polyalign.report.printed import Printed

Cell = tuple[str, float]  # the text, and the number that it sorts by
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.2rem; } h3 { margin: 1.4rem 0 .4rem; }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto; }
th, td { padding: .25rem .7rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid #ddd; }
th { cursor: pointer; border-bottom: 2px solid #333; white-space: nowrap; }
th[aria-sort=ascending]::after { content: " \\25B2"; }
th[aria-sort=descending]::after { content: " \\25BC"; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.answer { min-width: 22rem; white-space: pre-wrap; }
.prompt { white-space: pre-wrap; background: #f3f3f3; border-left: 3px solid #0072b2;
  padding: .4rem .7rem; }
.supported { color: #006b4f; } .unsupported { color: #9a5b00; } .infeasible { color: #b00020; }
ul.warnings { color: #9a5b00; margin-top: -.6rem; }
input { font: inherit; padding: .2rem .5rem; margin-bottom: .4rem; }
"""
SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const order = new Intl.Collator(undefined, {numeric: true});
    const compare = (a, b) => isNaN(a) || isNaN(b) || a === "" || b === ""
      ? order.compare(a, b) : a - b;
    [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(key(a), key(b)))
      .forEach(row => body.append(row));
  }));
}
for (const field of document.querySelectorAll("input[type=search]")) {
  const rows = field.nextElementSibling.tBodies[0].rows;
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
"""


def page(title: str, sections: Iterable[str]) -> str:
    """A page of sections in HTML, which needs no other file."""
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def printed(shown: Printed, *, search: bool) -> str:
    """A table as a paper prints it; numbers sort by what comes before ± or the interval."""
    rows = [
        [cell if i < shown.texts else _keyed(cell) for i, cell in enumerate(row)]
        for row in shown.rows
    ]
    return table(shown.head, rows, search=search)


def printed_page(title: str, shown: Printed) -> str:
    """A page with one table as a paper prints it."""
    return page(title, [f"<h1>{escape(title)}</h1>", printed(shown, search=True)])


def frame_page(title: str, frame: pd.DataFrame) -> str:
    """A page with one table as it is: all columns by their names, numbers with four digits."""
    rows = [[_cell(one) for one in row] for row in frame.itertuples(index=False)]
    shown = table(list(map(str, frame.columns)), rows, search=True)
    return page(title, [f"<h1>{escape(title)}</h1>", shown])


def _keyed(cell: str) -> Cell:
    first = re.search(r"-?[\d.]+(e[-+]?\d+)?", cell)
    return cell, float(first[0]) if first else math.nan


def _cell(content: object) -> str | Cell:
    if isinstance(content, bool):
        return "yes" if content else "no"
    return number(content) if isinstance(content, int | float) else str(content)


def short(number: float) -> str:
    """A number with four digits; a dash where it is not defined."""
    return "–" if math.isnan(number) else f"{number:.4g}"


def number(value: float) -> Cell:
    """The cell of a number."""
    return short(float(value)), float(value)


def percent(share: float) -> Cell:
    """The cell of a share, in per cent."""
    return ("–" if math.isnan(share) else f"{100 * share:.0f} %", float(share))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, search: bool) -> str:
    """An HTML table, which may have a field that filters its rows.

    It sorts and filters only on a `page`, which has the script.

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
                text, key = cell
                sort = "" if math.isnan(key) else repr(float(key))
                cells.append(f'<td class="number" data-sort="{sort}">{escape(text)}</td>')
            else:
                kind = ' class="answer"' if title == "Answer" else ""
                cells.append(f"<td{kind}>{escape(cell)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    field = '<input type="search" placeholder="filter rows" aria-label="filter rows">\n'
    body = "\n".join(lines)
    return (
        f"{field if search else ''}<table>\n<thead><tr>{titles}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )
