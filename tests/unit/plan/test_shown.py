"""What the report says of the shipped sandbox study."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from polyalign import families
from polyalign.plan import shown
from polyalign.plan.jobs import job_graph_settings
from polyalign.report.registry import TABLES
from polyalign.study import Study, validate

CONFIG = Path(__file__).parents[3] / "config.yaml"


def sandbox(**policies: Any) -> Study:
    """The sandbox study, with these policies alone if any are given."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    return validate(config | ({"policies": policies} if policies else {}))


def test_the_front_page_names_every_family_and_every_figure_once() -> None:
    given = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["policies"]
    more: dict[str, Any] = {name: {"palettes": ["hhh-60"]} for name in ("sft", "token-d")}
    more["beam"] = {"beams": [4]}
    page = shown.front_page(sandbox(**more | given))
    assert sorted(page["families"]) == families.NAMES
    assert "reward_histograms" in page["figures"]
    assert all(page["families"].values())
    assert all(page["figures"].values())
    assert page["opponent"] == "base/base"
    assert page["from_scores"] is False


def test_method_settings_hold_sentences_settings_and_references() -> None:
    facts = shown.method_settings(sandbox())
    told = {family["name"]: family for family in facts["families"]}
    assert told["dpo"]["policies"] == 3
    assert "learning_rate = 0.00015" in told["dpo"]["settings"]
    assert "save_every" not in told["dpo"]["settings"]
    assert facts["values"]["humor"]["settings"].endswith("index = 1")
    assert "batch_size" not in facts["values"]["helpful"]["settings"]
    assert facts["values"]["diversity"]["settings"] == ""
    assert [model["name"] for model in facts["reward_models"]] == ["helpful", "harmless", "humor"]
    assert all(family["sentence"] for family in facts["families"])


@pytest.mark.parametrize(
    ("section", "cited", "not_cited"),
    [
        ({}, "2402.14740", "2402.03300"),
        ({"algorithm": "grpo"}, "2402.03300", "2402.14740"),
        ({"lora": {"rank": 4}}, "2106.09685", "2306.04488"),
    ],
)
def test_a_study_cites_what_it_uses(section: dict[str, Any], cited: str, not_cited: str) -> None:
    facts = shown.method_settings(sandbox(rloo={"palettes": ["hhh-60"], **section}))
    works = " ".join(facts["references"])
    assert cited in works
    assert not_cited not in works
    assert "2202.06417" in works  # of a kind of reward


def test_a_study_without_soups_or_seeds_has_no_table_of_them() -> None:
    assert shown.tables(sandbox()) == [name for name in TABLES if name not in ("judge", "seeds")]
    without = shown.tables(sandbox(rloo={"palettes": ["hhh-60"]}))
    assert without == [name for name in TABLES if name not in ("judge", "mixing", "seeds")]


def test_the_figure_of_the_jobs_is_drawn_again_where_their_numbers_change() -> None:
    study = sandbox()
    planned = job_graph_settings(study)
    made = [policy for policy in study.evaluated if policy.family not in ("map-d", "morl-d")]
    sampled = [policy for policy in made if policy.family != "best-of"]
    # The pool has two shards.
    assert planned["jobs"]["annotate"] == len(study.values) * (2 + len(sampled))
    assert planned["jobs"]["plot"] == len(study.plots)
    assert job_graph_settings(sandbox()) == planned
    given = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["policies"]
    assert job_graph_settings(sandbox(**given | {"map-d": {"palettes": ["hhh-60"]}})) != planned
