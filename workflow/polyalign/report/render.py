"""Files of a table: for a paper (LaTeX), for readers (HTML, Markdown) and for a program (CSV)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from polyalign.data.tables import write_csv
from polyalign.report.html_tables import frame_page, printed_page, topics_page
from polyalign.report.printed import Printed, Topics
from polyalign.report.text import beyond_pdflatex, latex, markdown
from polyalign.runtime.files import write_text


def write_table(
    table: Printed | Topics | pd.DataFrame, title: str, paths: Mapping[str, Path], caption: str = ""
) -> None:
    """Write a table to the path of each kind of file that is asked for.

    Args:
        table: the table. A data frame and one by topics have no Markdown and no LaTeX.
        title: title of its page.
        paths: `csv` (all numbers in full), `html` (a page that sorts and filters), `md`, `tex`
            (needs the package booktabs) → path.
        caption: what the table shows, for its page.
    """
    if isinstance(table, Printed):
        write_csv(table.numbers, paths["csv"])
        write_text(paths["html"], printed_page(title, table, caption))
        write_text(paths["md"], _markdown(table))
        write_text(paths["tex"], _latex(table))
    elif isinstance(table, Topics):
        write_csv(table.frame, paths["csv"])
        write_text(paths["html"], topics_page(title, table, caption))
    else:
        write_csv(table, paths["csv"])
        write_text(paths["html"], frame_page(title, table, caption))


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
    text = "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])
    if beyond_pdflatex(text):
        return f"% needs lualatex or xelatex, and a font that has its letters\n{text}"
    return text


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(latex(cell) for cell in cells) + r" \\"


def _markdown(table: Printed) -> str:
    ruler = ["---"] * table.texts + ["---:"] * (len(table.head) - table.texts)
    lines = [
        "| " + " | ".join(cells) + " |"
        for cells in (_escaped(table.head), ruler, *map(_escaped, table.rows))
    ]
    return "\n".join(lines) + "\n"


def _escaped(cells: Sequence[str]) -> list[str]:
    return [markdown(cell) for cell in cells]
