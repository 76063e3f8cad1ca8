"""Every command on the pages of the site is run by a test, or is marked as needing a cluster.

Those that need a table of scores alone run here, word by word, on stand-ins. The others run where
the table `ELSEWHERE` says.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from pages import PAGES, ROOT, Command, commands

from polyalign.cli import main
from polyalign.palettes.solve import solve_palette

FOLLOWED = ROOT / "docs/guides/bring-your-own.md"
"""A page that tests/workflow/test_bring_your_own.py follows as a whole."""

SITE = [
    command
    for page in PAGES[1:]
    for command in commands(page)
    if command.block and page != FOLLOWED
]
TABLE = ROOT / "configs/data/sandbox-rewards.csv"
ON_TABLES = ("quantile", "diagnose", "choose", "merge", "init", "solve", "feasible", "levels")
"""Commands of `polyalign` that need no model, no study and no Snakemake."""

TESTS, CI = "tests", ".github/workflows/ci.yml"
ELSEWHERE = {
    "polyalign answer": (f"{TESTS}/unit/cli/test_answer_command.py", '"answer"'),
    "polyalign app": (f"{TESTS}/unit/app/serving.py", '"app"'),
    "polyalign check": (f"{TESTS}/workflow/test_wheel.py", '"check"'),
    "polyalign compare": (f"{TESTS}/unit/evaluate/test_compare_studies.py", '"compare"'),
    "polyalign run": (f"{TESTS}/workflow/test_run_command.py", '"run"'),
    "polyalign score": (f"{TESTS}/unit/cli/test_score_command.py", '"score"'),
    "polyalign serve": (f"{TESTS}/unit/cli/test_answer_command.py", '"serve"'),
    "polyalign soup": (f"{TESTS}/unit/train/test_soup.py", '"soup"'),
    "polyalign status": (f"{TESTS}/workflow/test_bring_your_own.py", '"polyalign status"'),
    "snakemake": (f"{TESTS}/workflow/test_dag.py", "snakemake("),
    "make run": (CI, "make run"),
    "make generated": (f"{TESTS}/workflow/test_environments.py", "generated.files()"),
    "pip": (f"{TESTS}/workflow/test_wheel.py", '"install"'),
}
"""First words of a command → the file that runs it, and what it has to hold."""

BY_HAND = ("make real", "python benchmarks/")
"""What takes minutes of measuring, or downloads; no test runs it."""


def said(command: Command) -> str:
    return f"{command.page}: {' '.join(command.words)}"


def on_tables(command: Command) -> bool:
    return command.words[0] == "polyalign" and command.words[1] in ON_TABLES


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has what the commands on tables are called with, under the pages' names."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "configs/data").mkdir(parents=True)
    shutil.copy(TABLE, folder / "configs/data")
    scores = pd.read_csv(TABLE)
    scores.to_parquet(folder / "rewards.parquet")
    scores.to_csv(folder / "scores.csv", index=False)
    keys = ["prompt", "candidate", "response"]
    scores[[*keys, "humor"]].to_parquet(folder / "humor.parquet")
    half = len(scores) // 2
    for name, part in (("1", scores[:half]), ("2", scores[half:])):
        part[[*keys, "helpful"]].to_parquet(folder / f"helpful_{name}.parquet")
    pool = folder / "results/NAME/policies/base/pool/rewards.parquet"
    pool.parent.mkdir(parents=True)
    scores.to_parquet(pool)
    keyed = scores.assign(prompt_id=scores["prompt"])
    record = solve_palette(keyed, "hhh-60", {"humor": "q60", "helpful": "mean"})
    palette = folder / "results/sandbox/palettes/hhh-60.json"
    palette.parent.mkdir(parents=True)
    palette.write_text(json.dumps(record))
    (folder / "prompts.jsonl").write_text('{"prompt": "How do I bake bread?"}\n')
    return folder


def test_the_commands_on_tables_run_as_they_stand(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(desk)
    called = [command for command in SITE if on_tables(command)]
    assert {command.words[1] for command in called} == set(ON_TABLES)
    for command in called:
        (desk / "my.yaml").unlink(missing_ok=True)  # two pages write it
        status = main(list(command.words[1:]))
        # `feasible` ends with 3 where it proves that there is no such policy.
        right = (0, 3) if command.words[1] == "feasible" else (0,)
        assert status in right, (said(command), capsys.readouterr())
        for option in ("-o", "--answers"):
            if option in command.words:
                made = command.words[command.words.index(option) + 1]
                assert (desk / made).is_file(), said(command)


def test_every_other_command_is_run_elsewhere_or_needs_a_cluster() -> None:
    used = set()
    for command in SITE:
        text = " ".join(command.words)
        if command.needs_cluster or on_tables(command) or text.startswith(BY_HAND):
            continue
        names = [name for name in ELSEWHERE if text == name or text.startswith(f"{name} ")]
        assert names, f"{said(command)}: no test runs it"
        used.update(names)
    assert used == set(ELSEWHERE), "a row that no page needs"
    for name, (file, words) in ELSEWHERE.items():
        assert words in (ROOT / file).read_text(encoding="utf-8"), f"{file} does not run {name}"
