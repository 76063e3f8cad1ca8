"""`polyalign completion`: bash completes commands, options and files with the script."""

import subprocess
from pathlib import Path

import pytest

from polyalign import cli

pytest.importorskip("shtab", reason="needs the dependency group `completion`")

ASK = """\
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
$(complete -p polyalign | sed 's/.*-F \\([^ ]*\\).*/\\1/')
echo "${COMPREPLY[*]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import shtab

    from polyalign.cli import completion

    path = tmp_path_factory.mktemp("completion") / "script"
    path.write_text(shtab.complete(completion.whole_parser(shtab.FILE), shell="bash"), "utf-8")
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fea"], "feasible"),
        (["answer", "--pal"], "--palette"),
        (["solve", "--sco"], "--scope"),
        (["solve", "--split", "f"], "fit"),
        (["run", "--cor"], "--cores"),
        (["solve", "rew"], "rewards.csv"),
        (["completion", "z"], "zsh"),
    ],
    ids=" ".join,
)
def test_bash_completes(script: Path, tmp_path: Path, words: list[str], expected: str) -> None:
    (tmp_path / "rewards.csv").touch()
    found = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", str(script), "polyalign", *words],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (found.stdout.strip(), found.stderr) == (expected, "")


def test_the_script_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "zsh"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("#compdef polyalign")
    for command in cli.COMMANDS:
        assert f"    {command}:'" in printed
    assert cli.main(["completion", "fish"]) == 2
    assert "invalid choice: 'fish'" in capsys.readouterr().err
