"""What families, kinds of reward and figures say of themselves."""

from typing import Any

import pytest
from pydantic import Field

from polyalign import families, plots, rewards
from polyalign.settings import Strict
from polyalign.study import docstrings
from polyalign.study.docstrings import references

LORA = {"rank": 8}


class Inner(Strict):
    """Something within.

    Reference: B: Second. 2021.
    """

    rank: int = Field(default=1, description="A number.")


class Section(Strict):
    """Do this, as
    that. It is good.

    More of it.

    Reference: A: First
    work. 2020.
    Reference, with kind other: C: Third. 2022.
    """

    kind: str = Field(default="usual", description="A kind.")
    inner: Inner | None = Field(default=None, description="A section.")
    many: list[str] = Field(default=[], description="A list.")
    weights: dict[str, Any] = Field(default={}, description="Weights.")


class Bare(Strict):
    """Nothing to cite."""


def test_a_docstring_has_a_sentence_a_paragraph_and_references() -> None:
    assert docstrings.first_paragraph(Section) == "Do this, as that. It is good."
    assert docstrings.first_sentence(docstrings.prose(Section)) == "Do this, as that"
    assert docstrings.prose(Section).endswith("More of it.")
    assert docstrings.reference_lines(Section) == [
        "Reference: A: First work. 2020.",
        "Reference, with kind other: C: Third. 2022.",
    ]
    assert docstrings.first_sentence("Is it? Yes.") == "Is it?"
    assert docstrings.first_sentence("λ is 0.5 here. Yes.") == "λ is 0.5 here"


def test_a_section_cites_what_it_uses() -> None:
    assert references(Bare()) == []
    assert references(Section()) == ["A: First work. 2020."]
    assert references(Section(kind="other")) == ["C: Third. 2022."]
    assert references(Section(inner=Inner())) == ["A: First work. 2020.", "B: Second. 2021."]


def test_settings_are_listed_as_far_as_they_are_given() -> None:
    section = Section(inner=Inner(rank=2), many=["a", "b c"], weights={"x": {"y": 0.25}, "z": True})
    kept = docstrings.given(section, frozenset({"kind"}))
    assert docstrings.listed(kept) == (
        "inner (rank: 2); many = a and 'b c'; weights (x (y: 0.25), z: yes)"
    )
    assert docstrings.listed(docstrings.given(Section(), frozenset({"kind"}))) == ""


@pytest.mark.parametrize(("family", "given", "cited"), [
    ("rloo", {}, ["2402.14740"]),
    ("rloo", {"algorithm": "grpo"}, ["2402.03300"]),
    ("ppo", {"lora": LORA}, ["1707.06347", "2106.09685"]),
])  # fmt: skip
def test_a_family_cites_what_its_section_uses(
    family: str, given: dict[str, Any], cited: list[str]
) -> None:
    section = families.family(family).settings.model_validate({"palettes": ["p"], **given})
    found = references(section)
    assert len(found) == len(cited)
    assert all(number in work for number, work in zip(cited, found, strict=True))


@pytest.mark.parametrize("name", families.NAMES)
def test_every_family_has_a_sentence_and_a_reference(name: str) -> None:
    section = families.family(name).settings
    assert docstrings.first_sentence(docstrings.prose(section))
    assert docstrings.first_paragraph(section).endswith(".")
    assert docstrings.reference_lines(section)[0].startswith("Reference: ")


@pytest.mark.parametrize("kind", rewards.KINDS)
def test_every_kind_of_reward_has_a_sentence(kind: str) -> None:
    assert docstrings.first_paragraph(rewards.module(kind).Spec).endswith(".")


@pytest.mark.parametrize("figure", plots.names())
def test_every_figure_has_a_sentence(figure: str) -> None:
    assert docstrings.first_sentence(plots.module(figure).__doc__ or "")
