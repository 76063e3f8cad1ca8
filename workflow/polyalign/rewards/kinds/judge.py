"""A language model that scores each response by a rubric."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from polyalign.data.chats import dialogue
from polyalign.errors import InputError
from polyalign.rewards import Score
from polyalign.rewards.judging import Given, Judge, Judging, NoVerdictError
from polyalign.rewards.spec import ValueSpec
from polyalign.rewards.verdicts import Rule, score
from polyalign.settings import asks_about, fields


class Spec(ValueSpec, Judging):
    """A number that a language model gives each response, asked at temperature 0 by a rubric, over
    any server with OpenAI's interface.

    Reference: Zheng, Chiang, Sheng, Zhuang, Wu, Zhuang, Lin, Li, Li, Xing, Zhang, Gonzalez and
    Stoica: Judging LLM-as-a-judge with MT-Bench and Chatbot Arena. arXiv 2306.05685, 2023.
    """

    AT_ONCE: ClassVar[int] = 32

    SPEED: ClassVar = Judging.CONDUCT

    kind: Literal["judge"] = "judge"
    rubric: Annotated[str, AfterValidator(asks_about("response"))] = Field(
        description="The question: text with {response}, and {prompt} if the judge is to see it. "
        "It must ask for what `answer` reads."
    )
    answer: Rule = Field(
        default="json",
        description="What is read of an answer. json: the number `score` of its last JSON object, "
        'as in {"score": 7}. last number: the last word with a digit in it, which must be a number '
        "alone: `8/10` is none.",
    )
    low: float = Field(description="Least score; an answer below it is not read.")
    high: float = Field(description="Greatest score; an answer above it is not read.")
    unscored: float | None = Field(
        default=None,
        description="Score of a response to which the judge gave no score when it was asked three "
        "times; the log counts them (default: the job stops and shows the answer).",
    )

    @model_validator(mode="after")
    def _in_order(self) -> "Spec":
        if self.low >= self.high:
            raise ValueError(
                f"low {self.low:g} is not below high {self.high:g}; expected the bounds of the "
                "score; change one of them"
            )
        return self

    def reads_prompt(self) -> bool:
        """Whether the rubric shows the prompt."""
        return "prompt" in fields(self.rubric)


class Scorer(Score):
    """Asks the judge of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if the environment lacks the server's key.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.judge = Judge(spec)

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Scores (n,) of n responses to their prompts.

        Raises:
            InputError: if the judge cannot be asked or gives no score; its answers are kept.
        """
        questions = [
            self.spec.rubric.format(prompt=dialogue(prompt), response=response)
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        found = self.judge.verdicts(questions, self._read)
        without = [one for one in found if isinstance(one, NoVerdictError)]
        if without and self.spec.unscored is None:
            raise InputError(
                f"the judge {self.spec.model} gave no score to {len(without)} of {len(found)} "
                f"responses ({without[0]}); expected one by the rule {self.spec.answer!r}; change "
                f"the rubric, max_tokens or `answer`, or give such responses a score by "
                f"`unscored`; all answers are in {self.judge.kept.file}"
            )
        if without:
            print(f"no score for {len(without)} of {len(found)} responses: {self.spec.unscored:g}")
        return np.array(
            [self.spec.unscored if isinstance(one, NoVerdictError) else one for one in found],
            dtype=np.float64,
        )

    def _read(self, given: Given) -> float:
        return score(given.text, self.spec.answer, self.spec.low, self.spec.high)
