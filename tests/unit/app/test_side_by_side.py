"""The side by side tab in a real browser: texts stay texts, votes are blind, nothing is fetched."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answerdata import make_study

pytest.importorskip("gradio", reason="needs the dependency group `app`")

from browser import faults, needs_browser
from selenium.webdriver.common.by import By
from sidepage import Page, browsed, page_of

from polyalign.answer.answers import Answerer
from polyalign.answer.ways import (
    LEARNT,
    ask,
    enter_study,
    way_of_lam,
    way_of_palette,
    way_of_policy,
)
from polyalign.data.votes import read_votes

pytestmark = needs_browser
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'> **bold** $x^2$ "
    "${window.hacked = 1} {{value}} [a](javascript:alert(1)) http://example.com/a.png"
)


class Masked:
    """The answers of a study, with hostile texts, as slowly as is asked.

    Args:
        answerer: answers.
    """

    def __init__(self, answerer: Answerer) -> None:
        self.answerer, self.at_once, self.tokenizer = answerer, 8, answerer.tokenizer
        self.hostile, self.wait, self.ended = False, 0.0, 0

    def answer(self, asked: Any, told: Any, gone: Any) -> Any:
        def slowly(request: int, place: int, text: str) -> None:
            time.sleep(self.wait)
            told(request, place, f"{HOSTILE}{text}" if self.hostile else text)

        found = self.answerer.answer(asked, slowly if told else None, gone)
        self.ended += 1
        if not self.hostile:
            return found
        return [
            replace(
                answer,
                texts=[replace(text, response=HOSTILE) for text in answer.texts],
                candidates=[replace(text, response=HOSTILE) for text in answer.candidates],
            )
            for answer in found
        ]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder, before = tmp_path_factory.mktemp("side"), Path.cwd()
    make_study(folder, "side_reward")
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def masked(root: Path) -> Masked:
    return Masked(Answerer(enter_study("results/tiny")))


@pytest.fixture(scope="module")
def page(root: Path, masked: Masked) -> Iterator[Page]:
    study = masked.answerer.study
    with (
        page_of(study, masked, root / "votes.jsonl") as address,
        browsed(address, root / "profile") as made,
    ):
        yield made
        # What all tests of this page did.
        assert faults(made.driver) == []
        assert made.fetched()
        assert all(one.startswith(address) for one in made.fetched() if one[:5] != "data:")


@pytest.fixture(autouse=True)
def restored(masked: Masked) -> Iterator[None]:
    yield
    masked.hostile, masked.wait = False, 0.0


@pytest.fixture(scope="module", autouse=True)
def seeded(page: Page) -> None:
    page.open("Sampling")
    page.write("seed", "11")


def test_both_answers_are_the_librarys(page: Page, masked: Masked) -> None:
    page.ask("b c")
    study = masked.answerer.study
    ways = (way_of_policy(study, "base/base"), way_of_palette(study, "open"))
    base, aligned = masked.answerer.answer([ask(study, "b c", way, seed=11) for way in ways])
    assert page.value("answer-0") == base.texts[0].response
    assert page.value("answer-1") == aligned.texts[0].response
    shown = page.text("rewards")
    for answer in (base, aligned):
        for reward in answer.texts[0].rewards.values():
            assert f"{reward:.4g}" in shown
    assert "Original: base/base" in shown
    assert "Aligned: map-d/open" in shown
    page.open("Candidates")
    likeliest = f"{round(max(aligned.probabilities), 4):g}"
    page.until(lambda: likeliest in page.text("candidates"))
    chances = re.findall(r"(?<![\d.])0\.\d+", page.text("candidates"))
    assert chances[0] == likeliest
    menu = page.driver.find_elements(By.CSS_SELECTOR, "#candidates th .cell-menu-button")[0]
    page.driver.execute_script("arguments[0].click()", menu)
    page.press_text("Sort ascending")
    least = f"{round(min(aligned.probabilities), 4):g}"
    found = lambda: re.findall(r"(?<![\d.])0\.\d+", page.text("candidates"))  # noqa: E731
    page.until(lambda: found()[0] == least)
    page.open("Candidates")


def test_a_trained_policy_and_lam_of_the_sliders(page: Page, masked: Masked) -> None:
    study = masked.answerer.study
    page.pick("aligned", "rloo/open")
    page.ask("b c")
    (answer,) = masked.answerer.answer(
        [ask(study, "b c", way_of_policy(study, "rloo/open"), seed=11)]
    )
    assert page.value("answer-1") == answer.texts[0].response
    page.pick("aligned", "λ of the sliders")
    page.until(lambda: page.field("lam-vowels").is_displayed())
    # The sliders begin where the palette was.
    assert float(page.value("lam-vowels")) == pytest.approx(0.8)
    page.write("lam-vowels", "1.5")
    page.ask("b c")
    assert "Aligned: lam:vowels=1.5,diversity=2" in page.text("rewards")
    page.pick("aligned", "steer with the value model")
    page.until(lambda: not page.shown("candidates-k"))
    page.ask("b c")
    assert "Aligned: value-d:vowels=1.5,diversity=2" in page.text("rewards")
    way = way_of_lam(study, {"vowels": 1.5, "diversity": 2.0}, by=LEARNT)
    (answer,) = masked.answerer.answer([ask(study, "b c", way, seed=11)])
    assert page.value("answer-1") == answer.texts[0].response
    page.pick("aligned", "palette open")


def test_what_cannot_be_answered_is_said(page: Page) -> None:
    page.write("prompt", " ")
    page.press("ask")
    page.until(lambda: page.value("status").startswith("Not answered: the prompt is empty"))
    page.write("prompt", "a " * 100)
    page.press("ask")
    page.until(lambda: "expected at most 18" in page.value("status"))
    page.ask("b")
    assert page.value("status").startswith("Answered with seed 11.")


def test_texts_are_never_markup(page: Page, masked: Masked) -> None:
    masked.hostile = True
    page.ask(HOSTILE)
    assert page.value("status").startswith("Answered")
    assert page.value("answer-0") == page.value("answer-1") == HOSTILE
    page.open("Candidates")
    page.open("History")
    page.until(lambda: HOSTILE[:30] in page.text("candidates"))
    page.until(lambda: HOSTILE[:30] in page.text("history"))
    for name in ("candidates", "history"):
        assert HOSTILE in re.sub(r"\s+", " ", page.text(name))
        box = page.driver.find_element(By.ID, name)
        assert box.find_elements(By.CSS_SELECTOR, "tbody a, tbody script, tbody strong") == []
        assert box.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert page.driver.execute_script("return window.hacked") is None
    page.open("Candidates")
    page.open("History")


def test_answers_grow_and_stop(page: Page, masked: Masked) -> None:
    page.pick("aligned", "rloo/open")
    masked.wait, before = 1.0, masked.ended
    page.write("prompt", "b c")
    page.press("ask")
    page.until(lambda: page.value("status") == "Answering …")
    grown = page.until(lambda: page.value("answer-0"))
    page.press("stop")
    page.until(lambda: page.value("status").startswith("Stopped."))
    page.until(lambda: masked.ended == before + 1)
    assert page.value("answer-0").startswith(grown)
    assert len(page.value("answer-0").split()) < 6
    masked.wait = 0.0
    page.ask("b c")
    assert page.value("status").startswith("Answered")
    page.pick("aligned", "palette open")


def test_a_vote_is_blind_until_it_is_kept(page: Page, root: Path, masked: Masked) -> None:
    page.press("blind")
    page.until(lambda: page.driver.find_element(By.ID, "vote-first").is_displayed())
    orders = set()
    for number in range(12):
        page.write("seed", str(number))
        page.ask("b c")
        assert page.value("status").startswith("Which answer is better?")
        body = page.text("status") + page.driver.find_element(By.TAG_NAME, "body").text
        assert "Original: " not in body
        assert "Aligned: " not in body
        assert page.text("rewards").strip() == ""
        texts = (page.value("answer-0"), page.value("answer-1"))
        page.press("vote-second" if number else "vote-tie")
        page.until(lambda: page.value("status").startswith("Your vote is kept."))
        vote = read_votes(root / "votes.jsonl").iloc[-1]
        assert (vote["first_response"], vote["second_response"]) == texts
        assert vote["vote"] == ("second" if number else "tie")
        assert (vote["prompt"], vote["seed"], vote["conditions"]) == ("b c", number, "")
        study = masked.answerer.study
        for side in ("first", "second"):
            way = way_of_policy(study, vote[f"{side}_policy"])
            (answer,) = masked.answerer.answer([ask(study, "b c", way, seed=number)])
            assert vote[f"{side}_response"] == answer.texts[0].response
        orders.add(vote["first_policy"])
        if len(orders) == 2 and number > 1:
            break
    assert orders == {"base/base", "map-d/open"}
    # One vote for each question.
    page.press("vote-first")
    time.sleep(1)
    assert len(read_votes(root / "votes.jsonl")) == number + 1
    page.press("blind")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_as_wide_as_the_window(page: Page, width: int) -> None:
    page.size(width, 720)
    page.ask("b")
    script = "return document.documentElement.scrollWidth"
    assert page.until(lambda: page.driver.execute_script(script) <= width)
    page.size(1280, 900)


def test_every_field_has_a_name(page: Page) -> None:
    """What a screen reader calls each field that a person can use."""
    script = """return [...document.querySelectorAll('textarea, input, select, button')]
      .filter(one => one.offsetParent !== null)
      .filter(one => !(one.labels && one.labels.length && one.labels[0].innerText.trim())
        && !one.getAttribute('aria-label') && !one.getAttribute('title')
        && !one.innerText.trim())
      .map(one => one.outerHTML.slice(0, 200))"""
    assert page.driver.execute_script(script) == []


@pytest.mark.parametrize("dark", [True, False])
def test_every_text_can_be_read(page: Page, dark: bool) -> None:
    """Contrast of each text to what is behind it: at least 4.5, as WCAG 2 asks."""
    page.ask("b c")
    page.open("Candidates")
    page.open("History")
    page.until(lambda: "b c" in page.text("history"))
    page.size(1280, 900, dark=dark)
    try:
        # Colours change slowly.
        page.until(lambda: len(page.contrasts()) > 40 and min(page.contrasts().values()) >= 4.5)
    except AssertionError:
        pale = {text: one for text, one in page.contrasts().items() if one < 4.5}
        pytest.fail(f"pale texts: {pale}")
    finally:
        page.size(1280, 900)
        page.open("Candidates")
        page.open("History")
