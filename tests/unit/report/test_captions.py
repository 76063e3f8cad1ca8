"""The texts of the report, rendered as Snakemake renders them."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined

FOLDER = Path(__file__).parents[3] / "workflow/report"
TABLES = ("families", "levels", "mixing", "quantiles", "realised_quantiles", "summary", "winrates")


def rendered(name: str, **snakemake: Any) -> str:
    """The words of a caption, with its `<li>`; a fault of its reStructuredText is an error."""
    text = (FOLDER / f"{name}.rst").read_text(encoding="utf-8")
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False
    )
    text = environment.from_string(text).render(snakemake=SimpleNamespace(**snakemake))
    parts = publish_parts(text, writer="html", settings_overrides={"halt_level": 2})
    plain = re.sub(r"<(?!li\b)[^>]+>", "", parts["body"])
    return " ".join(plain.split())


def test_the_front_page_tells_what_this_study_has() -> None:
    config: dict[str, Any] = {
        "study": "mine",
        "policies": {"map-d": {}, "ppo": {}, "new": {}},
        "plots": ["radar", "level_scatter"],
        "evaluation": {"opponent": "dpo/x"},
    }
    text = rendered("workflow", config=config)
    assert "map-d chooses among answers of the base model" in text
    assert "ppo trains by reinforcement learning with a critic" in text
    assert "<li>new" in text
    assert "Win rates compare with dpo/x." in text
    assert "radar shows what changed in the other values" in text
    for absent in ("asked_vs_realised", "palette_path", "soup", "rloo", "nothing was generated"):
        assert absent not in text
    assert text.count("<li>") == 3 + 3


def test_the_front_page_of_a_study_from_scores() -> None:
    scores = rendered("workflow", config={"study": "s", "rewards": "s.csv", "plots": []})
    assert "nothing was generated or trained" in scores
    assert "Win rates compare with the base model." in scores
    assert "Figures" not in scores
    assert "by family" not in scores
    assert scores.count("<li>") == 2
    usual = rendered("workflow", config={"study": "s", "plots": ["asked_vs_realised"]})
    assert "asked_vs_realised" in usual


@pytest.mark.parametrize("name", [*TABLES, "overview"])
def test_captions_say_how_much_was_measured(name: str, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("345 test prompts", encoding="utf-8")
    params = SimpleNamespace(prompts=prompts, opponent="dpo/x", slack="0.03")
    text = rendered(name, params=params, config={"study": "mine"})
    assert "345 test prompts" in text
    assert ("dpo/x" in text) == (name in ("families", "summary", "winrates", "overview"))
    assert ("slack of 0.03" in text) == (name == "families")
    assert ("results/mine/tables" in text) == (name != "overview")
