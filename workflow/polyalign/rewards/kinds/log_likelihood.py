"""Fluency: mean log-probability of the response's tokens, the negative log of its perplexity."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from polyalign.models.encoding import check_lengths
from polyalign.rewards import EndScore, IncrementalScorer, SharedEncoding
from polyalign.rewards.batches import max_tokens, score_by_length, split, unrolled
from polyalign.rewards.spec import ModelSpec
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


class Scorer(EndScore):
    """Loads the language model of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if the model cannot be loaded.
    """

    def __init__(self, spec: Spec) -> None:
        from polyalign.models.endings import endings
        from polyalign.models.load import load_causal_lm, load_tokenizer
        from polyalign.rewards.incremental import supports_prefix_cache

        self.spec = spec
        self.tokenizer = load_tokenizer(spec.model, revision=spec.revision)
        self.model = load_causal_lm(spec.model, **spec.placed())
        self.template = spec.template or "{prompt}"
        self.endings = endings(self.model.generation_config, self.tokenizer, self.template)
        usual = self.endings.usual
        self.end_alone: int = self.tokenizer.pad_token_id if usual is None else usual
        self.max_tokens = max_tokens(self.model, self.tokenizer)
        self.shares_prefix = supports_prefix_cache(self.model)

    def ended(
        self, prompts: list[str], responses: list[str], ends: Sequence[str | None]
    ) -> np.ndarray:
        """Mean log-probability (n,) of the tokens of n responses, with the end token if any.

        A response that a limit cut has none. One without any token is scored by its end alone.

        Raises:
            InputError: if prompts leave no room for a response.
        """
        import torch

        from polyalign.models.logprobs import response_logprobs
        from polyalign.rewards.shared_prefix import score_suffixes, worth_sharing

        items = self._encode(prompts, responses, ends)
        # The last token of the prompt predicts the first token of the response.
        texts = [(prompt[:-1], prompt[-1:] + response) for prompt, response in items]
        if self.shares_prefix and worth_sharing(texts, self.model.device):
            return score_suffixes(
                texts, self.spec.batch_size, partial(self._suffix_scores, texts),
                backbone=self.model.base_model, pad=self.tokenizer.pad_token_id,
            )  # fmt: skip

        def score(batch: list["SplitText"], width: int) -> torch.Tensor:
            pad = self.tokenizer.pad_token_id
            logprobs, _ = response_logprobs(self.model, pad, batch, width=width)
            # Each over its own tokens: zeros after them would change the order of the sum.
            return torch.stack(
                [logs[: len(ids)].mean() for logs, (_, ids) in zip(logprobs, batch, strict=True)]
            )

        lengths = [len(prompt_ids) + len(response_ids) for prompt_ids, response_ids in items]
        return score_by_length(
            items, lengths, self.spec.batch_size, score,
            device=self.model.device, limit=self.max_tokens,
        )  # fmt: skip

    def _suffix_scores(
        self, texts: "list[SplitText]", hidden: "torch.Tensor", numbers: list[int]
    ) -> "torch.Tensor":
        """Mean log-probability (b,) of the tokens, from the last hidden states of the suffixes."""
        import torch

        from polyalign.models.logprobs import LOGITS_AT_ONCE

        head: Any = self.model.get_output_embeddings()
        responses = [texts[number][1][1:] for number in numbers]
        ids = torch.zeros(hidden.shape[:2], dtype=torch.long)
        for row, response in enumerate(responses):
            ids[row, : len(response)] = torch.tensor(response)
        rows_at_once = max(1, LOGITS_AT_ONCE // (hidden.shape[1] * self.model.config.vocab_size))
        logs = []
        for part, at in zip(hidden.split(rows_at_once), ids.split(rows_at_once), strict=True):
            every = head(part).float().log_softmax(-1)
            logs += every.gather(-1, at.to(every.device)[..., None])[..., 0].cpu()
        # Each over its own tokens: zeros after them would change the order of the sum.
        return torch.stack(
            [row[: len(response)].mean() for row, response in zip(logs, responses, strict=True)]
        )

    def _encode(
        self, prompts: Sequence[str], responses: Sequence[str], ends: Sequence[str | None]
    ) -> list[tuple[list[int], list[int]]]:
        from polyalign.models.logprobs import encode_responses

        limit = self.max_tokens
        end_ids = [self.endings.id_of(end) for end in ends]
        encoded = encode_responses(self.tokenizer, self.template, prompts, responses, end_ids)
        check_lengths(
            prompts, [ids for ids, _ in encoded],
            source=self.spec.model, positions=limit, new_tokens=1,
        )  # fmt: skip
        items = []
        for prompt_ids, response_ids in encoded:
            left = self.spec.max_length
            if limit is not None:
                left = min(left, limit - len(prompt_ids))
            items.append((prompt_ids, (response_ids or [self.end_alone])[:left]))
        return items

    def incremental(self, encoding: SharedEncoding) -> IncrementalScorer | None:
        """Scores with a key-value cache; None if the model does not support it."""
        from polyalign.rewards.incremental import PrefixCache

        if not self.shares_prefix:
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
