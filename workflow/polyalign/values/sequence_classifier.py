"""Reward of a sequence classifier: one of its logits, or the log-probability of one label."""

import inspect
from typing import Literal

import numpy as np
from pydantic import Field

from polyalign.settings import ResponseTemplate
from polyalign.values._batches import score_by_length
from polyalign.values._spec import ModelSpec


class Spec(ModelSpec):
    """A classifier or reward model over a text, or over the pair of prompt and response."""

    kind: Literal["sequence_classifier"] = "sequence_classifier"
    template: ResponseTemplate = Field(
        default="{response}",
        description="The text to score, from {prompt} and {response}.",
    )
    pair: bool = Field(
        default=False,
        description="Give prompt and response to the tokenizer as a pair, without the template.",
    )
    append_eos: bool = Field(
        default=False,
        description="End the text with the end-of-sequence token, as reward training does.",
    )
    output: Literal["logit", "log_probability"] = Field(
        default="logit", description="The label's logit, or the log of its probability."
    )
    index: int = Field(default=0, ge=0, description="Index of the label.")
    padding_side: Literal["right", "left"] = Field(
        default="right", description="Side on which shorter texts of a batch are filled up."
    )
    sign: Literal[1, -1] = Field(
        default=1, description="-1 turns a model round that scores the opposite of the value."
    )


class Scorer:
    """Loads the classifier of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if the model cannot be loaded or has no label of that index.
    """

    def __init__(self, spec: Spec) -> None:
        from polyalign.errors import InputError
        from polyalign.models import load_classifier, load_tokenizer

        self.spec = spec
        self.tokenizer = load_tokenizer(spec.model, revision=spec.revision)
        self.tokenizer.padding_side = spec.padding_side
        self.model = load_classifier(
            spec.model, dtype=spec.dtype, device=spec.device, revision=spec.revision
        )
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.positions = "position_ids" in inspect.signature(self.model.forward).parameters
        labels = int(self.model.config.num_labels or 0)
        if spec.index >= labels:
            raise InputError(
                f"{spec.model}: label index {spec.index} asked of a classifier with {labels} "
                f"labels; expected 0 to {labels - 1}: set `index`"
            )

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Rewards (n,) of n responses to their prompts."""
        spec, tokenizer = self.spec, self.tokenizer
        room = spec.max_length - spec.append_eos
        if spec.pair:
            encoded = tokenizer(prompts, responses, truncation=True, max_length=room)
        else:
            texts = [
                spec.template.format(prompt=prompt, response=response)
                for prompt, response in zip(prompts, responses, strict=True)
            ]
            encoded = tokenizer(texts, truncation=True, max_length=room)
        items = [
            {name: list(column[row]) for name, column in encoded.items()}
            for row in range(len(prompts))
        ]
        for item in items:
            # An empty text must be something for a model that adds no tokens of its own.
            if spec.append_eos or not item["input_ids"]:
                item["input_ids"].append(tokenizer.eos_token_id)
                item["attention_mask"].append(1)
                if "token_type_ids" in item:
                    item["token_type_ids"].append((item["token_type_ids"] or [0])[-1])
        lengths = [len(item["input_ids"]) for item in items]
        return spec.sign * score_by_length(items, lengths, spec.batch_size, self._score)

    def _score(self, items: list[dict[str, list[int]]]):  # type: ignore[no-untyped-def]
        batch = self.tokenizer.pad(items, return_tensors="pt").to(self.model.device)
        if self.spec.padding_side == "left" and self.positions:
            batch["position_ids"] = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        logits = self.model(**batch).logits.float()
        if self.spec.output == "log_probability":
            logits = logits.log_softmax(-1)
        return logits[:, self.spec.index]
