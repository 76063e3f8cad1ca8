"""Files of a table: for a paper (LaTeX), for readers (HTML, Markdown) and for a program (CSV)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from polyalign.data.tables import write_csv
from polyalign.report.html_tables import frame_page, printed_page
from polyalign.report.printed import Printed
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


def write_table(table: Printed | pd.DataFrame, title: str, paths: Mapping[str, Path]) -> None:
    """Write a table to the path of each kind of file that is asked for.

    Args:
        table: the table. A data frame has no Markdown and no LaTeX.
        title: title of its page.
        paths: `csv` (all numbers in full), `html` (a page that sorts and filters), `md`, `tex`
            (needs the package booktabs) → path.
    """
    if isinstance(table, Printed):
        write_csv(table.numbers, paths["csv"])
        write_text(paths["html"], printed_page(title, table))
        write_text(paths["md"], _markdown(table))
        write_text(paths["tex"], _latex(table))
    else:
        write_csv(table, paths["csv"])
        write_text(paths["html"], frame_page(title, table))


def _latex(table: Printed) -> str:
    """A booktabs table; rules separate the groups, and the first row of each has its name."""
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
