"""Reward of a sequence classifier: one of its numbers, of which it may give several at once."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from jinja2 import Environment, TemplateSyntaxError
from pydantic import AfterValidator, Field, model_validator

from polyalign.errors import InputError
from polyalign.models.sources import label_names, training_template
from polyalign.rewards import IncrementalScorer, Score, SharedEncoding
from polyalign.rewards.spec import ModelSpec
from polyalign.settings import CHAT, ResponseTemplate

if TYPE_CHECKING:
    import pandas as pd

    from polyalign.rewards.classifier import Growing, Reader


RESPONSE = "{response}"
"""What a classifier reads, if neither its entry nor its training says so."""

LOGITS = "logits"
"""The field of transformers' own classifiers."""


def _chat_template(text: str) -> str:
    """Return `text` if it is a template in Jinja as transformers reads it."""
    # A tag of transformers' own, which only marks what an assistant said.
    plain = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", text)
    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(plain)
    except TemplateSyntaxError as fault:
        raise ValueError(
            f"the template cannot be read ({fault.message}, line {fault.lineno}); expected Jinja, "
            "as in a tokenizer's chat_template; correct it"
        ) from fault
    return text


class Spec(ModelSpec):
    """Output of a classifier or reward model for a text, or for the pair of prompt and response.

    Values that differ in `index`, `sign` and `above` alone share one model, which reads each text
    once for all of them.
    """

    APART: ClassVar = (*ModelSpec.APART, "index", "label_name")

    kind: Literal["sequence_classifier"] = "sequence_classifier"
    template: ResponseTemplate | None = Field(
        default=None,
        description="The text to score, made from {prompt} and {response}; `chat`: both as a "
        "conversation in the chat template of the model's own tokenizer. Default: what a reward "
        "model was trained on, if the workflow trained it on pairs, else {response}.",
    )
    chat_template: Annotated[str, AfterValidator(_chat_template)] | None = Field(
        default=None,
        description="Chat template (Jinja) as text, for `template: chat` (default: that of the "
        "model's tokenizer).",
    )
    pair: bool = Field(
        default=False,
        description="Give prompt and response to the tokenizer as a pair, without a template.",
    )
    append_eos: bool = Field(
        default=False,
        description="End the text with the end token that reward training ended it with (its "
        "record names it), or with the tokenizer's; without `template` it is as in training.",
    )
    output: Literal["logit", "log_probability", "probability"] = Field(
        default="logit",
        description="The label's logit, or its probability or the log of it: a softmax over the "
        "labels, or the sigmoid for one label alone and for models with several labels a text.",
    )
    field: str = Field(
        default=LOGITS,
        description="The part of the model's output that holds the numbers: `logits`, or a field "
        "that a model with code of its own has, such as `rewards`.",
    )
    index: Annotated[int, Field(ge=0)] | str | None = Field(
        default=None,
        description="The label or head: its number from 0, or its name in the model's config.json; "
        "needed where there are two or more.",
    )
    padding_side: Literal["right", "left"] = Field(
        default="right", description="Side on which shorter texts of a batch are padded."
    )

    @model_validator(mode="after")
    def _one_reading(self) -> "Spec":
        if self.pair and self.template is not None:
            raise ValueError(
                "has both `pair` and `template`; expected one of them, since a pair is read "
                "without a template; remove one"
            )
        if self.chat_template is not None and self.template != CHAT:
            raise ValueError(
                "has `chat_template` without `template: chat`, so that it is never read; expected "
                "both; add `template: chat`, or remove it"
            )
        return self

    def trained_template(self) -> str | None:
        """The template of prompts that the model reads as in its training; None for another one.

        That is where the entry leaves the template out, or says `chat` as the training did. The
        model's record says so, so the model must have been made.
        """
        known = training_template(self.model)
        as_chat = self.template == known == CHAT and self.chat_template is None
        as_trained = self.template is None or as_chat
        return known if as_trained and not self.pair else None

    def reads_prompt(self) -> bool:
        if self.pair or self.template == CHAT or self.trained_template():
            return True
        return "{prompt}" in (self.template or RESPONSE)

    def identity(self) -> dict[str, Any]:
        """As for any model, with the template that is read, and the label's number and name."""
        identity = super().identity()
        trained = self.trained_template()
        names = label_names(self.model, self.revision, hub=True)
        label: dict[str, Any] = {"index": self.index or 0}
        if names is not None and len(names) > 1 and not self._numbered():
            number = label_number(self.index, names, self.model)
            label = {"index": number, "label_name": names[number]}
        template: dict[str, Any] = {"template": self.template or RESPONSE}
        if trained is not None:
            template = {"template": trained, "append_eos": True, "read_as": "in its training"}
        return {**identity, **template, **label}

    def _numbered(self) -> bool:
        """Whether a number is asked for of a field whose size the model's config does not tell."""
        return self.field != LOGITS and isinstance(self.index, int)

    def of_numbers(self, numbers: "pd.DataFrame") -> np.ndarray:
        names = [str(column).partition(" ")[2] for column in numbers]
        chosen = numbers.iloc[:, label_number(self.index, names, self.model)]
        return self.of_scores(chosen)

    def check_labels(self, names: list[str]) -> None:
        if not self._numbered():
            label_number(self.index, names, self.model)


def label_number(index: int | str | None, names: Sequence[str], model: str) -> int:
    """The number of the label that `index` means.

    Args:
        index: a number, a name, or None, which means the only label.
        names: of all labels, in order.
        model: names the model in messages.

    Raises:
        InputError: if it means none of the labels, or could be any of several.
    """
    known = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    if index is None and len(names) > 1:
        raise InputError(
            f"{model}: which of its {len(names)} labels is scored is not said; expected the number "
            f"or name of one of them ({known}); set `index`"
        )
    if isinstance(index, str):
        if list(names).count(index) != 1:
            raise InputError(
                f"{model}: no label has the name {index!r}; expected the number or name of one of "
                f"its labels ({known}); set `index`"
            )
        return list(names).index(index)
    if (index or 0) >= len(names):
        raise InputError(
            f"{model}: label index {index} asked of a classifier with {len(names)} labels; "
            f"expected one of {known}; set `index`"
        )
    return index or 0


class Scorer(Score):
    """One of the numbers of a classifier.

    Args:
        spec: the entry; its model is loaded.
        reader: the model, if another value that reads the same has loaded it.

    Raises:
        InputError: if the model cannot be loaded or has no label of that index.
    """

    def __init__(self, spec: Spec, reader: "Reader | None" = None) -> None:
        from polyalign.rewards.classifier import Reader

        self.spec = spec
        self.reader = reader or Reader(spec)
        self.latest: SharedEncoding | None = None
        names = self.reader.names
        self.index = label_number(spec.index, names, spec.model)
        if len(names) > 1:
            print(f"{spec.model}: scores label {self.index}, {names[self.index]!r}", flush=True)

    def sharing(self, spec: Any) -> "Scorer":
        """The reward function of another value, which reads the texts of a call once with this."""
        made = Scorer(spec, self.reader)
        made.latest = self.latest = self.latest or SharedEncoding()
        return made

    def numbers(
        self, prompts: list[str], responses: list[str], ends: Sequence[str | None]
    ) -> "pd.DataFrame":
        """All numbers of the classifier, one column for each: its place and its name."""
        import pandas as pd

        numbers, cut = (
            self.reader(prompts, responses)
            if self.latest is None
            else self.latest.encode("numbers", prompts, responses, self.reader)
        )
        self.was_cut = cut
        columns = [f"{place} {name}" for place, name in enumerate(self.reader.names)]
        return pd.DataFrame(numbers, columns=columns)

    def of_numbers(self, numbers: "pd.DataFrame") -> np.ndarray:
        return numbers.iloc[:, self.index].to_numpy()

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Rewards (n,) of n responses to their prompts."""
        return self.of_numbers(self.numbers(prompts, responses, [None] * len(prompts)))

    def incremental(self, encoding: SharedEncoding) -> IncrementalScorer | None:
        """Scores with a key-value cache; None if the model does not support it."""
        if not self.reader.increments:
            return None
        numbers: Growing = encoding.once(self.reader, lambda: self.reader.growing(encoding))

        def rewards(
            rows: Sequence[int],
            prompts: Sequence[str],
            texts: Sequence[Sequence[str]],
            ends: Sequence[Sequence[str]] | None = None,
        ) -> list[np.ndarray]:
            return [found[:, self.index] for found in numbers(rows, prompts, texts)]

        return rewards
