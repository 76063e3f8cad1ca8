"""A classifier that is loaded: all its numbers for a text, from one forward pass."""

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from polyalign.errors import InputError
from polyalign.models.encoding import pad_apart, pad_with_known
from polyalign.models.load import load_classifier, load_tokenizer
from polyalign.models.probes import probes, proven
from polyalign.rewards import SharedEncoding
from polyalign.rewards.batches import (
    Batching,
    max_tokens,
    say_cut,
    score_by_length,
    split,
    unrolled,
)
from polyalign.rewards.classifier_texts import ClassifierTexts, Items
from polyalign.rewards.incremental import PrefixCache, increments_agree, supports_prefix_cache
from polyalign.rewards.kinds.sequence_classifier import LOGITS
from polyalign.rewards.proof import plain_scores, proven_batching
from polyalign.rewards.shared_prefix import score_suffixes, worth_sharing

if TYPE_CHECKING:
    from polyalign.rewards.kinds.sequence_classifier import Spec
    from polyalign.rewards.shared_prefix import SplitText

Growing = Callable[[Sequence[int], Sequence[str], Sequence[Sequence[str]]], list[np.ndarray]]
"""Rows, prompts and continuations → the numbers (k, d) of the k continuations of each text."""


class Reader:
    """Loads the classifier of a `Spec`; a call gives all its numbers.

    Attributes:
        names: of the d numbers, as the model's config has them.

    Raises:
        InputError: if the model cannot be loaded.
    """

    def __init__(self, spec: "Spec") -> None:
        self.spec = spec
        self.tokenizer = load_tokenizer(spec.model, **spec.trusted())
        self.model = load_classifier(spec.model, **spec.placed())
        pad_apart(self.tokenizer, self.model)
        pad_with_known(self.tokenizer, self.model)
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.positions = "position_ids" in inspect.signature(self.model.forward).parameters
        limit = max_tokens(self.model, self.tokenizer, spec.max_length)
        self.max_tokens = limit or spec.max_length
        self.texts = ClassifierTexts(spec, self.tokenizer, self.max_tokens)
        # transformers gives this name to the head of a classifier that reads the last token of a
        # causal model; other classifiers have other heads.
        self.head = dict(self.model.named_children()).get("score")
        config: Any = self.model.config
        self.several = config.problem_type == "multi_label_classification"
        numbers = self._prove()
        self.names = [f"LABEL_{n}" for n in range(numbers)]
        if config.num_labels == numbers:
            self.names = [config.id2label.get(n, str(n)) for n in range(numbers)]

    def _prove(self) -> int:
        """Find out which shortcuts give this model's own scores; see `polyalign.rewards.proof`.

        Returns:
            How many numbers the model gives.
        """
        source, dtype = self.spec.model, self.model.dtype
        halves = probes(self.model, self.tokenizer, self.max_tokens)
        prompts, responses = (
            self.tokenizer.batch_decode(list(half)) for half in zip(*halves, strict=True)
        )
        items = self.texts.encode(prompts, responses).items
        expected = plain_scores(source, self._plain, items)
        self.batching = proven_batching(source, partial(self._whole, items), expected, dtype)
        self.causal = (
            self.head is not None and supports_prefix_cache(self.model) and not self.spec.pair
        )
        self.shares_prefix = (
            self.causal
            and self.texts.prompt_first
            and self.spec.padding_side == "right"
            and proven(
                "shared prefixes",
                source,
                lambda: self._shared(self.texts.split(prompts, items)),
                expected,
                dtype,
            )
        )
        return int(expected.shape[1])

    def _plain(self, item: dict[str, list[int]]) -> torch.Tensor:
        """The numbers (d,) of one text by the plain forward."""
        device = self.model.device
        arguments = {name: torch.tensor([column], device=device) for name, column in item.items()}
        # Nothing is masked; but a model with code of its own may find its last token by the mask.
        if not self.spec.trust_remote_code:
            del arguments["attention_mask"]
        return self._read(self.model(**arguments))[0]

    def __call__(self, prompts: list[str], responses: list[str]) -> tuple[np.ndarray, list[bool]]:
        """Numbers (n, d) of n responses to their prompts, and which texts were cut."""
        encoded = self.texts.encode(prompts, responses)
        lost = {"left": "the beginning of the prompt", "right": "the end"}
        say_cut(
            self.spec.model, sum(encoded.cut), len(prompts), self.max_tokens,
            lost[self.tokenizer.truncation_side],
        )  # fmt: skip
        if self.shares_prefix:
            texts = self.texts.split(prompts, encoded.items)
            if worth_sharing(texts, self.model.device):
                return self._shared(texts), encoded.cut
        return self._whole(encoded.items, self.batching), encoded.cut

    def _shared(self, texts: "list[SplitText]") -> np.ndarray:
        """The numbers of encoded texts; every prompt is read once."""
        return score_suffixes(
            texts, self.spec.batch_size, partial(self._suffix_numbers, texts),
            backbone=self.model.base_model, pad=self.tokenizer.pad_token_id,
        )  # fmt: skip

    def _whole(self, items: Items, batching: Batching) -> np.ndarray:
        """The numbers of encoded texts; every text is read whole."""
        lengths = [len(item["input_ids"]) for item in items]
        return score_by_length(
            items, lengths, self.spec.batch_size, self._padded,
            device=self.model.device, limit=self.max_tokens, batching=batching,
        )  # fmt: skip

    def _suffix_numbers(
        self, texts: "list[SplitText]", hidden: torch.Tensor, numbers: list[int]
    ) -> torch.Tensor:
        """Numbers (b, d) from the last hidden states of the suffixes."""
        at = [self.texts.last(texts[number][1]) for number in numbers]
        head: Any = self.head
        # The head reads all rows and tokens: the kernel's summation order depends on whether the
        # number of rows is a multiple of its block.
        return self._output(head(hidden)[range(len(at)), at].float())

    def _padded(self, items: Items, width: int) -> torch.Tensor:
        """Numbers (b, d) of b texts, padded to `width`."""
        batch = self.tokenizer.pad(
            items, padding="max_length", max_length=width, return_tensors="pt"
        ).to(self.model.device)
        padded = not bool(batch["attention_mask"].all())
        # Without padding the model knows its positions: some start elsewhere than at 0.
        if self.spec.padding_side == "left" and self.positions and padded:
            batch["position_ids"] = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        return self._read(self.model(**batch))

    def _read(self, made: Any) -> torch.Tensor:
        """Numbers (b, d) from what a forward pass returns.

        Raises:
            InputError: if it has no field of that name, or not one row of numbers for each text.
        """
        field, found = self.spec.field, made
        if not isinstance(made, torch.Tensor):
            found = made.get(field)
        if found is None:
            raise InputError(
                f"{self.spec.model}: its output has no {field!r}; expected one of "
                f"{', '.join(made)}; set `field`"
            )
        if found.dim() > 2:
            raise InputError(
                f"{self.spec.model}: {field!r} of its output has the shape {list(found.shape)}; "
                "expected one row of numbers for each text; set `field`, or take another model"
            )
        return self._output(found.float().reshape(len(found) if found.dim() else 1, -1))

    def _output(self, logits: torch.Tensor) -> torch.Tensor:
        """Numbers (b, d) as the entry asks for them, from logits (b, d)."""
        if self.spec.output == "logit":
            return logits
        each = self.several or logits.shape[-1] == 1
        logs = torch.nn.functional.logsigmoid(logits) if each else logits.log_softmax(-1)
        return logs.exp() if self.spec.output == "probability" else logs

    @cached_property
    def increments(self) -> bool:
        """Whether a key-value cache of growing texts gives this model's own scores."""
        # What is proven are logits; a model with code of its own may give other numbers.
        return (
            self.causal
            and self.spec.field == LOGITS
            and increments_agree(
                self.model, self.head, self.tokenizer, self.spec.model, self.max_tokens
            )
        )

    def growing(self, encoding: SharedEncoding) -> Growing:
        """Numbers of texts that grow token by token, with a key-value cache.

        Args:
            encoding: of the batch. Values that share this reader ask one after another for the
                same texts; only for the first of them something is read.
        """
        prefixes = PrefixCache(self.model.base_model, self.tokenizer.pad_token_id)
        latest: list[Any] = [None, []]

        def numbers(
            rows: Sequence[int], prompts: Sequence[str], texts: Sequence[Sequence[str]]
        ) -> list[np.ndarray]:
            asked = [list(rows), list(prompts), [list(several) for several in texts]]
            if latest[0] != asked:
                latest[:] = asked, self._grown(prefixes, encoding, rows, prompts, texts)
            found: list[np.ndarray] = latest[1]
            return found

        return numbers

    def _grown(
        self,
        prefixes: PrefixCache,
        encoding: SharedEncoding,
        rows: Sequence[int],
        prompts: Sequence[str],
        texts: Sequence[Sequence[str]],
    ) -> list[np.ndarray]:
        """Numbers of the continuations of some texts, of which only what is new is read."""
        asked, responses, sizes = unrolled(prompts, texts)
        items = encoding.encode(self.texts.rule, asked, responses, self.texts.encode).items
        encoded = split([item["input_ids"] for item in items], sizes)
        read = prefixes.read(rows, encoded)
        row = [place for place, size in enumerate(sizes) for _ in range(size)]
        at = [
            read.place(place, number, self.texts.last(ids))
            for place, continuations in enumerate(encoded)
            for number, ids in enumerate(continuations)
        ]
        head: Any = self.head
        logits = head(read.hidden[row, at]).float()
        return split(self._output(logits).detach().double().cpu().numpy(), sizes)
