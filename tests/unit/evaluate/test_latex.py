import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from polyalign.evaluate.latex import escape, winrate_tables
from polyalign.tables import read_table

LABELS = {"helpful": "Helpful & kind", "humor": "Humor|wit"}


def write(folder: Path) -> tuple[str, str, pd.DataFrame]:
    table = pd.DataFrame(
        {
            "value": ["humor", "helpful"],
            "winrate": [0.6123, 0.5],
            "se": [0.0149, 0.01],
            "low": [0.58, 0.48],
            "high": [0.64, 0.52],
        }
    )
    names = ("dpo/beta_0.1", "dpo/100%", "soup/even")
    paths = {"latex": folder / "w.tex", "markdown": folder / "w.md", "csv": folder / "w.csv"}
    winrate_tables(dict.fromkeys(names, table), LABELS, **paths)
    return paths["latex"].read_text(), paths["markdown"].read_text(), read_table(paths["csv"])


def test_every_special_character_is_escaped() -> None:
    assert escape("a_b & 50% #1 $x {y}") == r"a\_b \& 50\% \#1 \$x \{y\}"
    assert escape("\\ ~ ^ < > |") == (
        r"\textbackslash{} \textasciitilde{} \textasciicircum{} \textless{} \textgreater{} "
        r"\textbar{}"
    )


def test_latex_table(tmp_path: Path) -> None:
    latex, _, _ = write(tmp_path)
    assert latex.splitlines() == [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{llrr}",
        r"\toprule",
        r"Family & Policy & Helpful \& kind & Humor\textbar{}wit \\",
        r"\midrule",
        r"dpo & beta\_0.1 & 50.0 $\pm$ 1.0 & 61.2 $\pm$ 1.5 \\",
        r" & 100\% & 50.0 $\pm$ 1.0 & 61.2 $\pm$ 1.5 \\",
        r"\midrule",
        r"soup & even & 50.0 $\pm$ 1.0 & 61.2 $\pm$ 1.5 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_markdown_table(tmp_path: Path) -> None:
    _, markdown, _ = write(tmp_path)
    lines = markdown.splitlines()
    assert lines[0] == r"| Family | Policy | Helpful & kind | Humor\|wit |"
    assert lines[2] == "| dpo | beta_0.1 | 50.0 ± 1.0 | 61.2 ± 1.5 |"
    assert len(lines) == 5


def test_csv_holds_the_numbers_in_full(tmp_path: Path) -> None:
    _, _, table = write(tmp_path)
    assert table["variant"].tolist() == ["beta_0.1", "100%", "even"]
    row = table.iloc[0]
    names = ("humor_winrate", "humor_se", "humor_low", "humor_high", "helpful_winrate")
    assert [row[name] for name in names] == [0.6123, 0.0149, 0.58, 0.64, 0.5]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_latex_compiles(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "page.tex").write_text(
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}"
        "\\begin{document}\\input{w.tex}\\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
