import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from polyalign.data.tables import read_table
from polyalign.report.printed import Printed
from polyalign.report.render import write_table
from polyalign.report.text import answer, latex, markdown, rst, visible

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
    assert latex("a_b & 50% #1 $x {y}") == r"a\_b \& 50\% \#1 \$x \{y\}"
    assert latex("\\ ~ ^ < > |") == (
        r"\textbackslash{} \textasciitilde{} \textasciicircum{} \textless{} \textgreater{} "
        r"\textbar{}"
    )
    assert latex("λ ± ½ – ≥") == r"$\lambda$ $\pm$ $\frac{1}{2}$ -- $\geq$"


HOSTILE = {
    "script": "<script>alert(1)</script>",
    "end": "</td></table>",
    "pipe": "a|b\n| c |",
    "marks": "*a* `b` [c](http://d) ~~e~~ $f$ _g_ &lt;",
    "turned": "a\u202eb",
    "control": "a\x00b\x1bc",
    "tex": r"\input{x} % & # ^ ~",
    "emoji": "😀",
    "chinese": "你好",
    "arabic": "مرحبا",
    "long": "w" * 400,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_are_shown_in_every_kind_of_table(text: str, tmp_path: Path) -> None:
    """Each kind of file has one row of as many cells as before, and no live markup."""
    numbers = pd.DataFrame({"variant": [text], "humor": [1.0]})
    paths = {kind: tmp_path / f"w.{kind}" for kind in ("html", "csv", "md", "tex")}
    head = ["Family", text, "Humor"]
    write_table(Printed(head, [["dpo", text, "1.0"]], numbers), text, paths, text)
    assert read_table(paths["csv"])["variant"].tolist() == [text]
    html = paths["html"].read_text(encoding="utf-8")
    assert html.count("<script") == html.count("</script>") == 1
    assert html.count("</table>") == html.count("</tr>") - 1 == 1
    assert html.count("</td>") == 3
    markdown_lines = paths["md"].read_text(encoding="utf-8").splitlines()
    assert len(markdown_lines) == 3
    for line in markdown_lines:
        assert len(re.findall(r"(?<!\\)\|", line)) == 4
        assert not re.search(r"(?<!\\)[*`<\[~$]", line)
    tex = paths["tex"].read_text(encoding="utf-8")
    assert tex.count(r" \\") == 2
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert all(len(re.findall(r"(?<!\\)&", row)) == 2 for row in rows)
    assert ("lualatex" in tex) == any(letter in text for letter in "😀你م")
    for file in (html, *markdown_lines, tex):
        assert "\u202e" not in file
        assert "\x00" not in file


def test_what_cannot_be_seen_is_named() -> None:
    assert visible("a\u202eb\x00\r\nc\td") == "a⟨U+202E⟩b⟨U+0000⟩\nc\td"
    assert visible("a\ufeffb\x85") == "a⟨U+FEFF⟩b⟨U+0085⟩"
    assert visible("क्\u200dष 👩\u200d🔬 你好 مرحبا") == "क्\u200dष 👩\u200d🔬 你好 مرحبا"
    assert [answer(text) for text in (None, "", " \n", "a")] == [
        "(no text)",
        "(empty)",
        "(blank: ' \\n')",
        "a",
    ]


def test_marks_are_letters_in_markdown_and_rst() -> None:
    assert markdown("a_b _c_ *d* &amp; & e") == r"a_b \_c\_ \*d\* \&amp; & e"
    assert rst("a_b `c` |d|") == r"a\_b \`c\` \|d\|"


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
