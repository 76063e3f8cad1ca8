"""`tools/study_page.py`: what it says of a study is what the tables say."""

import json
from pathlib import Path

import pandas as pd
import study_page


def test_palettes_are_realised_within_two_standard_errors() -> None:
    summary = pd.DataFrame(
        {
            "family": ["base", "map-d", "map-d", "rloo"],
            "variant": ["base", "x", "y", "x"],
            "palette": [None, "x", "y", "x"],
            "verdict": ["", "supported", "supported", "supported"],
            "wit_asked": [float("nan"), 1.0, 1.0, 1.0],
            "wit_level": [0.0, 0.9, 0.7, 0.0],
            "wit_se": [0.1, 0.1, 0.1, 0.1],
            "calm_asked": [float("nan"), 2.0, float("nan"), 2.0],
            "calm_level": [0.0, 2.5, 0.0, 0.0],
            "calm_se": [0.1, 0.1, 0.1, 0.1],
        }
    )
    shown = study_page.realised(summary, {"x": {"wit": "q70", "calm": "mean"}, "y": {"wit": "q70"}})
    assert "| x | supported | wit | 1.0 | yes |" in shown
    assert "| y | supported | wit | 3.0 | no |" in shown
    assert shown.count("supported") == 2


def test_a_judge_rises_or_does_not() -> None:
    levels = pd.DataFrame(
        {
            "family": ["base", "map-d", "rloo", "soup"],
            "variant": list("bxyz"),
            "fair_mean": [0.0, 0.5, 0.1, -0.6],
            "fair_se": [0.1, 0.1, 0.1, 0.1],
        }
    )
    shown = study_page.judged(levels, "fair")
    assert "| map-d/x | +0.50 ± 0.14 | rose |" in shown
    assert "| rloo/y | +0.10 ± 0.14 | undecided |" in shown
    assert "| soup/z | -0.60 ± 0.14 | fell |" in shown


def test_answers_stand_side_by_side_in_the_order_of_their_ids(tmp_path: Path) -> None:
    for policy in ("base/base", "map-d/x"):
        folder = tmp_path / "policies" / policy
        folder.mkdir(parents=True)
        pd.DataFrame(
            {
                "prompt_id": ["b", "a", "a", "c"],
                "candidate": [0, 1, 0, 0],
                "split": ["test", "test", "test", "fit"],
                "prompt": ["B?", "A|?", "A|?", "C?"],
                "response": [f"{policy} {n}\nmore" for n in range(4)],
            }
        ).to_parquet(folder / "rewards.parquet")
    shown = study_page.samples(tmp_path, ["map-d/x"])
    rows = [line for line in shown.splitlines() if line.startswith("| ")][1:]
    answers = [line for line in rows if "more" in line]
    assert answers == [
        "| A\\|? | base/base 2 more | map-d/x 2 more |",
        "| B? | base/base 0 more | map-d/x 0 more |",
    ]
    assert "C?" not in shown


def test_a_reward_is_shown_with_its_ceiling(tmp_path: Path) -> None:
    card = {
        "name": "mood", "texts": 40, "ceiling": {"rho": 0.93, "one_rater": 0.66, "texts": 15},
        "agreement": {"mood": {"rho": [0.7, 0.6, 0.8], "auc": [0.8, 0.7, 0.9], "rho_length": -0.2}},
        "calibration": {"error": 0.25}, "trained_on": {"number": 90},
    }  # fmt: skip
    file = tmp_path / "card.json"
    file.write_text(json.dumps(card))
    row = study_page.cards([file]).splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "mood", "90 texts", "40 texts", r"0.70 \[0.60, 0.80\]", "0.93 (15 texts)", "0.66",
        r"0.80 \[0.70, 0.90\]", "–", "0.25", "-0.20",
    ]  # fmt: skip
