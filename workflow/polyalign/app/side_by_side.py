"""The tab that answers a prompt twice: by the base model, and by an alignment of the study.

Texts of models and people are shown in text fields and in cells of plain text, never as markup.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import SystemRandom
from typing import Any

import gradio as gr
import pandas as pd
from gradio.context import Context

from polyalign.answer.answers import Answer
from polyalign.answer.templates import Turn, has_turns
from polyalign.answer.waiting import BusyError, Coming, Waiting
from polyalign.answer.ways import Asked
from polyalign.app.asking import Question, conditions, name_of, requests
from polyalign.app.bars import CSS, bars, read_reference
from polyalign.app.controls import Controls
from polyalign.data.votes import Choice, Vote, append_vote
from polyalign.errors import InputError
from polyalign.study import Study

NAMES = ("Original", "Aligned")
BLIND = ("First answer", "Second answer")
REFRESH = 0.1
"""Seconds between two looks at answers that grow."""

TO_ANSWERS = """() => {
  const state = document.getElementById("status");
  if (state.getBoundingClientRect().top > window.innerHeight / 2) state.scrollIntoView();
}"""
"""On a phone the answers are below the controls."""


@dataclass
class Entry:
    """One question with its two answers, the original one first.

    Attributes:
        question: what was asked.
        asked: the two requests.
        answers: their answers.
        swapped: whether the aligned one is shown first.
    """

    question: Question
    asked: list[Asked]
    answers: list[Answer]
    swapped: bool = False

    @property
    def texts(self) -> list[str]:
        """The two texts."""
        return [answer.texts[0].response for answer in self.answers]


@dataclass
class Session:
    """What the server keeps of one open page.

    Attributes:
        entries: what was answered and may be shown, in order.
        turns: the conversation that goes on: of the original model, and of the aligned one.
        open_vote: what is shown blind and waits for a vote.
    """

    entries: list[Entry] = field(default_factory=list)
    turns: tuple[list[Turn], list[Turn]] = field(default_factory=lambda: ([], []))
    open_vote: Entry | None = None


def tab(study: Study, waiting: Waiting, votes: Path) -> None:
    """Make the components of the tab in the current Blocks.

    Args:
        study: the study.
        waiting: answers the requests.
        votes: the file that votes are added to.
    """
    SideBySide(study, waiting, votes).fill()


class SideBySide:
    """The components of the tab, and what their events do; arguments as for `tab`."""

    def __init__(self, study: Study, waiting: Waiting, votes: Path) -> None:
        self.study, self.waiting, self.votes = study, waiting, votes
        self.reference = read_reference(study)
        self.labels = study.labels
        self._running: dict[str, list[Coming]] = {}

    def fill(self) -> None:
        """Make the components and wire them."""
        self.session = gr.State(Session())
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.controls = Controls(self.study)
            with gr.Column(scale=5, min_width=300):
                self._make_answers()
        self._wire()

    def _make_answers(self) -> None:
        self.status = gr.Textbox(
            "Write a prompt, then press Answer.", label="State", lines=1, max_lines=3,
            interactive=False, elem_id="status",
        )  # fmt: skip
        with gr.Row():
            self.texts = [
                # A copy button within the label would take the label from the text.
                gr.Textbox(
                    label=name,
                    lines=7,
                    max_lines=7,
                    interactive=False,
                    buttons=[],
                    elem_id=f"answer-{number}",
                    min_width=260,
                )
                for number, name in enumerate(NAMES)
            ]
        with gr.Row(visible=False) as self.ballot:
            self.vote_buttons = {
                choice: gr.Button(text, elem_id=f"vote-{choice}", min_width=100, interactive=False)
                for choice, text in (
                    ("first", "The first is better"),
                    ("tie", "Neither is better"),
                    ("second", "The second is better"),
                )
            }
        self.bars = gr.HTML(
            elem_id="rewards", css_template=CSS, js_on_load=None, apply_default_css=False
        )
        with gr.Accordion("Candidates of the aligned answer, and how likely each was", open=False):
            self.candidates = gr.Dataframe(
                interactive=False, wrap=True, max_height=300, elem_id="candidates",
                label="Candidates (the menu ⋮ of a column sorts)", buttons=[],
            )  # fmt: skip
        with gr.Accordion("History", open=False):
            self.history = gr.Dataframe(
                interactive=False, wrap=True, max_height=300, elem_id="history", datatype="str",
                label="Questions of this page", buttons=[],
            )  # fmt: skip

    def _wire(self) -> None:
        outputs: list[Any] = [
            *self.texts, *self.vote_buttons.values(), self.status, self.bars,
            self.candidates, self.history, self.session,
        ]  # fmt: skip
        controls = self.controls
        gr.on(
            [controls.answer.click, controls.prompt.submit],
            self.answer,
            {*controls.all, self.session},
            outputs,
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )
        controls.answer.click(None, js=TO_ANSWERS)
        controls.stop.click(self.stop, None, None, queue=False, api_visibility="private")
        controls.blind.change(
            lambda blind: gr.update(visible=blind), controls.blind, self.ballot,
            queue=False, api_visibility="private",
        )  # fmt: skip
        for choice, button in self.vote_buttons.items():
            button.click(
                self._voter(choice),  # type: ignore[arg-type]
                self.session,
                outputs,
                show_progress="hidden",
                api_visibility="private",
            )
        page = Context.root_block
        assert page is not None, "the tab is made inside a page"
        page.unload(self.stop)

    def stop(self, request: gr.Request) -> None:
        """Nobody of this page waits for answers any more."""
        for coming in self._running.pop(str(request.session_hash), []):
            coming.leave()

    async def answer(self, given: dict[Any, Any], request: gr.Request) -> AsyncIterator[Any]:
        """Answer a prompt twice; what is shown of it grows."""
        session: Session = given[self.session]
        session.open_vote = None
        blind = given[self.controls.blind]
        names = BLIND if blind else NAMES
        shown: dict[Any, Any] = {
            **{
                text: gr.update(value="", label=name)
                for text, name in zip(self.texts, names, strict=True)
            },
            **{button: gr.update(interactive=False) for button in self.vote_buttons.values()},
            self.bars: "",
            self.candidates: None,
            self.session: session,
        }
        try:
            question = self.controls.read(given)
            # People vote on answers to the same prompt: blind, there are no earlier turns.
            goes_on = given[self.controls.goes_on] and not blind
            if not (goes_on and has_turns(question.template, self.study.prompts.template)):
                session.turns = ([], [])
            tokenizer = self.waiting.answerer.tokenizer
            asked = requests(self.study, question, tokenizer, session.turns)
            yield {**shown, self.status: "Answering …"}
            async for update in self._answered(question, asked, session, blind, request):
                yield update
        except (InputError, BusyError) as fault:
            yield {**shown, self.status: f"Not answered: {fault}"}

    async def _answered(
        self,
        question: Question,
        asked: list[Asked],
        session: Session,
        blind: bool,
        request: gr.Request,
    ) -> AsyncIterator[dict[Any, Any]]:
        """What changes on the page while requests are answered, and at the end."""
        texts = ["", ""]

        def grown(side: int) -> Any:
            return lambda place, text: texts.__setitem__(side, text)

        key = str(request.session_hash)
        coming = [self.waiting.submit(one, grown(side)) for side, one in enumerate(asked)]
        self._running.setdefault(key, []).extend(coming)
        try:
            before = ["", ""]
            while not all(one.done() for one in coming):
                await asyncio.sleep(REFRESH)
                # One that grows is drawn and one that comes at once is chosen: both are hidden.
                if not blind and texts != before:
                    before = list(texts)
                    yield dict(zip(self.texts, before, strict=True))
            if any(one.gone for one in coming):
                yield {self.status: "Stopped. Only whole answers have rewards and can be voted on."}
                return
            entry = Entry(question, asked, [one.result() for one in coming])
        finally:
            for one in coming:
                one.leave()
            mine = [one for one in self._running.pop(key, []) if one not in coming]
            if mine:
                self._running[key] = mine
        if blind:
            entry.swapped = SystemRandom().random() < 0.5
            session.open_vote = entry
            yield self._blind(entry, session)
        else:
            yield self._open(entry, session)

    def _blind(self, entry: Entry, session: Session) -> dict[Any, Any]:
        """The two answers in random order, and nothing that tells which is which."""
        shown = entry.texts[::-1] if entry.swapped else entry.texts
        return {
            **dict(zip(self.texts, shown, strict=True)),
            **{button: gr.update(interactive=True) for button in self.vote_buttons.values()},
            self.status: "Which answer is better? One of them is the original model's.",
            self.session: session,
        }

    def _open(self, entry: Entry, session: Session, said: str = "Answered") -> dict[Any, Any]:
        """The two answers with all that is known of them, in the order in which they are shown."""
        session.open_vote = None
        session.entries.append(entry)
        for turns, text in zip(session.turns, entry.texts, strict=True):
            turns.append(Turn(entry.question.prompt, text))
        order = slice(None, None, -1) if entry.swapped else slice(None)
        names = [f"{name}: {name_of(one)}" for name, one in zip(NAMES, entry.asked, strict=True)][
            order
        ]
        rewards = [answer.texts[0].rewards for answer in entry.answers][order]
        return {
            **{
                box: gr.update(value=text, label=name)
                for box, text, name in zip(self.texts, entry.texts[order], names, strict=True)
            },
            **{button: gr.update(interactive=False) for button in self.vote_buttons.values()},
            self.bars: bars(rewards, names, self.labels, self.reference),
            self.candidates: self._candidates(entry.answers[1]),
            self.history: self._history(session),
            self.status: self._said(entry, said),
            self.session: session,
        }

    def _said(self, entry: Entry, said: str) -> str:
        parts = [f"{said} with seed {entry.question.seed}."]
        if differs := conditions(self.study, entry.question):
            parts.append(f"Not as in the study ({differs}): its λ and levels do not hold here.")
        if entry.question.beams > 1:
            parts.append("A beam search finds a likely text; it is no draw from the models.")
        if any(answer.texts[0].truncated for answer in entry.answers):
            parts.append("The length limit cut an answer.")
        return " ".join(parts)

    def _candidates(self, answer: Answer) -> Any:
        """The candidates, the likeliest first; the one that was drawn is marked."""
        drawn = {id(text) for text in answer.texts}
        rows = [
            [
                round(chance, 4),
                "drawn" if id(text) in drawn else "",
                text.response,
                *(round(text.rewards[value], 3) for value in self.labels),
            ]
            for chance, text in zip(answer.probabilities, answer.candidates, strict=True)
        ]
        names = ["chance", "drawn", "candidate", *self.labels.values()]
        frame = pd.DataFrame(rows, columns=names)
        kinds = ["number", "str", "str", *["number"] * len(self.labels)]
        frame = frame.sort_values("chance", ascending=False, kind="stable")
        widths = [88, 72, 330, *[96] * len(self.labels)]
        return gr.update(value=frame, datatype=kinds, column_widths=widths)

    def _history(self, session: Session) -> pd.DataFrame:
        """What was asked and answered, the newest first."""
        rows = [
            [str(number), entry.question.prompt, entry.texts[0], name_of(entry.asked[1]),
             entry.texts[1]]
            for number, entry in enumerate(session.entries, 1)
        ]  # fmt: skip
        names = ["number", "prompt", "original answer", "aligned by", "aligned answer"]
        return pd.DataFrame(rows[::-1], columns=names)

    def _voter(self, choice: Choice) -> Any:
        def vote(session: Session) -> dict[Any, Any]:
            entry = session.open_vote
            if entry is None:
                return {self.status: "There is nothing to vote on. Press Answer first."}
            try:
                append_vote(self.votes, self._vote(entry, choice))
            except OSError as fault:
                return {self.status: f"The vote is not kept: {fault}"}
            return self._open(entry, session, "Your vote is kept. Answered")

        return vote

    def _vote(self, entry: Entry, choice: Choice) -> Vote:
        order = slice(None, None, -1) if entry.swapped else slice(None)
        (first, second), (one, other) = entry.asked[order], entry.texts[order]
        return Vote(
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            prompt=entry.asked[0].prompt,
            first_policy=name_of(first),
            first_response=one,
            second_policy=name_of(second),
            second_response=other,
            vote=choice,
            conditions=conditions(self.study, entry.question),
            seed=entry.question.seed,
        )
