"""What `polyalign check` sees in the user's own data."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polyalign.cli import check
from polyalign.plan.data_check import check_data
from polyalign.study import load


def lines(path: Path, rows: list) -> None:
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")


def pairs(number: int) -> list[dict[str, str]]:
    return [{"prompt": f"q {n}", "chosen": "yes", "rejected": "no"} for n in range(number)]


@pytest.fixture
def sound(tmp_path: Path, text: str) -> str:
    """The small study with data that its jobs can read: 30 pairs, of which dpo draws 20."""
    for split in ("train", "test"):
        lines(tmp_path / f"data/hh/{split}.jsonl", pairs(30))
    labels = pd.DataFrame({"text": [f"t {n}" for n in range(90)], "label": [0, 1, 1] * 30})
    labels.to_csv(tmp_path / "data/humor.csv", index=False)
    return text.replace("learning_rate: 5.0e-4", "learning_rate: 5.0e-4\n    pairs: 20")


def test_sound_data_are_not_mentioned(sound: str, write) -> None:
    found = check_data(load(write(sound)))
    assert (found.faults, found.warnings) == ([], [])


def test_rows_that_are_lost_or_cut_are_counted(tmp_path: Path, sound: str, write) -> None:
    hh = [
        {side: f"\n\nHuman: q {n}\n\nAssistant: a\n\nHuman: and?\n\nAssistant: {side}"
         for side in ("chosen", "rejected")}
        for n in range(25)
    ]  # fmt: skip
    same = [{"prompt": "q", "chosen": "yes", "rejected": "yes"}] * 5
    lines(tmp_path / "data/hh/train.jsonl", [*hh, *same])
    lines(tmp_path / "data/hh/test.jsonl", [*pairs(30), "{broken"])
    cut = sound.replace("helpful: {path: data/hh}", "helpful: {path: data/hh, max_words: 1}")
    found = check_data(load(write(cut)))
    assert found.faults == []
    prompts, unusable, later, short, test, short_test = found.warnings
    assert prompts.startswith("data/hh: 1 of 31 rows have no prompt (1 are not JSON)")
    assert unusable.startswith("preferences.helpful, train: 5 of 30 pairs cannot be used")
    assert later.startswith("preferences.helpful, train: 25 of 25 pairs differ in a later turn")
    assert short.startswith("preferences.helpful, train: 25 of 25 pairs are cut to max_words")
    assert test.startswith("preferences.helpful, test: 1 of 31 pairs cannot be used")
    assert short_test.startswith("preferences.helpful, test: 30 of 30 pairs are cut")


def test_what_would_stop_a_job_stops_the_check(tmp_path: Path, sound: str, write, capsys) -> None:
    """All at once, and before anything is planned."""
    lines(tmp_path / "data/hh/train.jsonl", pairs(9))
    lines(tmp_path / "data/hh/test.jsonl", ["{broken"])
    (tmp_path / "data/humor.csv").write_text("comment,label\nha,1\n", encoding="utf-8")
    (tmp_path / "data/table.csv").write_text("prompt,chosen,rejected\na,b,c\n", encoding="utf-8")
    mine = sound.replace("results/small/world/hh/harmless-base", "data/table.csv")
    # Its train and its test split would both be read, with the same fault.
    path = write(
        mine.replace("helpful: {pref", "harmless: {preferences: harmless}\n  helpful: {pref")
    )
    assert check.main(["--config", path]) == 2
    prompts, few, test, table, labels = capsys.readouterr().err.splitlines()
    assert prompts.startswith("prompts.sources.0: data/hh: none of its 1 lines is JSON")
    assert few.startswith(
        "policies.dpo: dpo/beta-0.1_mostly draws 14 pairs from preferences.helpful, which has 9"
    )
    assert test.startswith("preferences.helpful: ")
    assert table.startswith("preferences.harmless: data/table.csv: unknown format of preference")
    assert labels.startswith("reward_models.humor.labels: data/humor.csv: no column 'text'")


SCORES = """\
study: scored
rewards: scores.csv
values: {a: {kind: column}, flat: {kind: column}, rare: {kind: column}}
palettes: {p: {a: q60, flat: mean, rare: q70}, q: {flat: mean}}
policies: {map-d: {palettes: [p]}}
"""


def test_scores_that_no_palette_can_change_are_named_once(
    tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"prompt": [f"q {n // 12}" for n in range(480)], "a": draws.normal(size=480),
         "flat": 1.5, "rare": [float(n % 20 == 3) for n in range(480)]}
    )  # fmt: skip
    frame.to_csv(tmp_path / "scores.csv", index=False)
    flat, rare = check_data(load(write(SCORES))).warnings
    assert flat.startswith("palette p: flat is 1.5 for every sample")
    assert rare.startswith("palette p: rare: q70 is 0, and the base policy's mean is 0.")
    frame.assign(split="train").to_csv(tmp_path / "scores.csv", index=False)
    (fault,) = check_data(load(write(SCORES))).faults
    assert "the column 'split' says 'train'; expected fit" in fault
