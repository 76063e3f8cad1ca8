"""Reward of a sequence classifier: one of its logits, or the log-probability of one label."""

import inspect
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from polyalign.data.chats import dialogue
from polyalign.errors import InputError
from polyalign.models.encoding import pad_with_known, prompt_ids, render_answer
from polyalign.models.sources import label_names, training_template
from polyalign.rewards import IncrementalScorer, Score, SharedEncoding
from polyalign.rewards.batches import (
    Batching,
    max_tokens,
    say_cut,
    score_by_length,
    split,
    stand_in,
    unrolled,
)
from polyalign.rewards.spec import ModelSpec
from polyalign.settings import CHAT, ResponseTemplate

if TYPE_CHECKING:
    import torch

    from polyalign.rewards.shared_prefix import SplitText


RESPONSE = "{response}"
"""What a classifier reads, if neither its entry nor its training says so."""

Items = list[dict[str, list[int]]]


class Spec(ModelSpec):
    """Output of a classifier or reward model for a text, or for the pair of prompt and response."""

    kind: Literal["sequence_classifier"] = "sequence_classifier"
    template: ResponseTemplate | None = Field(
        default=None,
        description="The text to score, made from {prompt} and {response}; `chat`: both as a "
        "conversation in the tokenizer's chat template. Default: what a reward model was trained "
        "on, if the workflow trained it on pairs, else {response}.",
    )
    pair: bool = Field(
        default=False,
        description="Give prompt and response to the tokenizer as a pair, without the template.",
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
    index: Annotated[int, Field(ge=0)] | str | None = Field(
        default=None,
        description="The label: its number from 0, or its name in the model's config.json; needed "
        "where there are two or more.",
    )
    padding_side: Literal["right", "left"] = Field(
        default="right", description="Side on which shorter texts of a batch are padded."
    )

    def trained_template(self) -> str | None:
        """The template of prompts that the model reads as in its training; None for another one.

        That is where the entry leaves the template out, or says `chat` as the training did. The
        model's record says so, so the model must have been made.
        """
        known = training_template(self.model)
        as_trained = self.template is None or self.template == known == CHAT
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
        if names is not None and len(names) > 1:
            number = label_number(self.index, names, self.model)
            label = {"index": number, "label_name": names[number]}
        template: dict[str, Any] = {"template": self.template or RESPONSE}
        if trained is not None:
            template = {"template": trained, "append_eos": True, "read_as": "in its training"}
        return {**identity, **template, **label}

    def check_labels(self, names: list[str]) -> None:
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
    """Loads the classifier of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if the model cannot be loaded or has no label of that index.
    """

    def __init__(self, spec: Spec) -> None:
        import hashlib

        from polyalign.models.load import load_classifier, load_tokenizer
        from polyalign.models.manifest import training_record

        self.spec = spec
        self.was_cut: list[bool] = []
        self.tokenizer = load_tokenizer(spec.model, revision=spec.revision)
        self.tokenizer.padding_side = spec.padding_side
        trained = training_record(spec.model).get("end_token") or self.tokenizer.eos_token
        # An encoder's tokenizer may have no end token.
        self.end = self.tokenizer.convert_tokens_to_ids(trained) if trained else None
        self.trained = spec.trained_template()
        self.template = spec.template or RESPONSE
        prompt_first = spec.pair or self._prompt_first()
        self.tokenizer.truncation_side = "left" if prompt_first else "right"
        self.model = load_classifier(spec.model, **spec.placed())
        pad_with_known(self.tokenizer, self.model)
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.positions = "position_ids" in inspect.signature(self.model.forward).parameters
        limit = max_tokens(self.model, self.tokenizer, spec.max_length)
        self.max_tokens = limit or spec.max_length
        # Equal tokenizers of two models encode alike; one written in Python cannot be compared.
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        rules = spec.model
        if backend is not None:
            rules = hashlib.sha256(backend.to_str().encode()).hexdigest()
        self.append_eos = spec.append_eos and self.trained is None
        if self.append_eos and self.tokenizer.eos_token_id is None:
            raise InputError(
                f"{spec.model}: append_eos is set, but its tokenizer has no end-of-sequence token; "
                "expected one; name it in tokenizer_config.json, or leave append_eos out"
            )
        self.encoding_rule = (
            rules, self.trained, self.template, self.append_eos, spec.pair, self.max_tokens
        )  # fmt: skip
        # transformers gives this name to the head of a classifier that reads the last token of a
        # causal model; other classifiers have other heads.
        self.head = dict(self.model.named_children()).get("score")
        config: Any = self.model.config
        names = [config.id2label.get(n, str(n)) for n in range(int(config.num_labels or 0))]
        self.index = label_number(spec.index, names, spec.model)
        if len(names) > 1:
            print(f"{spec.model}: scores label {self.index}, {names[self.index]!r}", flush=True)
        several = config.problem_type == "multi_label_classification"
        self.sigmoid = len(names) == 1 or several
        self._prove()

    def _prove(self) -> None:
        """Find out which shortcuts give this model's own scores; see `polyalign.rewards.proof`."""
        from polyalign.rewards.incremental import supports_prefix_cache
        from polyalign.rewards.proof import plain_scores, probes, proven, proven_batching

        source, dtype = self.spec.model, self.model.dtype
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
            and self._prompt_first()
            and self.spec.padding_side == "right"
            and proven(
                "shared prefixes",
                source,
                lambda: self._shared(self._split(prompts, items)),
                expected,
                dtype,
            )
        )

    def _plain(self, item: dict[str, list[int]]) -> "torch.Tensor":
        """The score of one text by the plain forward."""
        import torch

        device = self.model.device
        arguments = {name: torch.tensor([column], device=device) for name, column in item.items()}
        del arguments["attention_mask"]
        return self._read(self.model(**arguments).logits.float())[0]

    def _prompt_first(self) -> bool:
        """Whether the prompt comes before the response in what the model reads."""
        if self.trained is not None or self.template == CHAT:
            return True
        return "{prompt}" in self.template.partition("{response}")[0]

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Rewards (n,) of n responses to their prompts."""
        items = self._encode(prompts, responses)
        lost = {"left": "the beginning of the prompt", "right": "the end"}
        say_cut(
            self.spec.model, sum(self.was_cut), len(items), self.max_tokens,
            lost[self.tokenizer.truncation_side],
        )  # fmt: skip
        if self.shares_prefix:
            from polyalign.rewards.shared_prefix import worth_sharing

            texts = self._split(prompts, items)
            if worth_sharing(texts, self.model.device):
                return self._shared(texts)
        return self._whole(items, self.batching)

    def _shared(self, texts: "list[SplitText]") -> np.ndarray:
        """The scores of encoded texts; every prompt is read once."""
        from polyalign.rewards.shared_prefix import score_suffixes

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
        different = list(dict.fromkeys(prompts))
        known = dict(zip(different, self._prefixes(different), strict=True))
        texts = []
        for prompt, item in zip(prompts, items, strict=True):
            ids, prefix = item["input_ids"], known[prompt]
            # Its last tokens may have merged with the response.
            end = next(n for n in range(len(prefix), -1, -1) if ids[:n] == prefix[:n])
            end = min(end, self._last(ids))
            texts.append((ids[:end], ids[end:]))
        return texts

    def _prefixes(self, prompts: list[str]) -> list[list[int]]:
        """Token ids of each text up to its response."""
        template = self.trained or self.template
        if self.trained is not None or template == CHAT:
            return [prompt_ids(self.tokenizer, template, prompt) for prompt in prompts]
        before, _, _ = template.partition("{response}")
        prefixes = [before.format(prompt=dialogue(prompt)) for prompt in prompts]
        encoded = self.tokenizer(prefixes, truncation=True, max_length=self.max_tokens)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

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
        self.was_cut = [False] * len(prompts)
        if self.trained is not None:
            return self._encode_as_trained(prompts, responses)
        longest = self.max_tokens - self.append_eos
        columns = [list(map(dialogue, prompts)), responses]
        if not self.spec.pair:
            columns = [
                [
                    render_answer(self.tokenizer, prompt, response)
                    if self.template == CHAT
                    else self.template.format(prompt=dialogue(prompt), response=response)
                    for prompt, response in zip(prompts, responses, strict=True)
                ]
            ]
        # A chat template writes the special tokens itself.
        special = self.template != CHAT
        encoded = self.tokenizer(*columns, verbose=False, add_special_tokens=special)
        items = [
            {name: list(column[row]) for name, column in encoded.items()}
            for row in range(len(prompts))
        ]
        for row, item in enumerate(items):
            if len(item["input_ids"]) > longest:
                self.was_cut[row] = True
                items[row] = self._shortened([column[row] for column in columns], longest)
        for item in items:
            # A model that adds no special tokens cannot read an empty text.
            if self.append_eos:
                item["input_ids"].append(self.end)
            elif not item["input_ids"]:
                item["input_ids"].append(stand_in(self.tokenizer))
            if len(item["attention_mask"]) < len(item["input_ids"]):
                item["attention_mask"].append(1)
                if "token_type_ids" in item:
                    item["token_type_ids"].append((item["token_type_ids"] or [0])[-1])
        return items

    def _encode_as_trained(self, prompts: list[str], responses: list[str]) -> Items:
        """As `train.reward` encodes; a text that is too long loses the beginning of its prompt."""
        from polyalign.models.logprobs import encode_responses

        assert self.trained is not None
        items = []
        ends: list[Any] = [self.end] * len(prompts)
        texts = encode_responses(self.tokenizer, self.trained, prompts, responses, ends)
        for row, (before, after) in enumerate(texts):
            room = max(self.max_tokens - len(after), 0)
            lost = max(len(before) - room, 0)
            self.was_cut[row] = lost > 0
            # An encoder reads its first token.
            first = before[:1] if lost and before[:1] == [self.tokenizer.cls_token_id] else []
            ids = [*first, *before[lost + len(first) :], *after][: self.max_tokens]
            items.append({"input_ids": ids, "attention_mask": [1] * len(ids)})
        return items

    def _shortened(self, text: list[str], longest: int) -> dict[str, list[int]]:
        """The arguments of the model for one text (or pair) that is too long."""
        how: bool | str = True
        if self.spec.pair:
            added = self.tokenizer.num_special_tokens_to_add(pair=True)
            response = self.tokenizer(text[1], add_special_tokens=False)["input_ids"]
            # A response that is too long by itself is cut as well, after its prompt.
            how = "only_first" if len(response) + added < longest else "longest_first"
        special = self.template != CHAT
        return dict(
            self.tokenizer(*text, truncation=how, max_length=longest, add_special_tokens=special)
        )

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
            rows: Sequence[int],
            prompts: Sequence[str],
            texts: Sequence[Sequence[str]],
            ends: Sequence[Sequence[str]] | None = None,
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
        import torch

        if self.spec.output == "logit":
            return logits[:, self.index]
        logs = torch.nn.functional.logsigmoid(logits) if self.sigmoid else logits.log_softmax(-1)
        chosen = logs[:, self.index]
        return chosen.exp() if self.spec.output == "probability" else chosen
