"""docs/guides/bring-your-own.md, followed word by word: files, commands and edits of its ten steps.

Stand-ins: a tiny model of letters, 60 prompts of letters, and letters for polite words.
"""

import json
import os
import re
import runpy
import subprocess
import sys
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY, copy_checkout
from pages import Command, blocks, commands

PAGE = REPOSITORY / "docs/guides/bring-your-own.md"
LETTERS = "abcpq"


def steps() -> list[tuple[str, str]]:
    """Title and text of each step."""
    text = PAGE.read_text(encoding="utf-8")
    parts = re.split(r"^## (\d+\. .+)\n", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def test_there_are_ten_steps() -> None:
    assert [title.partition(".")[0] for title, _ in steps()] == [str(i) for i in range(1, 11)]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder in which all steps were done, and what each command printed by its first words."""
    folder = tmp_path_factory.mktemp("own")
    checkout = copy_checkout(folder / "checkout")
    home = folder / "home"
    home.mkdir()
    environment = os.environ | {"PYTHONPATH": f"{checkout}/workflow", "OMP_NUM_THREADS": "1"}
    printed = {}
    called = [command for command in commands(PAGE) if command.block]
    assert len(called) == 6
    for title, text in steps():
        write(title, text, home)
        for command in (command for command in called if command.around in text):
            printed[" ".join(command.words[:2])] = call(command, home, environment)
    return home, printed


def call(command: Command, home: Path, environment: dict[str, str]) -> str:
    """Run a command of the page in the folder; returns what it printed."""
    assert command.words[0] == "polyalign"
    # The model of letters has room for no question in words.
    own = ["a b c" if word.endswith("?") else word for word in command.words]
    words = [sys.executable, "-m", *own]
    ran = subprocess.run(
        words, cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    # Whether so much more can be had is what `feasible` says; 3 means that it cannot.
    right = (0, 3) if command.words[1] == "feasible" else (0,)
    assert ran.returncode in right, (command.words, ran.stdout + ran.stderr)
    return ran.stdout


def write(title: str, text: str, home: Path) -> None:
    """Do what a step says beside its commands, with stand-ins where it speaks of your own."""
    if title.startswith("1."):
        folders = re.findall(r"^    mkdir (.+)$", text, re.MULTILINE)
        for name in folders[0].split():
            (home / name).mkdir()
    elif title.startswith("2."):
        (keys,) = {tuple(json.loads(line)) for line in blocks(text, "json")[0].splitlines()}
        prompts = [" ".join(letters) for letters in product(LETTERS, repeat=3)][:60]
        lines = [json.dumps({keys[0]: prompt}) for prompt in prompts]
        (home / "mine/prompts.jsonl").write_text("\n".join(lines) + "\n")
    elif title.startswith("3."):
        trainer = runpy.run_path(str(REPOSITORY / "tests/unit/train/enumerable.py"))
        trainer["save_base"](home / "mine/model")
    elif title.startswith("4."):
        code = blocks(text, "python")[0]
        words = '("please", "thank", "sorry", "glad")'
        assert code.count(words) == 1
        (home / "rewards/mine.py").write_text(code.replace(words, '("a",)'))
    elif title.startswith("6."):
        config = (home / "mine.yaml").read_text()
        for old in re.findall(r"hange `([^`]+)`", text):
            assert config.count(old) == 1, old
        new = re.search(r'to `(template: "[^`]+)`', text)
        assert new is not None
        config = config.replace('template: "{prompt}"', new[1])
        # The model of letters reads no words around a prompt, and writes three letters.
        config = config.replace(new[1], 'template: "{prompt}:"')
        (home / "mine.yaml").write_text(config.replace("max_new_tokens: 64", "max_new_tokens: 3"))


def test_the_study_of_the_guide_is_made(followed: tuple[Path, dict[str, str]]) -> None:
    home, printed = followed
    assert "mine.yaml: no errors." in printed["polyalign check"]
    assert "Study mine is complete: 1 palettes, 2 policies" in printed["polyalign run"]
    assert (home / "results/mine/report.html").stat().st_size > 100_000
    summary = pd.read_csv(home / "results/mine/tables/summary.csv")
    (chosen,) = summary[summary["family"] == "map-d"].to_dict("records")
    (base,) = summary[summary["family"] == "base"].to_dict("records")
    assert chosen["verdict"] == "supported"
    assert chosen["polite_level"] > base["polite_level"]


def test_its_last_commands_say_what_the_guide_says(followed: tuple[Path, dict[str, str]]) -> None:
    _, printed = followed
    assert "generate" in printed["polyalign status"]
    assert "supportable" in printed["polyalign feasible"]
    assert "polite" in printed["polyalign answer"]
