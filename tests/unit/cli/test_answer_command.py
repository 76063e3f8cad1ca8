"""`polyalign answer` and `polyalign serve` on a tiny study."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from answerdata import LAM, make_study

from polyalign.cli import main
from polyalign.cli.answer import QUIET


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answer-command")
    make_study(folder, reward="command_reward")
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is called from another folder, and may change it."""
    monkeypatch.chdir(tmp_path)
    # The command sets these, and other tests must not see them.
    for name, text in QUIET.items():
        monkeypatch.setenv(name, text)


def answer(root: Path, *words: str) -> int:
    return main(["answer", "--study", str(root / "results/tiny"), *words])


def test_the_base_answer_and_the_aligned_one(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert answer(root, "b c", "--palette", "open", "--samples", "2", "--json") == 0
    first = capsys.readouterr().out
    found = json.loads(first)
    assert found["prompt"] == "b c"
    assert found["base"]["policy"] == "base/base"
    assert len(found["base"]["answers"]) == len(found["aligned"]["answers"]) == 2
    aligned = found["aligned"]
    assert aligned["lam"] == LAM
    assert len(aligned["candidates"]) == 8
    assert sum(one["probability"] for one in aligned["candidates"]) == pytest.approx(1)
    assert aligned["seed"] == 5
    assert answer(root, "b c", "--palette", "open", "--samples", "2", "--json", "--seed", "5") == 0
    assert capsys.readouterr().out == first


def test_for_people_there_is_text(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert answer(root, "b c", "--lam", "vowels=1.5", "--candidates", "4") == 0
    base, aligned, table = capsys.readouterr().out.split("\n\n")
    assert base.splitlines()[0] == "base/base"
    assert "vowels " in base.splitlines()[-1]
    assert aligned.splitlines()[0] == "lam (λ: vowels 1.5)"
    head, *rows = table.splitlines()[1:]
    assert head.split() == ["probability", "vowels", "diversity", "fluency", "candidate"]
    chances = [float(row.split()[0]) for row in rows]
    assert len(chances) == 4
    assert chances == sorted(chances, reverse=True)


def test_the_value_model_answers_with_a_lam(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert answer(root, "b c", "--lam", "vowels=1.5", "--guide", "--json") == 0
    aligned = json.loads(capsys.readouterr().out)["aligned"]
    assert (aligned["policy"], aligned["lam"]) == ("value-d", {"vowels": 1.5})
    assert aligned["candidates"] == []
    assert answer(root, "b c", "--palette", "open", "--guide") == 0
    assert "value-d/open (λ: vowels 0.6, diversity 0.5)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--palette", "opne"], "write 'open'"),
        (["--policy", "rlo/open"], "write 'rloo/open'"),
        (["--policy", "rloo/shut"], "has not been trained"),
        (["--lam", "vowels"], "is no λ of a value"),
        (["--lam", "vowels=1e99"], "expected a number from 0 to 1e+06"),
        (["--guide"], "--guide without λ"),
        (["--guide", "--policy", "rloo/open"], "--guide without λ"),
        (["--candidates", "5"], "without anything to choose by"),
        (["--palette", "open", "--candidates", "1000000000"], "from 1 to 1024"),
        (["--palette", "open", "--lam", "vowels=1"], "not allowed with"),
        (["--study", "nowhere"], "nowhere: has no config.json"),
        (["--samples", "0"], "samples is 0"),
        (["--pallete", "open"], "no option --pallete"),
    ],
)
def test_bad_input_is_one_line(
    root: Path, capsys: pytest.CaptureFixture, words: list[str], message: str
) -> None:
    assert answer(root, "b c", *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_long_prompt_is_one_line(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert answer(root, "a " * 50) == 2
    assert "has 51 tokens with its template; expected at most 18" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["answer", "--help"], ["serve", "--help"]])
def test_help_imports_no_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom polyalign.cli import main\n"
        f"try: main({words})\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'fastapi' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert "answer" in done.stdout


@pytest.mark.skipif(find_spec("fastapi") is not None, reason="the group `serve` is installed")
def test_without_its_packages_serve_says_so(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["serve", "--study", str(root / "results/tiny")]) == 2
    assert "pip install 'polyalign[serve]'" in capsys.readouterr().err


@pytest.mark.skipif(
    not (find_spec("fastapi") and find_spec("uvicorn")), reason="needs the dependency group `serve`"
)
def test_serve_ends_cleanly(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "polyalign", "serve", "--study", f"{root}/results/tiny"]
    with log.open("w") as file:
        server = subprocess.Popen([*command, "--port", "0"], stderr=file, stdout=file)
    try:
        while "running on" not in log.read_text():
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        address = log.read_text().partition("running on ")[2].split()[0]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}/healthz") as found:
            assert json.load(found)["study"] == "tiny"
        os.kill(server.pid, signal.SIGTERM)
        server.wait(20)
    finally:
        server.kill()
    assert "Traceback" not in log.read_text()
    assert "Application shutdown complete" in log.read_text()
