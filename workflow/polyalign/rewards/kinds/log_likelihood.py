"""Fluency: mean log-probability of the response's tokens, the negative log of its perplexity."""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from polyalign.models.encoding import pad_with_known, text_config
from polyalign.rewards import EndScore, IncrementalScorer, SharedEncoding
from polyalign.rewards.batches import (
    Batching,
    max_tokens,
    say_cut,
    score_by_length,
    split,
    unrolled,
)
from polyalign.rewards.spec import ModelSpec, Text, scored_text
from polyalign.settings import PromptTemplate

if TYPE_CHECKING:
    import torch

    from polyalign.rewards.shared_prefix import SplitText


class Spec(ModelSpec):
    """Mean log-probability per token of the response, given the prompt, in nats; at most 0.

    The model and the template are those of the study where they are left out. A fluency reward is
    then scored under the base model, whichever policy answered.
    """

    kind: Literal["log_likelihood"] = "log_likelihood"
    model: str = Field(default="", description="Hub id or folder (default: the study's model).")
    template: PromptTemplate | None = Field(
        default=None, description="Text around the prompt (default: the study's template)."
    )
    max_length: int = Field(
        default=512, ge=1, description="Longer responses are cut to this many tokens."
    )
    text: Text = Field(
        default="response",
        description="What is scored: the response, given the prompt in its template; or prompt and "
        "response as one text, without a template and without an end token: all its tokens but the "
        "first, as in the tables of the MAP paper.",
    )


class Scorer(EndScore):
    """Loads the language model of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if the model cannot be loaded.
    """

    def __init__(self, spec: Spec) -> None:
        from polyalign.models.endings import endings
        from polyalign.models.load import load_causal_lm, load_tokenizer

        self.spec = spec
        self.tokenizer = load_tokenizer(spec.model, **spec.trusted())
        self.model = load_causal_lm(spec.model, **spec.placed())
        pad_with_known(self.tokenizer, self.model)
        self.template = spec.template or "{prompt}"
        self.endings = endings(self.model.generation_config, self.tokenizer, self.template)
        usual = self.endings.usual
        self.end_alone: int = self.tokenizer.pad_token_id if usual is None else usual
        self.max_tokens = max_tokens(self.model, self.tokenizer)
        self.cut_prompts = self.cut_responses = 0
        self.was_cut: list[bool] = []
        self._prove()

    def _prove(self) -> None:
        """Find out which shortcuts give this model's own scores; see `polyalign.models.probes`."""
        from polyalign.models.probes import probes, proven
        from polyalign.rewards.incremental import supports_prefix_cache
        from polyalign.rewards.proof import plain_scores, proven_batching

        model, source, dtype = self.model, self.spec.model, self.model.dtype
        items = probes(model, self.tokenizer, self.max_tokens)
        expected = plain_scores(source, self._plain, items)
        self.batching = proven_batching(source, partial(self._whole, items), expected, dtype)
        self.shares_prefix = supports_prefix_cache(model) and proven(
            "shared prefixes", source, partial(self._shared, _split(items)), expected, dtype
        )

    def _plain(self, item: tuple[list[int], list[int]]) -> "torch.Tensor":
        """The score of one text by the plain forward."""
        import torch

        from polyalign.models.plain import plain_logits

        prompt, response = item
        logs = plain_logits(self.model, prompt + response).log_softmax(-1)
        logs = logs[len(prompt) - 1 : -1]
        return logs.gather(-1, torch.tensor(response)[:, None]).mean()

    def ended(
        self, prompts: list[str], responses: list[str], ends: Sequence[str | None]
    ) -> np.ndarray:
        """Mean log-probability (n,) of the tokens of n responses, with the end token if any.

        A response that a limit cut has none. One without any token is scored by its end alone.
        """
        from polyalign.rewards.shared_prefix import worth_sharing

        items = self._encode(prompts, responses, ends)
        source, texts = self.spec.model, len(items)
        say_cut(source, self.cut_prompts, texts, self.max_tokens, "the beginning of the prompt")
        say_cut(source, self.cut_responses, texts, self.longest_response, "the end of the response")
        if self.shares_prefix:
            parts = _split(items)
            if worth_sharing(parts, self.model.device):
                return self._shared(parts)
        return self._whole(items, self.batching)

    def _shared(self, texts: "list[SplitText]") -> np.ndarray:
        """The scores of texts that are cut before their response; every prompt is read once."""
        from polyalign.rewards.shared_prefix import score_suffixes

        return score_suffixes(
            texts, self.spec.batch_size, partial(self._suffix_scores, texts),
            backbone=self.model.base_model, pad=self.tokenizer.pad_token_id,
        )  # fmt: skip

    def _whole(self, items: list[tuple[list[int], list[int]]], batching: Batching) -> np.ndarray:
        """The scores of encoded texts; every text is read whole."""
        lengths = [len(prompt) + len(response) for prompt, response in items]
        return score_by_length(
            items, lengths, self.spec.batch_size, self._score,
            device=self.model.device, limit=self.max_tokens, batching=batching,
        )  # fmt: skip

    def _score(self, batch: list["SplitText"], width: int) -> "torch.Tensor":
        """Scores (b,) of texts that are padded to `width`."""
        import torch

        from polyalign.models.logprobs import response_logprobs

        logprobs, _ = response_logprobs(self.model, self.tokenizer.pad_token_id, batch, width=width)
        # Each over its own tokens: zeros after them would change the order of the sum.
        return torch.stack(
            [logs[: len(ids)].mean() for logs, (_, ids) in zip(logprobs, batch, strict=True)]
        )

    def _suffix_scores(
        self, texts: "list[SplitText]", hidden: "torch.Tensor", numbers: list[int]
    ) -> "torch.Tensor":
        """Mean log-probability (b,) of the tokens, from the last hidden states of the suffixes."""
        import torch

        from polyalign.models.logprobs import rows_at_once

        head: Any = self.model.get_output_embeddings()
        responses = [texts[number][1][1:] for number in numbers]
        ids = torch.zeros(hidden.shape[:2], dtype=torch.long)
        for row, response in enumerate(responses):
            ids[row, : len(response)] = torch.tensor(response)
        vocabulary = text_config(self.model).vocab_size
        rows = rows_at_once(vocabulary, hidden.shape[1], self.model.device)
        logs = []
        for part, at in zip(hidden.split(rows), ids.split(rows), strict=True):
            every = head(part).float().log_softmax(-1)
            logs += every.gather(-1, at.to(every.device)[..., None])[..., 0].cpu()
        # Each over its own tokens: zeros after them would change the order of the sum.
        return torch.stack(
            [row[: len(response)].mean() for row, response in zip(logs, responses, strict=True)]
        )

    def _encode(
        self, prompts: Sequence[str], responses: Sequence[str], ends: Sequence[str | None]
    ) -> list[tuple[list[int], list[int]]]:
        """Token ids of prompts and responses.

        A response that is too long loses its end; then a prompt loses its beginning, if the model
        has no places for both.
        """
        from polyalign.models.logprobs import encode_responses

        if self.spec.text == "whole":
            return self._encode_whole(prompts, responses)
        end_ids = [self.endings.id_of(end) for end in ends]
        self.cut_prompts = self.cut_responses = 0
        self.was_cut = []
        items = []
        for before, after in encode_responses(
            self.tokenizer, self.template, prompts, responses, end_ids
        ):
            response = (after or [self.end_alone])[: self.longest_response]
            self.cut_responses += len(after) > len(response)
            prompt = self._without_beginning(before, len(response))
            self.cut_prompts += len(before) > len(prompt)
            self.was_cut.append(len(after) > len(response) or len(before) > len(prompt))
            items.append((prompt, response))
        return items

    def _encode_whole(
        self, prompts: Sequence[str], responses: Sequence[str]
    ) -> list[tuple[list[int], list[int]]]:
        """Token ids of whole texts: the first, which nothing predicts, and the others."""
        pairs = zip(prompts, responses, strict=True)
        texts = [scored_text("whole", *pair) for pair in pairs]
        items = []
        self.cut_prompts = self.cut_responses = 0
        for ids in self.tokenizer(texts, verbose=False)["input_ids"]:
            first, others = ids[:1] or [self.end_alone], ids[1:] or [self.end_alone]
            items.append((first, others[: self.longest_response]))
            self.cut_responses += len(others) > self.longest_response
        return items

    @property
    def longest_response(self) -> int:
        """Tokens of a response that are scored at most: the first follows a token of the prompt."""
        longest = self.spec.max_length
        return longest if self.max_tokens is None else min(longest, self.max_tokens - 1)

    def _without_beginning(self, prompt: list[int], response: int) -> list[int]:
        """The last tokens of a prompt that leave room for a response of that many.

        A beginning-of-sequence token stays: the model has read no text without it.
        """
        if self.max_tokens is None or len(prompt) + response <= self.max_tokens:
            return prompt
        room = self.max_tokens - response
        first = prompt[:1] if room > 1 and prompt[0] == self.tokenizer.bos_token_id else []
        return first + prompt[len(prompt) - room + len(first) :]

    @cached_property
    def increments(self) -> bool:
        """Whether a key-value cache of growing texts gives this model's own scores."""
        from polyalign.rewards.incremental import increments_agree, supports_prefix_cache

        return supports_prefix_cache(self.model) and increments_agree(
            self.model, self.model.get_output_embeddings(), self.tokenizer, self.spec.model,
            self.max_tokens,
        )  # fmt: skip

    def incremental(self, encoding: SharedEncoding) -> IncrementalScorer | None:
        """Scores with a key-value cache; None if the model does not support it."""
        from polyalign.rewards.incremental import PrefixCache

        if not self.increments:
            return None
        prefixes = PrefixCache(self.model.base_model, self.tokenizer.pad_token_id)
        # Per text the log-probability of each token so far, 0 for those of the prompt.
        known: dict[int, list[float]] = {}

        def rewards(
            rows: Sequence[int],
            prompts: Sequence[str],
            texts: Sequence[Sequence[str]],
            ends: Sequence[Sequence[str]] | None = None,
        ) -> list[np.ndarray]:
            asked, responses, sizes = unrolled(prompts, texts)
            told: list[str | None] = [None] * len(responses)
            if ends is not None:
                told = [end for several in ends for end in several]
            pairs = split(self._encode(asked, responses, told), sizes)
            read = prefixes.read(rows, [[a + b for a, b in several] for several in pairs])
            logits = self.model.get_output_embeddings()(read.hidden).float()
            logs = logits.log_softmax(-1).cpu().numpy()
            results = []
            for place, (row, several) in enumerate(zip(rows, pairs, strict=True)):
                before = known.get(row, [0.0])[: read.start[place] + 1]
                found = []
                for number, (prompt_ids, response_ids) in enumerate(several):
                    ids = prompt_ids + response_ids
                    new = [
                        logs[place, read.place(place, number, token - 1), ids[token]]
                        for token in range(len(before), len(ids))
                    ]
                    every = [*before, *new]
                    found.append(np.mean(every[len(prompt_ids) :]))
                known[row] = every[: read.common[place]]
                results.append(np.array(found))
            return results

        return rewards


def _split(items: list[tuple[list[int], list[int]]]) -> "list[SplitText]":
    """Encoded texts, cut before the prompt's last token, which predicts the response's first."""
    return [(prompt[:-1], prompt[-1:] + response) for prompt, response in items]
