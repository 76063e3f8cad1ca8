"""What a classifier reads of a prompt and a response: as in its training, in a template, as a pair.

A text that is too long loses the beginning of its prompt. A template in which the prompt does not
come first loses its end.
"""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polyalign.data.chats import dialogue
from polyalign.errors import InputError
from polyalign.models.encoding import prompt_ids, render_answer
from polyalign.models.manifest import training_record
from polyalign.rewards.batches import stand_in
from polyalign.rewards.kinds.sequence_classifier import RESPONSE
from polyalign.settings import CHAT

if TYPE_CHECKING:
    from polyalign.rewards.kinds.sequence_classifier import Spec
    from polyalign.rewards.shared_prefix import SplitText

Items = list[dict[str, list[int]]]


@dataclass(frozen=True)
class Encoded:
    """Texts as a model reads them.

    Attributes:
        items: the arguments of the model for each of n texts, unpadded.
        cut: (n,) whether a text was too long.
    """

    items: Items
    cut: list[bool]


class ClassifierTexts:
    """Encodes prompts and responses as the entry of a classifier says.

    Args:
        spec: the entry.
        tokenizer: of the classifier; it is set up here.
        longest: most tokens of a text.

    Attributes:
        rule: equal for two that encode alike.
        prompt_first: whether the prompt comes before the response in what is read.

    Raises:
        InputError: if the entry asks for an end token that the tokenizer lacks.
    """

    def __init__(self, spec: "Spec", tokenizer: Any, longest: int) -> None:
        self.spec, self.tokenizer, self.longest = spec, tokenizer, longest
        if spec.chat_template is not None:
            tokenizer.chat_template = spec.chat_template
        self.trained = spec.trained_template()
        self.template = spec.template or RESPONSE
        in_order = "{prompt}" in self.template.partition("{response}")[0]
        self.prompt_first = self.trained is not None or self.template == CHAT or in_order
        tokenizer.padding_side = spec.padding_side
        tokenizer.truncation_side = "left" if spec.pair or self.prompt_first else "right"
        named = training_record(spec.model).get("end_token") or tokenizer.eos_token
        # An encoder's tokenizer may have no end token.
        self.end = tokenizer.convert_tokens_to_ids(named) if named else None
        # Read once: a tokenizer looks its special tokens up anew at each question.
        self._pad = tokenizer.pad_token_id
        self.append_eos = spec.append_eos and self.trained is None
        if self.append_eos and tokenizer.eos_token_id is None:
            raise InputError(
                f"{spec.model}: append_eos is set, but its tokenizer has no end-of-sequence token; "
                "expected one; name it in tokenizer_config.json, or leave append_eos out"
            )
        # Equal tokenizers of two models encode alike; one written in Python cannot be compared.
        backend = getattr(tokenizer, "backend_tokenizer", None)
        rules = spec.model
        if backend is not None:
            rules = hashlib.sha256(backend.to_str().encode()).hexdigest()
        chat = str(tokenizer.chat_template) if CHAT in (self.trained, self.template) else ""
        self.rule: Hashable = (
            rules, chat, self.trained, self.template, self.append_eos, spec.pair, longest
        )  # fmt: skip

    def encode(self, prompts: list[str], responses: list[str]) -> Encoded:
        """The arguments of the model for n texts."""
        if self.trained is not None:
            return self._as_trained(prompts, responses)
        longest = self.longest - self.append_eos
        columns = [list(map(dialogue, prompts)), responses]
        if not self.spec.pair:
            columns = [list(map(self._text, prompts, responses))]
        # A chat template writes the special tokens itself.
        special = self.template != CHAT
        encoded = self.tokenizer(*columns, verbose=False, add_special_tokens=special)
        items = [
            {name: list(column[row]) for name, column in encoded.items()}
            for row in range(len(prompts))
        ]
        cut = [len(item["input_ids"]) > longest for item in items]
        for row in [row for row, too_long in enumerate(cut) if too_long]:
            text = [column[row] for column in columns]
            items[row] = self._shortened(text, items[row], longest)
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
        return Encoded(items, cut)

    def _text(self, prompt: str, response: str) -> str:
        """The text of a prompt and a response."""
        if self.template == CHAT:
            return render_answer(self.tokenizer, prompt, response)
        return self.template.format(prompt=dialogue(prompt), response=response)

    def _as_trained(self, prompts: list[str], responses: list[str]) -> Encoded:
        """As `train.reward` encodes."""
        from polyalign.models.logprobs import encode_responses

        assert self.trained is not None
        items, cut = [], []
        ends: list[Any] = [self.end] * len(prompts)
        texts = encode_responses(self.tokenizer, self.trained, prompts, responses, ends)
        for before, after in texts:
            room = max(self.longest - len(after), 0)
            lost = max(len(before) - room, 0)
            cut.append(lost > 0)
            # An encoder reads its first token.
            first = before[:1] if lost and before[:1] == [self.tokenizer.cls_token_id] else []
            ids = [*first, *before[lost + len(first) :], *after][: self.longest]
            items.append({"input_ids": ids, "attention_mask": [1] * len(ids)})
        return Encoded(items, cut)

    def _shortened(
        self, text: list[str], whole: dict[str, list[int]], longest: int
    ) -> dict[str, list[int]]:
        """The arguments of the model for one text (or pair) that is too long.

        Args:
            text: the text, or the two of a pair.
            whole: its arguments uncut.
            longest: tokens that it may have.
        """
        if self.template == CHAT:
            # The template wrote the token that texts begin with, which encoders read.
            starts = {self.tokenizer.bos_token_id, self.tokenizer.cls_token_id}
            kept = int(whole["input_ids"][0] in starts)
            lost = len(whole["input_ids"]) - longest
            return {name: column[:kept] + column[kept + lost :] for name, column in whole.items()}
        how: bool | str = True
        if self.spec.pair:
            added = self.tokenizer.num_special_tokens_to_add(pair=True)
            response = self.tokenizer(text[1], add_special_tokens=False)["input_ids"]
            # A response that is too long by itself is cut as well, after its prompt.
            how = "only_first" if len(response) + added < longest else "longest_first"
        return dict(self.tokenizer(*text, truncation=how, max_length=longest))

    def split(self, prompts: list[str], items: Items) -> "list[SplitText]":
        """The ids of each text before its response, and from there; the head reads a suffix."""
        different = list(dict.fromkeys(prompts))
        known = dict(zip(different, self._prefixes(different), strict=True))
        texts = []
        for prompt, item in zip(prompts, items, strict=True):
            ids, prefix = item["input_ids"], known[prompt]
            # Its last tokens may have merged with the response.
            end = next(n for n in range(len(prefix), -1, -1) if ids[:n] == prefix[:n])
            end = min(end, self.last(ids))
            texts.append((ids[:end], ids[end:]))
        return texts

    def _prefixes(self, prompts: list[str]) -> list[list[int]]:
        """Token ids of each text up to its response."""
        if self.trained is not None:
            return [prompt_ids(self.tokenizer, self.trained, prompt) for prompt in prompts]
        if self.template == CHAT:
            opened = [render_answer(self.tokenizer, prompt, None) for prompt in prompts]
            encoded = self.tokenizer(opened, verbose=False, add_special_tokens=False)
        else:
            before, _, _ = self.template.partition("{response}")
            prefixes = [before.format(prompt=dialogue(prompt)) for prompt in prompts]
            encoded = self.tokenizer(prefixes, truncation=True, max_length=self.longest)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def last(self, ids: Sequence[int]) -> int:
        """Index of the token that a causal classifier reads: the last that is not padding."""
        if ids[-1] != self._pad:
            return len(ids) - 1
        return next((place for place in reversed(range(len(ids))) if ids[place] != self._pad), 0)
