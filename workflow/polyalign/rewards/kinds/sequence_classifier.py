"""Reward of a sequence classifier: one of its logits, or the log-probability of one label."""

import inspect
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from polyalign.errors import InputError
from polyalign.rewards import IncrementalScorer, Score, SharedEncoding
from polyalign.rewards.batches import Batching, max_tokens, score_by_length, split, unrolled
from polyalign.rewards.spec import ModelSpec
from polyalign.settings import ResponseTemplate

if TYPE_CHECKING:
    import torch

    from polyalign.rewards.shared_prefix import SplitText


Items = list[dict[str, list[int]]]


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


class Scorer(Score):
    """Loads the classifier of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if the model cannot be loaded or has no label of that index.
    """

    def __init__(self, spec: Spec) -> None:
        import hashlib

        from polyalign.models.load import load_classifier, load_tokenizer

        self.spec = spec
        self.tokenizer = load_tokenizer(spec.model, revision=spec.revision)
        self.tokenizer.padding_side = spec.padding_side
        prompt_first = spec.pair or "{prompt}" in self._before()
        self.tokenizer.truncation_side = "left" if prompt_first else "right"
        self.cut = 0
        self.model = load_classifier(spec.model, **spec.placed())
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.positions = "position_ids" in inspect.signature(self.model.forward).parameters
        limit = max_tokens(self.model, self.tokenizer, spec.max_length)
        self.max_tokens = limit or spec.max_length
        rules = hashlib.sha256(self.tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
        self.encoding_rule = rules, spec.template, spec.append_eos, self.max_tokens
        # transformers gives this name to the head of a classifier that reads the last token of a
        # causal model; other classifiers have other heads.
        self.head = dict(self.model.named_children()).get("score")
        labels = int(self.model.config.num_labels or 0)
        if spec.index >= labels:
            raise InputError(
                f"{spec.model}: label index {spec.index} asked of a classifier with {labels} "
                f"labels; expected 0 to {labels - 1}: set `index`"
            )
        self._prove()

    def _prove(self) -> None:
        """Find out which shortcuts give this model's own scores; see `polyalign.rewards.proof`."""
        from polyalign.rewards.incremental import supports_prefix_cache
        from polyalign.rewards.proof import plain_scores, probes, proven, proven_batching

        source, dtype, before = self.spec.model, self.model.dtype, self._before()
        halves = probes(self.model, self.tokenizer, self.max_tokens)
        prompts, responses = (
            self.tokenizer.batch_decode(list(half)) for half in zip(*halves, strict=True)
        )
        items = self._encode(prompts, responses)
        expected = plain_scores(source, self._plain, items)
        self.batching = proven_batching(source, partial(self._whole, items), expected, dtype)
        self.causal = (
            self.head is not None and supports_prefix_cache(self.model) and not self.spec.pair
        )
        self.shares_prefix = (
            self.causal
            and "{prompt}" in before
            and self.spec.padding_side == "right"
            and proven(
                "shared prefixes", source, partial(self._shared, prompts, items), expected, dtype
            )
        )

    def _plain(self, item: dict[str, list[int]]) -> "torch.Tensor":
        """The score of one text by the plain forward."""
        import torch

        device = self.model.device
        arguments = {name: torch.tensor([column], device=device) for name, column in item.items()}
        del arguments["attention_mask"]
        return self._read(self.model(**arguments).logits.float())[0]

    def _before(self) -> str:
        """The part of the template before the response."""
        return self.spec.template.partition("{response}")[0]

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Rewards (n,) of n responses to their prompts."""
        items = self._encode(prompts, responses)
        if self.cut:
            part = {"left": "beginning of the prompt", "right": "end"}[
                self.tokenizer.truncation_side
            ]
            print(
                f"{self.spec.model}: {self.cut} of {len(items)} texts are longer than "
                f"{self.max_tokens} tokens and lost the {part}"
            )
        if self.shares_prefix:
            from polyalign.rewards.shared_prefix import worth_sharing

            texts = self._split(prompts, items)
            if worth_sharing(texts, self.model.device):
                return self._shared(prompts, items)
        return self._whole(items, self.batching)

    def _shared(self, prompts: list[str], items: Items) -> np.ndarray:
        """The scores of encoded texts; every prompt is read once."""
        from polyalign.rewards.shared_prefix import score_suffixes

        texts = self._split(prompts, items)
        return score_suffixes(
            texts, self.spec.batch_size, partial(self._suffix_scores, texts),
            backbone=self.model.base_model, pad=self.tokenizer.pad_token_id,
        )  # fmt: skip

    def _whole(self, items: Items, batching: Batching) -> np.ndarray:
        """The scores of encoded texts; every text is read whole."""
        lengths = [len(item["input_ids"]) for item in items]
        return score_by_length(
            items, lengths, self.spec.batch_size, self._score,
            device=self.model.device, limit=self.max_tokens, batching=batching,
        )  # fmt: skip

    def _split(self, prompts: list[str], items: Items) -> "list[SplitText]":
        """The ids of each text before its response, and from there; the head reads a suffix."""
        before = self._before()
        different = list(dict.fromkeys(prompts))
        prefixes = [before.format(prompt=prompt) for prompt in different]
        encoded = self.tokenizer(prefixes, truncation=True, max_length=self.max_tokens)
        known = dict(zip(different, encoded["input_ids"], strict=True))
        texts = []
        for prompt, item in zip(prompts, items, strict=True):
            ids, prefix = item["input_ids"], known[prompt]
            # Its last tokens may have merged with the response.
            end = next(n for n in range(len(prefix), -1, -1) if ids[:n] == prefix[:n])
            end = min(end, self._last(ids))
            texts.append((ids[:end], ids[end:]))
        return texts

    def _suffix_scores(
        self, texts: "list[SplitText]", hidden: "torch.Tensor", numbers: list[int]
    ) -> "torch.Tensor":
        """Rewards (b,) from the last hidden states of the suffixes."""
        at = [self._last(texts[number][1]) for number in numbers]
        head: Any = self.head
        # The head reads all rows and tokens: the kernel's summation order depends on whether the
        # number of rows is a multiple of its block.
        return self._read(head(hidden)[range(len(at)), at].float())

    def _encode(self, prompts: list[str], responses: list[str]) -> Items:
        """The arguments of the model for each text, unpadded.

        A text that is too long loses the beginning of its prompt. A template in which the prompt
        does not come first loses its end.
        """
        spec, longest = self.spec, self.max_tokens - self.spec.append_eos
        columns = [prompts, responses]
        if not spec.pair:
            columns = [
                [
                    spec.template.format(prompt=prompt, response=response)
                    for prompt, response in zip(prompts, responses, strict=True)
                ]
            ]
        encoded = self.tokenizer(*columns, verbose=False)
        items = [
            {name: list(column[row]) for name, column in encoded.items()}
            for row in range(len(prompts))
        ]
        self.cut = 0
        for row, item in enumerate(items):
            if len(item["input_ids"]) > longest:
                self.cut += 1
                items[row] = self._shortened([column[row] for column in columns], longest)
        for item in items:
            # A model that adds no special tokens cannot read an empty text.
            if spec.append_eos or not item["input_ids"]:
                item["input_ids"].append(self.tokenizer.eos_token_id)
                item["attention_mask"].append(1)
                if "token_type_ids" in item:
                    item["token_type_ids"].append((item["token_type_ids"] or [0])[-1])
        return items

    def _shortened(self, text: list[str], longest: int) -> dict[str, list[int]]:
        """The arguments of the model for one text (or pair) that is too long."""
        how: bool | str = True
        if self.spec.pair:
            special = self.tokenizer.num_special_tokens_to_add(pair=True)
            response = self.tokenizer(text[1], add_special_tokens=False)["input_ids"]
            # A response that is too long by itself is cut as well, after its prompt.
            how = "only_first" if len(response) + special < longest else "longest_first"
        return dict(self.tokenizer(*text, truncation=how, max_length=longest))

    @cached_property
    def increments(self) -> bool:
        """Whether a key-value cache of growing texts gives this model's own scores."""
        from polyalign.rewards.incremental import increments_agree

        return self.causal and increments_agree(
            self.model, self.head, self.tokenizer, self.spec.model, self.max_tokens
        )

    def incremental(self, encoding: SharedEncoding) -> IncrementalScorer | None:
        """Scores with a key-value cache; None if the model does not support it."""
        from polyalign.rewards.incremental import PrefixCache

        if not self.increments:
            return None
        prefixes = PrefixCache(self.model.base_model, self.tokenizer.pad_token_id)

        def rewards(
            rows: Sequence[int], prompts: Sequence[str], texts: Sequence[Sequence[str]]
        ) -> list[np.ndarray]:
            asked, responses, sizes = unrolled(prompts, texts)
            items = encoding.encode(self.encoding_rule, asked, responses, self._encode)
            encoded = split([item["input_ids"] for item in items], sizes)
            read = prefixes.read(rows, encoded)
            row = [place for place, size in enumerate(sizes) for _ in range(size)]
            at = [
                read.place(place, number, self._last(ids))
                for place, continuations in enumerate(encoded)
                for number, ids in enumerate(continuations)
            ]
            head: Any = self.head
            logits = head(read.hidden[row, at]).float()
            return [np.array(part) for part in split(self._read(logits).tolist(), sizes)]

        return rewards

    def _last(self, ids: list[int]) -> int:
        """Index of the token that the classifier reads: the last one that is not padding."""
        pad = self.model.config.pad_token_id
        if ids[-1] != pad:
            return len(ids) - 1
        return next((place for place in reversed(range(len(ids))) if ids[place] != pad), 0)

    def _score(self, items: Items, width: int) -> "torch.Tensor":
        batch = self.tokenizer.pad(
            items, padding="max_length", max_length=width, return_tensors="pt"
        ).to(self.model.device)
        padded = not bool(batch["attention_mask"].all())
        # Without padding the model knows its positions: some start elsewhere than at 0.
        if self.spec.padding_side == "left" and self.positions and padded:
            batch["position_ids"] = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        return self._read(self.model(**batch).logits.float())

    def _read(self, logits: "torch.Tensor") -> "torch.Tensor":
        """Rewards (b,) from logits (b, labels)."""
        if self.spec.output == "log_probability":
            logits = logits.log_softmax(-1)
        return self.spec.sign * logits[:, self.spec.index]
