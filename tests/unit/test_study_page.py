"""`tools/study_page.py`: what it says of a study is what the tables say."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import study_page


def test_gaps_are_exact_expectations_in_errors_of_fit_and_test() -> None:
    """Against weights by hand; a level above what is asked has a negative gap."""
    draws = np.random.default_rng(3)
    pool = pd.DataFrame(draws.normal(size=(12, 2)), columns=["wit", "calm"])
    pool["prompt_id"] = [f"p{n // 3}" for n in range(12)]
    pool["split"] = ["fit"] * 6 + ["test"] * 6
    lam, target = np.array([0.7, 0.2]), np.array([0.5, -4.0])
    palette = {"values": ["wit", "calm"], "lam_decode": lam.tolist(), "target": target.tolist()}
    by_hand = {}
    for split, rows in pool.groupby("split"):
        levels = []
        for _, one in rows.groupby("prompt_id"):
            rewards = one[["wit", "calm"]].to_numpy()
            weights = np.exp(rewards @ lam)
            levels.append(weights @ rewards / weights.sum())
        by_hand[split] = np.mean(levels, axis=0), np.var(levels, axis=0, ddof=1) / len(levels)
    error = (by_hand["fit"][1] + by_hand["test"][1]) ** 0.5
    expected = (target - by_hand["test"][0]) / error
    found = study_page.gaps(pool, palette)
    assert list(found.values()) == pytest.approx(expected)
    assert found["calm"] < 0


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
