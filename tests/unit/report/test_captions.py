"""The texts of the report, rendered as Snakemake renders them."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined

from polyalign.plan.shown import captions
from polyalign.report.registry import TABLES
from polyalign.study import load

FOLDER = Path(__file__).parents[3] / "workflow/report"


def rendered(name: str, **snakemake: Any) -> str:
    """The words of a caption, with its `<li>`; bad reStructuredText is an error."""
    text = (FOLDER / f"{name}.rst").read_text(encoding="utf-8")
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False
    )
    text = environment.from_string(text).render(snakemake=SimpleNamespace(**snakemake))
    parts = publish_parts(text, writer="html", settings_overrides={"halt_level": 2})
    plain = re.sub(r"<(?!li\b)[^>]+>", "", parts["body"])
    return " ".join(plain.split())


def test_the_front_page_says_what_this_study_has() -> None:
    page: dict[str, Any] = {
        "failed": [],
        "opponent": "dpo/x",
        "from_scores": False,
        "families": {"map-d": "Draws *candidates* of `base`", "new": "Is new"},
        "figures": {"radar": "A radar: all values", "asked": "Is it reached?"},
        "outcome": "Raised *levels*: 1 of `2` reached by a_b |c|.",
    }
    text = rendered("workflow", config={"study": "mine", "front_page": page})
    assert "<li>map-d: Draws *candidates* of base." in text
    assert "<li>new: Is new." in text
    assert "dpo/x" in text
    assert "<li>radar: A radar: all values." in text
    assert "<li>asked: Is it reached? " in text.replace("<li>", " <li>").replace("?", "? ")
    assert "nothing was generated" not in text
    assert text.count("<li>") == 2 + 3 + 2
    assert text.startswith("The outcome. Raised *levels*: 1 of `2` reached by a_b |c|. How to read")
    assert text.index("The question.") < text.index("The method.")
    assert "searches the names of files alone" in text
    assert "such as radar" in text


def test_the_front_page_of_a_study_from_scores() -> None:
    page: dict[str, Any] = {
        "failed": [],
        "opponent": "base/base",
        "from_scores": True,
        "families": {},
        "figures": {},
        "outcome": "",
    }
    scores = rendered("workflow", config={"study": "s", "front_page": page})
    assert "nothing was generated or trained" in scores
    assert "the base model." in scores
    assert "Figures" not in scores
    assert "by family" not in scores
    assert scores.count("<li>") == 2


def test_the_front_page_names_what_is_missing() -> None:
    page: dict[str, Any] = {
        "failed": [
            "The figure radar is missing; its log is a_b.log.",
            "The policy x/y is missing.",
        ],
        "opponent": "base/base",
        "from_scores": False,
        "families": {},
        "figures": {},
        "outcome": "",
    }
    text = rendered("workflow", config={"study": "s", "front_page": page})
    assert text.startswith("This report is not complete. <li>The figure radar is missing; its log")
    assert "<li>The policy x/y is missing." in text


@pytest.mark.parametrize("name", [*TABLES, "overview"])
def test_captions_say_how_much_was_measured(name: str, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("345 test prompts", encoding="utf-8")
    judge = TABLES["judge"].caption.replace("{opponent}", "the base model")
    params = SimpleNamespace(
        prompts=prompts,
        opponent="dpo/x",
        left_out="Left out: a/b_c `d` |e|.",
        captions=captions(load(FOLDER.parents[1] / "configs/scores-only.yaml"))
        | {"mixing": TABLES["mixing"].caption, "judge": judge.replace("{pairs}", "9")}
        | {"seeds": TABLES["seeds"].caption.replace("{opponent}", "the base model")},
    )
    text = rendered(name, params=params, config={"study": "mine"})
    assert ("345 test prompts" in text) == (name != "lambda")
    compares = name in ("families", "judge", "seeds", "summary", "winrates")
    assert ("the base model in all" in text or "against the base model" in text or "as good as the"
            in text) == compares  # fmt: skip
    assert ("dpo/x" in text) == (name == "overview")
    assert "{" not in text
    of_policies = name not in ("lambda", "quantiles")
    assert ("Left out: a/b_c `d` |e|." in text) == of_policies
    assert ("slack of 0" in text) == (name == "families")
    assert ("results/mine/tables" in text) == (name != "overview")
