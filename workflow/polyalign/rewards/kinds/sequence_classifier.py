"""Reward of a sequence classifier: one of its logits, or the log-probability of one label."""

import inspect
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from polyalign.rewards.batches import room, score_by_length, split, unrolled
from polyalign.rewards.spec import ModelSpec
from polyalign.settings import ResponseTemplate

if TYPE_CHECKING:
    import torch

    from polyalign.rewards.incremental import Follower
    from polyalign.rewards.shared_prefix import Halves


Items = list[dict[str, list[int]]]
LATEST: dict[Any, tuple[list[str], list[str], Items]] = {}
"""By what decides how a text is encoded: the prompts and texts that token-level decoding encoded
last, and what they became. Rewards that read alike are asked for the same texts one after another,
and encoding is a third of their time."""


class Spec(ModelSpec):
    """Output of a classifier or reward model for a text, or for the pair of prompt and response."""

    kind: Literal["sequence_classifier"] = "sequence_classifier"
    template: ResponseTemplate = Field(
        default="{response}",
        description="The text to score, made from {prompt} and {response}.",
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
        default="right", description="Side on which shorter texts of a batch are padded."
    )
    sign: Literal[1, -1] = Field(
        default=1,
        description="-1 negates the score, for a model that scores the opposite of the value.",
    )

    def reads_prompt(self) -> bool:
        return self.pair or "{prompt}" in self.template

    def is_log_probability(self) -> bool:
        return self.output == "log_probability"


class Scorer:
    """Loads the classifier of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if the model cannot be loaded or has no label of that index.
    """

    def __init__(self, spec: Spec) -> None:
        from polyalign.errors import InputError
        from polyalign.models.load import load_classifier, load_tokenizer
        from polyalign.rewards.incremental import can_follow

        self.spec = spec
        self.tokenizer = load_tokenizer(spec.model, revision=spec.revision)
        self.tokenizer.padding_side = spec.padding_side
        self.model = load_classifier(spec.model, **spec.placed())
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.positions = "position_ids" in inspect.signature(self.model.forward).parameters
        self.room = room(self.model, self.tokenizer, spec.max_length) or spec.max_length
        rule = self.tokenizer.backend_tokenizer.to_str()
        self.reading = rule, spec.template, spec.append_eos, self.room
        # Classifiers that read the last token of a causal model call their head so.
        self.causal = hasattr(self.model, "score") and can_follow(self.model) and not spec.pair
        before, _, _ = spec.template.partition("{response}")
        self.begins_alike = self.causal and "{prompt}" in before and spec.padding_side == "right"
        labels = int(self.model.config.num_labels or 0)
        if spec.index >= labels:
            raise InputError(
                f"{spec.model}: label index {spec.index} asked of a classifier with {labels} "
                f"labels; expected 0 to {labels - 1}: set `index`"
            )

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Rewards (n,) of n responses to their prompts."""
        items = self._encode(prompts, responses)
        if self.begins_alike:
            from polyalign.rewards.shared_prefix import score_after_beginnings, worth_sharing

            texts = self._halves(prompts, items)
            if worth_sharing(texts, self.model.device):
                return score_after_beginnings(
                    texts, self.spec.batch_size, partial(self._after, texts),
                    backbone=self.model.base_model, pad=self.tokenizer.pad_token_id,
                )  # fmt: skip
        lengths = [len(item["input_ids"]) for item in items]
        return score_by_length(
            items, lengths, self.spec.batch_size, self._score,
            device=self.model.device, limit=self.room,
        )  # fmt: skip

    def _halves(self, prompts: list[str], items: Items) -> "list[Halves]":
        """Each text's ids up to its response, and from there; the head reads one of the second."""
        before, _, _ = self.spec.template.partition("{response}")
        different = list(dict.fromkeys(prompts))
        beginnings = [before.format(prompt=prompt) for prompt in different]
        encoded = self.tokenizer(beginnings, truncation=True, max_length=self.room)
        known = dict(zip(different, encoded["input_ids"], strict=True))
        halves = []
        for prompt, item in zip(prompts, items, strict=True):
            ids, beginning = item["input_ids"], known[prompt]
            # A token or two at the end may go over into the response.
            end = next(n for n in range(len(beginning), -1, -1) if ids[:n] == beginning[:n])
            end = min(end, self._last(ids))
            halves.append((ids[:end], ids[end:]))
        return halves

    def _after(
        self, texts: "list[Halves]", hidden: "torch.Tensor", numbers: list[int]
    ) -> "torch.Tensor":
        """Rewards (b,) from the last hidden states of the second halves."""
        at = [self._last(texts[number][1]) for number in numbers]
        head: Any = self.model.score
        # All of them: the kernel adds up in another order for a number of rows that is no block's.
        return self._read(head(hidden)[range(len(at)), at].float())

    def _encode_again(self, prompts: list[str], responses: list[str]) -> Items:
        """As `_encode`, at no cost for what was encoded last."""
        latest = LATEST.get(self.reading)
        if latest is None or latest[:2] != (prompts, responses):
            latest = LATEST[self.reading] = prompts, responses, self._encode(prompts, responses)
        return latest[2]

    def _encode(self, prompts: list[str], responses: list[str]) -> Items:
        """What the model reads, unpadded."""
        spec, tokenizer = self.spec, self.tokenizer
        longest = self.room - spec.append_eos
        if spec.pair:
            encoded = tokenizer(prompts, responses, truncation=True, max_length=longest)
        else:
            texts = [
                spec.template.format(prompt=prompt, response=response)
                for prompt, response in zip(prompts, responses, strict=True)
            ]
            encoded = tokenizer(texts, truncation=True, max_length=longest)
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
        return items

    def follow(self) -> "Follower | None":
        """Rewards of growing texts with a key-value cache; None if the model cannot have one."""
        from polyalign.rewards.incremental import Prefixes

        if not self.causal:
            return None
        prefixes = Prefixes(self.model.base_model, self.tokenizer.pad_token_id)

        def rewards(
            rows: Sequence[int], prompts: Sequence[str], texts: Sequence[Sequence[str]]
        ) -> list[np.ndarray]:
            asked, responses, sizes = unrolled(prompts, texts)
            items = self._encode_again(asked, responses)
            encoded = split([item["input_ids"] for item in items], sizes)
            read = prefixes.read(rows, encoded)
            row = [place for place, size in enumerate(sizes) for _ in range(size)]
            at = [
                read.place(place, number, self._last(ids))
                for place, continuations in enumerate(encoded)
                for number, ids in enumerate(continuations)
            ]
            head: Any = self.model.score
            logits = head(read.hidden[row, at]).float()
            return [np.array(part) for part in split(self._read(logits).tolist(), sizes)]

        return rewards

    def _last(self, ids: list[int]) -> int:
        """The place that the classifier reads: its last token that is not the padding one."""
        pad = self.model.config.pad_token_id
        if ids[-1] != pad:
            return len(ids) - 1
        return next((place for place in reversed(range(len(ids))) if ids[place] != pad), 0)

    def _score(self, items: Items, width: int) -> "torch.Tensor":
        batch = self.tokenizer.pad(
            items, padding="max_length", max_length=width, return_tensors="pt"
        ).to(self.model.device)
        if self.spec.padding_side == "left" and self.positions:
            batch["position_ids"] = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        return self._read(self.model(**batch).logits.float())

    def _read(self, logits: "torch.Tensor") -> "torch.Tensor":
        """Rewards (b,) from logits (b, labels)."""
        if self.spec.output == "log_probability":
            logits = logits.log_softmax(-1)
        return self.spec.sign * logits[:, self.spec.index]
