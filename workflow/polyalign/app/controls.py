"""The controls of the side by side tab: what is asked, and how it is answered."""

import secrets
from typing import Any

import gradio as gr

from polyalign.answer.templates import ALPACA, HH, PLAIN, STUDY
from polyalign.answer.ways import LAM, LEARNT, MOST_LAM, learns, offered
from polyalign.app.asking import MOST_BEAMS, MOST_CANDIDATES, SLIDERS, Question
from polyalign.families import BASE
from polyalign.settings import CHAT, SamplingRule
from polyalign.study import Study

TEMPLATES = [
    ("the study's", STUDY),
    ("plain: the prompt alone", PLAIN),
    ("HH: Human and Assistant", HH),
    ("Alpaca: instruction", ALPACA),
    ("the model's chat template", CHAT),
]

LONGEST_PROMPT = 20_000
"""Most characters of a text that is given; a model may take fewer tokens."""


class Controls:
    """Makes the controls in the current Blocks, and reads them.

    Args:
        study: the study, whose settings they begin with.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.ways = offered(study)
        self.values = [one for one in study.values if one not in study.evaluation.evaluate_only]
        self._make_question()
        self._make_sliders(study)
        with gr.Accordion("Sampling", open=False):
            self._make_sampling()
        with gr.Accordion("Template and conversation", open=False):
            self._make_template()
        self.all = [
            self.prompt, self.aligned, self.candidates, *self.sliders.values(), self.temperature,
            self.top_k, self.top_p, self.length, self.seed, self.beams, self.template, self.given,
            self.system, self.goes_on, self.blind,
        ]  # fmt: skip

    def _make_question(self) -> None:
        self.prompt = gr.Textbox(
            label="Prompt", lines=3, max_lines=6, max_length=LONGEST_PROMPT, elem_id="prompt",
            info="Shift and Enter answer it.",
        )  # fmt: skip
        with gr.Row():
            self.answer = gr.Button("Answer", variant="primary", elem_id="ask", min_width=90)
            self.stop = gr.Button("Stop", elem_id="stop", min_width=90)
        self.blind = gr.Checkbox(
            label="Blind: vote before you know whose answer is whose", elem_id="blind"
        )
        choices = [
            (f"palette {name}: choose" if name in self.study.palettes else f"policy {name}", name)
            for name in self.ways
            if name != BASE.name
        ]
        # Palettes first: they are what most people look for.
        choices.sort(key=lambda choice: choice[1] not in self.study.palettes)
        choices.append(("λ of the sliders: choose", LAM))
        if learns(self.study):
            choices.append(("λ of the sliders: steer with the value model", LEARNT))
        self.aligned = gr.Dropdown(
            choices, value=choices[0][1], label="Aligned by", elem_id="aligned", filterable=False,
            info="“choose” draws among K answers of the base model",
        )  # fmt: skip
        self.candidates = gr.Slider(
            1, MOST_CANDIDATES, value=self.study.sampling.candidates, step=1, buttons=[],
            label="K: candidates to choose among", elem_id="candidates-k",
        )  # fmt: skip

    def _make_sliders(self, study: Study) -> None:
        """λ of each value, as a palette has it; from 0 to twice the largest of the study."""
        found = {name: dict(way.lam) for name, way in self.ways.items() if way.lam}
        first = found.get(str(self.aligned.value), {})
        with gr.Column(visible=self.aligned.value in SLIDERS) as self.weights:
            self.sliders = {
                value: gr.Slider(
                    0,
                    min(MOST_LAM, max([1.0, *(2 * lam.get(value, 0) for lam in found.values())])),
                    value=first.get(value, 0.0),
                    buttons=[],
                    label=f"λ of {study.labels[value]}",
                    elem_id=f"lam-{value}",
                )
                for value in self.values
            }

        def changed(name: str) -> list[Any]:
            way = self.ways.get(name)
            chooses = name == LAM or (way is not None and way.chooses)
            # The sliders begin where the last palette was.
            lam = found.get(name)
            moved = [gr.update() if lam is None else lam.get(one, 0.0) for one in self.values]
            return [gr.update(visible=name in SLIDERS), gr.update(visible=chooses), *moved]

        self.aligned.change(
            changed, self.aligned, [self.weights, self.candidates, *self.sliders.values()],
            queue=False, show_progress="hidden", api_visibility="private",
        )  # fmt: skip

    def _make_sampling(self) -> None:
        rule = self.study.sampling
        self.temperature = gr.Number(
            rule.temperature, minimum=0.01, maximum=100, step=0.1, label="Temperature",
            elem_id="temperature",
        )  # fmt: skip
        self.top_k = gr.Number(
            rule.top_k, precision=0, minimum=0, label="Top-k (0: no limit)", elem_id="top-k"
        )
        self.top_p = gr.Number(
            rule.top_p, minimum=0.01, maximum=1, step=0.05, label="Top-p", elem_id="top-p"
        )
        self.length = gr.Number(
            rule.max_new_tokens, precision=0, minimum=1, label="Longest answer, in tokens",
            elem_id="length",
        )  # fmt: skip
        self.seed = gr.Number(
            None, precision=0, minimum=0, label="Seed (empty: a new one)", elem_id="seed"
        )
        self.beams = gr.Number(
            1, precision=0, minimum=1, maximum=MOST_BEAMS, label="Beams (1: draw)", elem_id="beams",
            info="More search for a likely text. It is no draw from the model: λ and levels do "
            "not hold for it.",
        )  # fmt: skip

    def _make_template(self) -> None:
        self.template = gr.Dropdown(
            TEMPLATES, value=STUDY, label="Template", elem_id="template", filterable=False
        )
        self.given = gr.Textbox(
            label="Input (Alpaca alone)", lines=2, max_length=LONGEST_PROMPT, elem_id="given",
            visible=False,
        )  # fmt: skip
        self.system = gr.Textbox(
            label="System prompt", lines=2, max_length=LONGEST_PROMPT, elem_id="system",
            info="Rewards do not read it.",
        )  # fmt: skip
        self.goes_on = gr.Checkbox(
            label="Go on with the conversation", elem_id="goes-on",
            info="In HH and chat templates, not blind. Each model reads its own earlier answers.",
        )  # fmt: skip
        self.template.change(
            lambda name: gr.update(visible=name == ALPACA, value=""), self.template, self.given,
            queue=False, show_progress="hidden", api_visibility="private",
        )  # fmt: skip

    def read(self, given: dict[Any, Any]) -> Question:
        """What the controls ask.

        Args:
            given: component → its value.
        """
        own = self.study.sampling
        rule = {
            "temperature": _or(given[self.temperature], own.temperature),
            "top_k": _or(given[self.top_k], own.top_k),
            "top_p": _or(given[self.top_p], own.top_p),
            "max_new_tokens": _or(given[self.length], own.max_new_tokens),
            "trim": own.trim,
        }
        aligned = given[self.aligned]
        lam = {value: float(given[one]) for value, one in self.sliders.items()}
        return Question(
            prompt=given[self.prompt],
            aligned=aligned,
            candidates=int(given[self.candidates]),
            rule=SamplingRule(**rule),
            seed=int(_or(given[self.seed], secrets.randbits(31))),
            lam=lam if aligned in SLIDERS else {},
            beams=int(_or(given[self.beams], 1)),
            template=given[self.template],
            given=given[self.given] or "",
            system=given[self.system] or "",
        )


def _or(given: Any, otherwise: Any) -> Any:
    """What a field holds, or what is meant if it is empty."""
    return otherwise if given is None else given
