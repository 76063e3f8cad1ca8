"""The table of win rates, for a paper (LaTeX), for a page (Markdown) and for a program (CSV)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from polyalign.evaluate.csv import write_csv
from polyalign.files import write_text

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
NUMBERS = ("winrate", "se", "low", "high")


def escape(text: str) -> str:
    """Text as LaTeX prints it, letter by letter (the commands need T1 fonts for the quote)."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def winrate_tables(
    winrates: Mapping[str, pd.DataFrame],
    labels: Mapping[str, str],
    *,
    latex: Path,
    markdown: Path,
    csv: Path,
) -> None:
    """Write the win rates of all policies: a row a policy, a column a value.

    A cell is the win rate against the base model ± its standard error, in per cent. The CSV holds
    `family`, `variant` and, in full, `V_winrate`, `V_se`, `V_low`, `V_high` for each value V.

    Args:
        winrates: policy (`family/variant`) → its win rates; gives the order of the rows.
        labels: value → its name in the head of the table; gives the order of the columns.
        latex: path of the LaTeX table (needs the package booktabs).
        markdown: path of the Markdown table.
        csv: path of the CSV table.
    """
    tables = {name: table.set_index("value") for name, table in winrates.items()}
    head = ["Family", "Policy", *labels.values()]
    rows = []
    for policy, table in tables.items():
        cells = [_percent(table["winrate"][value], table["se"][value]) for value in labels]
        rows.append([*policy.split("/"), *cells])
    write_text(latex, _latex(head, rows))
    write_text(markdown, _markdown(head, rows))
    write_csv(_numbers(tables, labels), csv)


def _percent(share: float, se: float) -> str:
    return f"{100 * share:.1f} ± {100 * se:.1f}"


def _latex(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A booktabs table; a rule parts the families, whose name stands at their first row alone."""
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
        "\\toprule",
        _latex_row(head),
    ]
    family = None
    for row in rows:
        if row[0] != family:
            lines.append("\\midrule")
        lines.append(_latex_row(["" if row[0] == family else row[0], *row[1:]]))
        family = row[0]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _latex_row(cells: Sequence[str]) -> str:
    printed = [escape(cell).replace(" ± ", r" $\pm$ ") for cell in cells]
    return " & ".join(printed) + r" \\"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = ["---", "---", *["---:"] * (len(head) - 2)]
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        for row in (head, ruler, *rows)
    ]
    return "\n".join(lines) + "\n"


def _numbers(tables: Mapping[str, pd.DataFrame], labels: Iterable[str]) -> pd.DataFrame:
    records = []
    for policy, table in tables.items():
        family, variant = policy.split("/")
        record: dict[str, object] = {"family": family, "variant": variant}
        for value in labels:
            record |= {f"{value}_{name}": table[name][value] for name in NUMBERS}
        records.append(record)
    return pd.DataFrame(records)
