from typing import Any

import pytest

from polyalign import families
from polyalign.families.options import Lora
from polyalign.report.methods import EVALUATION, MAP, citations, paragraphs
from polyalign.study import docstrings

FACTS: dict[str, Any] = {
    "labels": {"humor": "Humor", "wit": "Wit", "fun": "Fun"},
    "values": {
        "humor": {"sentence": "A score.", "settings": "model = some/classifier"},
        "wit": {"sentence": "A column.", "settings": ""},
        "fun": {"sentence": "A score.", "settings": "model = other"},
    },
    "rewards": None,
    "map": {
        "scope": "prompt",
        "on_infeasible": {"hhh-60": "adjust"},
        "resamples": 200,
        "min_ess": 3.0,
        "max_weight": None,
        "max_kl_share": 0.8,
        "max_norm": 6.0,
    },
    "evaluation": {
        "bootstrap": 250,
        "opponent": "dpo/x",
        "evaluate_only": ["wit"],
        "slack": 0.03,
    },
    "palettes": {"hhh-60": [("humor", "q60"), ("wit", "mean")]},
    "reward_models": [],
    "chosen": ["humor"],
    "test_share": 0.35,
    "drawn": 0,
    "families": [
        {"name": "map-d", "policies": 3, "sentence": "Draw one.", "settings": "draws = 3"},
        {"name": "new", "policies": 2, "sentence": "Is new.", "settings": "steps = 5"},
    ],
    "references": ["A family: A work. 2020."],
    "seed": 7,
    "model": "some/model",
    "prompts": ["one", "two"],
    "sampling": {
        "temperature": 0.7,
        "top_k": 0,
        "top_p": 0.9,
        "trim": None,
        "max_new_tokens": 48,
        "candidates": 12,
        "evaluation_candidates": 4,
    },
}


@pytest.mark.parametrize(
    ("paragraph", "facts"),
    [
        (0, ["one and two", "some/model", "12 times", "temperature 0.7", "top-k off", "top-p 0.9"]),
        (0, ["48 tokens", "4 times", "35 %"]),
        (
            1,
            ["Humor (model = some/classifier) and Fun (model = other): A score.", "Wit: A column."],
        ),
        (1, ["Wit: measured, but never"]),
        (2, ["hhh-60 (Humor q60, Wit mean)", "one normalisation per prompt", "200 resamples"]),
        (2, ["at least 3;", "at most 0.75 of a prompt's weight, or 0.1 of all;", "at most 80 %"]),
        (2, ["the sum of λ is at most 6.", "is moved towards the base levels"]),
        (3, ["3 of map-d and 2 of new"]),
        (4, ["map-d: Draw one. Settings: draws = 3."]),
        (5, ["new: Is new. Settings: steps = 5."]),
        (6, ["against dpo/x", "250 bootstrap", "all of Humor", "½ - 0.03.", "seed 7"]),
    ],
)
def test_methods_say_what_the_config_says(paragraph: int, facts: list[str]) -> None:
    text = paragraphs(FACTS)[paragraph]
    for fact in facts:
        assert fact in text, fact


def test_a_study_from_scores_names_its_table() -> None:
    facts = {key: FACTS[key] for key in FACTS if key not in ("model", "prompts", "sampling")}
    assert "scores.csv" in paragraphs(facts | {"rewards": "scores.csv"})[0]


def test_a_study_that_fits_on_all_prompts_says_so() -> None:
    answers, *others = paragraphs(FACTS | {"test_share": 0.0})
    assert answers.endswith("λ was fitted on all prompts.")
    assert any("was measured on the prompts of the fit." in text for text in others)


def test_random_palettes_are_described_once() -> None:
    assert "random" not in paragraphs(FACTS)[2]
    assert "; 20 random palettes (each on the way from" in paragraphs(FACTS | {"drawn": 20})[2]


def test_how_reward_models_are_trained() -> None:
    model = {
        "name": "helpful", "preferences": "hh", "labels": None, "source": None,
        "settings": "epochs = 2",
    }  # fmt: skip
    labels = {"path": "w.jsonl", "kind": "ratings"}
    labelled = model | {"name": "wit", "preferences": None, "labels": labels, "source": "a/b"}
    text = paragraphs(FACTS | {"reward_models": [model, labelled]})[1]
    assert "helpful was trained from the base model on the preference data hh (epochs = 2)" in text
    assert "wit was trained from a/b on the ratings in w.jsonl (epochs = 2)" in text


def test_a_study_cites_map_its_families_and_how_it_is_evaluated() -> None:
    assert citations(FACTS) == [MAP, "A family: A work. 2020.", *EVALUATION]
    assert citations(FACTS | {"references": [MAP]}).count(MAP) == 1
    assert docstrings.references(families.family("map-d").settings(palettes=["a"])) == [MAP]
    assert docstrings.references(Lora())[0].startswith("Hu, Shen")
