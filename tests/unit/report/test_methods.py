from typing import Any

import pytest

from polyalign import families
from polyalign.families.options import TrainingOptions
from polyalign.report.methods import FAMILIES, citations, methods


def dumped(family: str, **given: Any) -> dict[str, Any]:
    """Settings of a family with its defaults."""
    settings: dict[str, Any] = families.module(family).Settings(**given).model_dump()
    return settings


MAP_D = dumped("map-d", palettes=["hhh-60"], draws=3)
LORA = {"rank": 8, "alpha": 16, "targets": ["q_proj", "v_proj"], "four_bit": True}
FACTS: dict[str, Any] = {
    "labels": {"humor": "Humor", "wit": "Wit"},
    "values": {
        "humor": {"kind": "sequence_classifier", "model": "some/classifier"},
        "wit": {"kind": "a_new_kind"},
    },
    "rewards": None,
    "map": {
        "scope": "prompt",
        "on_infeasible": "adjust",
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
    "reward_models": {},
    "chosen": ["humor"],
    "test_share": 0.35,
    "families": [("map-d", 3, MAP_D), ("new", 2, {"steps": 5, "lora": None})],
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
        "Policies: 3 of map-d and 2 of new.",
        "new: steps 5.",
        "Palettes: hhh-60 (Humor q60, Wit mean). λ of each palette",
        "supported if its effective sample size is 3 at least, its largest weight 0.75 of a "
        "prompt's weight, or 0.1 of all, at most, its KL at most 80 % of what choosing among the "
        "candidates can spend and the sum of λ at most 6; one that cannot be reached is moved",
        "Intervals of λ are from 200 resamples of the prompts.",
        "navigable if its win rates in all of them are at least ½ - 0.03.",
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


CASES = [
    (
        "map-d",
        {"palettes": ["hhh-60", "humor-70"], "draws": 3},
        "one of the base model's candidates of a prompt is drawn with weights exp(λ·r), 3 draws a "
        "test prompt; λ of hhh-60 and humor-70.",
    ),
    (
        "morl-d",
        {"count": 4, "cap": 2.5},
        "as map-d, with 4 random λ over Humor and Wit, uniform in direction and in their sum up to "
        "2.5, one draw a test prompt.",
    ),
    (
        "best-of",
        {"palettes": ["hhh-60"]},
        "the candidate of largest λ·r is taken, which spends all KL that a choice can; λ of "
        "hhh-60.",
    ),
    (
        "token-d",
        {"palettes": ["hhh-60"], "interval": 4, "top_k": 5},
        "the base model samples, and one token in 4 is drawn among the 5 likeliest with weights "
        "p0 exp(λ·r), r being the rewards of the text so far; λ for training of hhh-60.",
    ),
    (
        "token-d",
        {"palettes": ["hhh-60"], "lam": {"mine": {"humor": 0.5, "wit": 2}, "wit": {"wit": 1.0}}},
        "the base model samples, and every token is drawn among the 10 likeliest with weights "
        "p0 exp(λ·r), r being the rewards of the text so far; λ for training of hhh-60; λ as "
        "given: mine = Humor 0.5, Wit 2; wit = Wit 1.",
    ),
    (
        "map-d",
        {"lam": {"mine": {"humor": 0.5}}},
        "one of the base model's candidates of a prompt is drawn with weights exp(λ·r), one draw a "
        "test prompt; λ as given: mine = Humor 0.5.",
    ),
    (
        "dpo",
        {
            "beta": [0.1, 0.5],
            "mixtures": {"mixed": {"humor": 0.25, "wit": 0.75}},
            "pairs": 900,
            "epochs": 2,
            "learning_rate": 2e-5,
            "labelled": {"palettes": ["hhh-60"], "pairs": 700, "batch_size": 16, "lora": LORA},
        },
        "direct preference optimisation with β = 0.1 and 0.5 on 900 preference pairs of mixed "
        "(0.25 humor and 0.75 wit), 2 passes, batches of 32 pairs, peak learning rate 2e-05, all "
        "weights; for hhh-60 with β = 1 on at most 700 pairs of the base model's candidates, "
        "labelled by λ·r with λ for training, one pass, batches of 16 pairs, peak learning rate "
        "1e-06, LoRA adapters of rank 8 (alpha 16) on q_proj and v_proj, the others in 4 bits.",
    ),
    (
        "soup",
        {"models": {"half": {"dpo/a": 0.5, "dpo/b": 0.5}}},
        "parameters are averaged: half = 0.5 dpo/a + 0.5 dpo/b.",
    ),
    (
        "rloo",
        {"palettes": ["hhh-60"], "steps": 50, "batch_size": 64, "generations": 8},
        "RLOO, with the KL in the reward, 50 steps, 8 responses to a prompt, batches of 64 "
        "responses, peak learning rate 1e-06, all weights; the reward is λ·r with λ for training "
        "of hhh-60, less the KL to the base model with β = 1.",
    ),
    (
        "ppo",
        {"palettes": ["hhh-60"], "steps": 80, "passes": 4, "gae_lambda": 0.95},
        "PPO, 80 steps, responses used 4 times, clipping at 0.2, advantages with GAE λ = 0.95, a "
        "critic of peak learning rate 0.001, batches of 128 responses, peak learning rate 1e-06, "
        "all weights; the reward is λ·r with λ for training of hhh-60, less the KL to the base "
        "model with β = 1.",
    ),
]


@pytest.mark.parametrize(("family", "given", "told"), CASES)
def test_how_a_family_is_made(family: str, given: dict[str, Any], told: str) -> None:
    facts = FACTS | {"families": [(family, 1, dumped(family, **given))]}
    assert f"{family}: {told}" in methods(facts)


def test_every_family_is_told() -> None:
    assert set(FAMILIES) == set(families.NAMES) == {family for family, _, _ in CASES}


def test_how_reward_models_are_trained() -> None:
    model = TrainingOptions(learning_rate=1e-3, batch_size=16).model_dump() | {
        "source": None, "preferences": "helpful", "labels": None, "epochs": 2,
    }  # fmt: skip
    labelled = model | {"source": "a/b", "preferences": None, "labels": "fun.jsonl", "epochs": 1}
    facts = FACTS | {"reward_models": {"helpful": model, "humor": labelled}}
    text = methods(facts)[1]
    assert (
        "The reward model helpful was trained from the base model on the preferences helpful, 2 "
        "passes, batches of 16 pairs, peak learning rate 0.001, all weights. The reward model "
        "humor was trained from a/b on the labels of fun.jsonl, one pass, batches of 16 texts"
    ) in text


def cited(**changes: Any) -> str:
    return " ".join(citations(FACTS | changes))


def test_families_bring_their_citations() -> None:
    works = citations(FACTS | {"families": [("dpo", 1, {"lora": None}), ("map-d", 1, MAP_D)]})
    assert any(work.startswith("Rafailov") for work in works)
    assert not any("Rewarded soups" in work or "LoRA" in work for work in works)
    assert works[0].endswith("arXiv 2410.19198, 2024.")
    others = cited(families=[(name, 1, {}) for name in ("token-d", "morl-d", "best-of")])
    for number in ("ARGS", "multi-objective", "2009.01325"):
        assert number in others
    assert "2402.14740" in cited(families=[("rloo", 1, {"algorithm": "rloo"})])
    grpo = cited(families=[("rloo", 1, {"algorithm": "grpo"})])
    assert "2402.03300" in grpo
    assert "2402.14740" not in grpo
    assert "2106.09685" in cited(families=[("dpo", 1, {"labelled": {"lora": LORA}})])
