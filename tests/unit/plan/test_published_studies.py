"""The studies of the MAP paper are whole: their jobs, counted against the published experiments."""

from collections import Counter
from pathlib import Path

import pytest

from polyalign.plan import stages
from polyalign.plan.jobs import jobs
from polyalign.study import Study, load

ROOT = Path(__file__).parents[3]
HHH = [f"hhh-{percent}" for percent in (50, 60, 70, 80)]
SINGLE = ["humor-80", "helpful-80", "harmless-80"]
RANDOM = [f"random-{number:02d}" for number in range(1, 21)]
DRAWS = [f"draw-{number}" for number in range(1, 21)]
SHARES = [f"harmless-{number / 10:.1f}" for number in range(11)]
BETAS = ("0.1", "0.5")


def study(name: str) -> Study:
    return load(ROOT / f"configs/published-{name}.yaml")


def variants(made: Study, family: str) -> list[str]:
    return [policy.variant for policy in made.all_policies.values() if policy.family == family]


def test_llama_has_all_palettes_and_clouds_by_decoding() -> None:
    """Table 4: seven palettes, decoded; Figure 1: random λ of both kinds. No model is trained."""
    made = study("llama2")
    assert variants(made, "map-d") == [*HHH, *SINGLE, *RANDOM]
    assert len(variants(made, "morl-d")) == 20
    assert len(made.all_policies) == 47
    found = Counter(stage for stage, _ in jobs(made))
    assert found["solve"] == found["diagnose"] == 27
    assert found["decode"] == 47
    assert found["train"] == 0
    assert found["generate"] == 16 + 1  # the pool and a reference; no policy generates anew
    assert found["annotate"] == 17 * 6


def test_opt_has_every_family_of_the_comparison() -> None:
    """Tables 1 and 3, Figure 7: decoding, fine-tuning, DPO at two β on eleven mixtures, soups."""
    made = study("opt")
    assert variants(made, "map-d") == [*HHH, *SINGLE, *RANDOM]
    assert variants(made, "morl-d") == DRAWS
    assert variants(made, "ppo") == [*HHH, *SINGLE, *RANDOM, *DRAWS]
    assert variants(made, "dpo") == [f"beta-{beta}_{share}" for beta in BETAS for share in SHARES]
    inner = [f"beta-{beta}_{share}" for beta in BETAS for share in SHARES[1:-1]]
    assert variants(made, "soup") == inner
    weights = made.all_policies["soup/beta-0.5_harmless-0.3"].settings["weights"]
    assert weights == {
        "dpo/beta-0.5_harmless-1.0": 0.3,
        "dpo/beta-0.5_harmless-0.0": pytest.approx(0.7),
    }
    for name, policy in made.all_policies.items():
        if policy.family == "dpo":
            share = float(name[-3:])
            assert policy.settings["mixture"] == pytest.approx(
                {"harmless": share, "helpful": 1 - share}
            )
    found = Counter(stage for stage, _ in jobs(made))
    assert found["train"] == 47 + 22 + 18
    assert found["decode"] == 47
    assert found["generate"] == 4 + 1 + 87
    ppo = made.all_policies["ppo/hhh-60"].settings
    assert (ppo["learning_rate"], ppo["batch_size"], ppo["adapt"]) == (1e-6, 20, False)
    # A random λ has the six rewards of a palette, and no palette.
    morl = {"family": "ppo", "variant": "draw-20"}
    told = stages.STAGES["train"].settings(made, morl)
    assert list(told["values"]) == list(made.values)
    wanted = stages.STAGES["train"].inputs(made, morl)
    assert "prompts" in wanted
    assert "palette" not in wanted
    # One epoch: about 2,312 answers, 20 at a time, each batch used four times.
    assert ppo["steps"] == 4 * round(2312 / 20)


def test_sentiment_has_its_palettes_by_decoding_and_fine_tuning() -> None:
    """Table 2, on the first 1,000 reviews of the train split."""
    made = study("imdb")
    palettes = [*(name.replace("hhh", "phh") for name in HHH), "positive-80", *SINGLE[1:]]
    assert variants(made, "map-d") == variants(made, "ppo") == palettes
    (source,) = made.prompts.sources
    assert (source.split, made.prompts.limit) == ("train", 1000)
    assert source.opening is not None
    assert (source.opening.shortest, source.opening.longest) == (20, 30)
    assert made.scorer("positive")["output"] == "probability"
    assert Counter(stage for stage, _ in jobs(made))["train"] == 7


@pytest.mark.parametrize("name", ["llama2", "opt", "imdb"])
def test_published_studies_are_sampled_and_scored_as_published(name: str) -> None:
    made = study(name)
    sampling = made.sampling
    assert (sampling.temperature, sampling.top_k, sampling.max_new_tokens) == (1.0, 50, 50)
    assert sampling.candidates == 16
    assert made.prompts.template == "{prompt}"
    assert made.map.scope == "joint"
    assert all(spec.reads_prompt() for spec in made.values.values())
    first = next(iter(made.values))
    assert set(made.palettes) > {f"{first}-80", "helpful-80", "harmless-80"}
    fifty = made.palettes["phh-50" if name == "imdb" else "hhh-50"]
    assert list(fifty.values()) == ["max(q50, mean)"] * 3 + ["mean"] * 3
    # The sweep over K reads the pool alone.
    assert "candidates" in made.plots
    wanted = stages.STAGES["explore"]
    asked = wanted.settings(made, {"name": "candidates"})["settings"]["candidates"]
    assert (min(asked), max(asked)) == (2, sampling.candidates)
    read = str(wanted.inputs(made, {"name": "candidates"}))
    assert "base/pool" in read
    assert "map-d" not in read


def test_the_study_of_the_authors_table_needs_that_table_alone() -> None:
    table = "configs/data/sandbox-rewards.csv"  # some file: only its place is checked here
    made = load(ROOT / "configs/published.yaml", {"rewards": str(ROOT / table)})
    assert made.model is None
    assert made.all_policies == {}
    assert made.prompts.test_share == 0
    stages_of = Counter(stage for stage, _ in jobs(made))
    assert stages_of["solve"] == len(made.palettes) == 13
    assert {stages.STAGES[stage].environment for stage in stages_of} == {"light"}
