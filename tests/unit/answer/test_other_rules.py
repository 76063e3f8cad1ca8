"""Answers by another rule or text than the study's, by beams, and answers that nobody waits for."""

import itertools
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from polyalign.answer.answers import Answerer
from polyalign.answer.ways import Way, ask, way_of_policy
from polyalign.settings import SamplingRule
from polyalign.study import Study

BASE = Way("base/base", "sample")
RULE = SamplingRule(temperature=0.4, top_k=3, top_p=0.9, max_new_tokens=4)


def test_another_rule_is_that_of_a_study_with_it(answerer: Answerer, study: Study) -> None:
    other = Answerer(
        study.model_copy(update={"sampling": study.sampling.model_copy(update=RULE.model_dump())})
    )
    for way in (BASE, way_of_policy(study, "map-d/own"), way_of_policy(study, "token-d/guided")):
        asked = ask(study, "b c", way, seed=3, samples=8)
        (expected,) = other.answer([asked])
        # Beside a request by the study's rule, which keeps it.
        ours, theirs = answerer.answer([replace(asked, rule=RULE), asked])
        assert ours.texts == expected.texts
        assert ours.probabilities == expected.probabilities
        assert theirs.texts == answerer.answer([asked])[0].texts
        assert ours.texts != theirs.texts


def test_a_text_is_read_instead_of_the_template(answerer: Answerer, study: Study) -> None:
    asked = ask(study, "b c", BASE, seed=3, samples=8)
    plain, same, other = answerer.answer(
        [asked, replace(asked, text="b c :"), replace(asked, text="a a a")]
    )
    assert plain.texts == same.texts != other.texts
    assert other.prompt_tokens == 3


def test_beams_are_those_of_the_model_alone(answerer: Answerer, study: Study, here: Path) -> None:
    """With a beam for every continuation the search finds the likeliest of all texts."""
    model = AutoModelForCausalLM.from_pretrained("results/tiny/models/base/base")
    rule = SamplingRule(max_new_tokens=2)
    prompts = ["b c", "a", "d d d e"]
    found = answerer.answer(
        [replace(ask(study, one, BASE, seed=1), rule=rule, beams=90) for one in prompts]
    )
    for prompt, answer in zip(prompts, found, strict=True):
        ids = answerer.check(ask(study, prompt, BASE, seed=1))
        size = model.config.vocab_size
        pairs = torch.tensor(list(itertools.product(range(1, size), range(1, size))))
        texts = torch.cat([torch.tensor([ids]).expand(len(pairs), -1), pairs], dim=1)
        with torch.no_grad():
            logs = model(texts).logits.log_softmax(-1)
        start = len(ids) - 1
        sums = logs[:, start].gather(1, pairs[:, :1]) + logs[:, start + 1].gather(1, pairs[:, 1:])
        best = answerer.tokenizer.decode(pairs[sums.argmax()].tolist())
        ended = logs[0, start, 0]
        assert ended < sums.max() / 2, "no end token is likelier, by the search's own length rule"
        assert answer.texts[0].response == best
    (again,) = answerer.answer([ask(study, "b c", BASE, seed=1)])
    assert again.texts == answerer.answer([ask(study, "b c", BASE, seed=1)])[0].texts


def test_what_nobody_waits_for_is_not_drawn_to_its_end(answerer: Answerer, study: Study) -> None:
    steps: dict[int, int] = {0: 0, 1: 0}

    def told(request: int, place: int, text: str) -> None:
        steps[request] += 1

    leaves = ask(study, "b c", BASE, seed=3, samples=2)
    stays = ask(study, "b c", BASE, seed=4, samples=8)
    gone, here = answerer.answer(
        [leaves, stays], told, lambda request: request == 0 and steps[0] > 1
    )
    assert gone.texts == []
    assert steps[0] == 3, "the second ends after its first token, the first after its second"
    assert here.texts == answerer.answer([stays])[0].texts
    (nothing,) = answerer.answer(
        [ask(study, "b", way_of_policy(study, "map-d/own"), seed=1)], None, lambda _: True
    )
    assert (nothing.texts, nothing.candidates, nothing.probabilities) == ([], [], [])
