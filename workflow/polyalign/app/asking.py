"""What a person asks in the side by side tab, as requests to the base model and to an alignment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from polyalign.answer.templates import STUDY, Turn, write
from polyalign.answer.ways import (
    LAM,
    LEARNT,
    Asked,
    Way,
    ask,
    way_of_lam,
    way_of_palette,
    way_of_policy,
)
from polyalign.errors import InputError
from polyalign.families import BASE
from polyalign.settings import SamplingRule
from polyalign.study import Study

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SLIDERS = (LAM, LEARNT)
"""What stands for λ of the sliders among what an answer can be aligned by: choose, or steer."""

MOST_CANDIDATES = 256
MOST_BEAMS = 16


@dataclass(frozen=True)
class Question:
    """What a person asks.

    Attributes:
        prompt: the prompt.
        aligned: a policy or palette of the study, or one of `SLIDERS`.
        lam: value → λ, for `SLIDERS`.
        candidates: K; used where something is chosen among candidates.
        rule: how the models sample.
        seed: of both answers.
        beams: of a beam search; 1 draws.
        template: see `polyalign.answer.templates.write`, as for the next two.
        given: Alpaca's input.
        system: the system prompt.
    """

    prompt: str
    aligned: str
    candidates: int
    rule: SamplingRule
    seed: int
    lam: Mapping[str, float] = field(default_factory=dict)
    beams: int = 1
    template: str = STUDY
    given: str = ""
    system: str = ""


def way_of(study: Study, question: Question) -> Way:
    """How the aligned answer is made.

    Raises:
        InputError: as `polyalign.answer.ways` has it.
    """
    if question.aligned in SLIDERS:
        return way_of_lam(study, question.lam, question.aligned)
    if question.aligned in study.palettes:
        return way_of_palette(study, question.aligned)
    return way_of_policy(study, question.aligned)


def requests(
    study: Study,
    question: Question,
    tokenizer: "PreTrainedTokenizerBase",
    earlier: Sequence[Sequence[Turn]],
) -> list[Asked]:
    """The requests for the original answer and for the aligned one.

    Args:
        study: the study.
        question: what is asked.
        tokenizer: the base model's.
        earlier: the earlier turns of the original conversation, and of the aligned one.

    Raises:
        InputError: if something is empty, unknown, out of its bounds or has no place.
    """
    if not question.prompt.strip():
        raise InputError("the prompt is empty; expected a text; write one")
    if not 1 <= question.beams <= MOST_BEAMS:
        raise InputError(f"beams is {question.beams}; expected 1 (draw) to {MOST_BEAMS}; change it")
    aligned = way_of(study, question)
    if question.beams > 1 and aligned.kind != "sample":
        raise InputError(
            f"{aligned.name} needs draws of the base model, and a beam search makes none; expected "
            "a trained policy with beams; set beams to 1"
        )
    made = []
    for way, turns in zip((way_of_policy(study, BASE.name), aligned), earlier, strict=True):
        written = write(
            question.template, study.prompts.template, question.prompt, tokenizer,
            system=question.system or study.prompts.system, given=question.given, earlier=turns,
        )  # fmt: skip
        candidates = question.candidates if way.chooses else None
        asked = ask(
            study, written.prompt, way,
            seed=question.seed, candidates=candidates, most=MOST_CANDIDATES,
        )  # fmt: skip
        made.append(replace(asked, text=written.text, rule=question.rule, beams=question.beams))
    return made


def study_rule(study: Study) -> SamplingRule:
    """The study's sampling rule, without what else its section holds."""
    return SamplingRule(**study.sampling.model_dump(include={*SamplingRule.model_fields}))


def conditions(study: Study, question: Question) -> str:
    """In what a question differs from the study's, in words; empty if in nothing."""
    found = []
    own = study_rule(study)
    for name in SamplingRule.model_fields:
        if getattr(question.rule, name) != getattr(own, name):
            found.append(f"{name} {getattr(question.rule, name):g}")
    if question.beams > 1:
        found.append(f"beams {question.beams}")
    if question.candidates != study.sampling.candidates and way_of(study, question).chooses:
        found.append(f"candidates {question.candidates}")
    if question.template != STUDY:
        found.append(f"template {question.template}")
    if question.system:
        found.append(f"system {question.system!r}")
    return ", ".join(found)


def name_of(asked: Asked) -> str:
    """The policy of a request, with λ if it is given directly."""
    if asked.way.name not in SLIDERS:
        return asked.way.name
    return f"{asked.way.name}:" + ",".join(
        f"{value}={weight:g}" for value, weight in asked.way.lam.items()
    )
