"""A table for a paper (LaTeX), for a page (Markdown) and for a program (CSV)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from polyalign.data.tables import write_csv
from polyalign.runtime.files import write_text

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "λ": r"$\lambda$",
    "½": r"$\frac{1}{2}$",
    "–": "--",
    "≥": r"$\geq$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def escape(text: str) -> str:
    """Text as LaTeX prints it, letter by letter (the commands need T1 fonts for the quote)."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


@dataclass(frozen=True)
class Printed:
    """A table as readers see it, and its numbers.

    Attributes:
        head: titles of the columns; the first `texts` are left-aligned.
        rows: the cells, as text.
        numbers: the same table for a program, in full.
        texts: number of leading columns that hold text. The first one groups the rows.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: pd.DataFrame
    texts: int = 2


def write_printed(table: Printed, *, latex: Path, markdown: Path, csv: Path) -> None:
    """Write a table for a paper, for a page and for a program.

    Args:
        table: the table.
        latex: path of the LaTeX table (needs the package booktabs).
        markdown: path of the Markdown table.
        csv: path of the CSV table.
    """
    write_text(latex, _latex(table))
    write_text(markdown, _markdown(table))
    write_csv(table.numbers, csv)


def _latex(table: Printed) -> str:
    """A booktabs table; a rule parts the groups, whose name stands at their first row alone."""
    columns = "l" * table.texts + "r" * (len(table.head) - table.texts)
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        _latex_row(table.head),
    ]
    group = None
    for row in table.rows:
        if row[0] != group:
            lines.append("\\midrule")
        lines.append(_latex_row(["" if row[0] == group else row[0], *row[1:]]))
        group = row[0]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(escape(cell) for cell in cells) + r" \\"


def _markdown(table: Printed) -> str:
    ruler = ["---"] * table.texts + ["---:"] * (len(table.head) - table.texts)
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        for row in (table.head, ruler, *table.rows)
    ]
    return "\n".join(lines) + "\n"
