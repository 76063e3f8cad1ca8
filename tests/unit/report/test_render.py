import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from polyalign.data.tables import read_table
from polyalign.report.printed import Printed
from polyalign.report.render import escape, write_table

HEAD = ["Family", "Policy", "Helpful & kind", "Humor|wit"]
CELLS = ["50.0 ± 1.0", "61.2 ± 1.5"]


def write(folder: Path) -> tuple[str, str, pd.DataFrame]:
    names = ("dpo/beta_0.1", "dpo/100%", "soup/even")
    rows = [[*name.split("/"), *CELLS] for name in names]
    numbers = pd.DataFrame({"variant": [row[1] for row in rows], "humor_winrate": 0.6123})
    paths = {kind: folder / f"w.{kind}" for kind in ("html", "csv", "md", "tex")}
    write_table(Printed(HEAD, rows, numbers), "Win rates", paths)
    return paths["tex"].read_text(), paths["md"].read_text(), read_table(paths["csv"])


def test_a_data_frame_is_a_page_and_a_csv_alone(tmp_path: Path) -> None:
    frame = pd.DataFrame({"family": ["dpo"], "kl": [0.125]})
    write_table(frame, "Summary", {"csv": tmp_path / "s.csv", "html": tmp_path / "s.html"})
    assert read_table(tmp_path / "s.csv").to_dict("list") == {"family": ["dpo"], "kl": [0.125]}
    assert "<h1>Summary</h1>" in (tmp_path / "s.html").read_text()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s.csv", "s.html"]


def test_every_special_character_is_escaped() -> None:
    assert escape("a_b & 50% #1 $x {y}") == r"a\_b \& 50\% \#1 \$x \{y\}"
    assert escape("\\ ~ ^ < > |") == (
        r"\textbackslash{} \textasciitilde{} \textasciicircum{} \textless{} \textgreater{} "
        r"\textbar{}"
    )
    assert escape("λ ± ½ – ≥") == r"$\lambda$ $\pm$ $\frac{1}{2}$ -- $\geq$"


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
    assert table["humor_winrate"].tolist() == [0.6123] * 3


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_latex_compiles(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "page.tex").write_text(
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}"
        "\\begin{document}\\input{w.tex}\\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "page.pdf").stat().st_size > 0
