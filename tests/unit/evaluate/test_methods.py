from polyalign.evaluate.methods import citations, methods

FACTS = {
    "labels": {"humor": "Humor", "wit": "Wit"},
    "values": {
        "humor": {"kind": "sequence_classifier", "model": "some/classifier"},
        "wit": {"kind": "a_new_kind"},
    },
    "rewards": None,
    "map": {"scope": "prompt"},
    "evaluation": {"bootstrap": 250, "opponent": "dpo/x", "evaluate_only": ["wit"]},
    "chosen": ["humor"],
    "test_share": 0.35,
    "families": [("map-d", 3), ("dpo", 2)],
    "seed": 7,
    "model": "some/model",
    "prompts": ["one", "two"],
    "sampling": {
        "temperature": 0.7,
        "top_k": 0,
        "top_p": 0.9,
        "max_new_tokens": 48,
        "candidates": 12,
        "evaluation_candidates": 4,
    },
}


def test_methods_say_what_the_config_says() -> None:
    text = " ".join(methods(FACTS))
    for part in (
        "Prompts were taken from one and two. The base model some/model answered each 12 times",
        "temperature 0.7 with top-k off and top-p 0.9, at most 48 tokens",
        "a probability of 35 %, to the test split",
        "Humor is the output of the classifier some/classifier; Wit is a reward of the kind a_new",
        "Wit: measured, never in λ.",
        "one normalisation a prompt",
        "Policies: 3 of map-d and 2 of dpo.",
        "against dpo/x over all pairs",
        "from 250 bootstrap resamples",
        "better in all of Humor is an intersection-union test",
        "has the seed 7",
    ):
        assert part in text, part


def test_a_study_from_scores_names_its_table() -> None:
    facts = {key: FACTS[key] for key in FACTS if key not in ("model", "prompts", "sampling")}
    first = methods(facts | {"rewards": "scores.csv"})[0]
    assert first.startswith("Answers and their scores were read from scores.csv. By a hash")


def test_families_bring_their_citations() -> None:
    works = citations(["dpo", "map-d"])
    assert any(work.startswith("Rafailov") for work in works)
    assert not any("Rewarded soups" in work for work in works)
    assert works[0].endswith("arXiv 2410.19198, 2024.")
