"""Fluency: mean log-probability of the response's tokens, the negative log of its perplexity."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from polyalign.errors import InputError
from polyalign.rewards.batches import room, score_by_length, split, unrolled
from polyalign.rewards.spec import ModelSpec
from polyalign.settings import PromptTemplate

if TYPE_CHECKING:
    import torch

    from polyalign.rewards.incremental import Follower
    from polyalign.rewards.shared_prefix import Halves


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


class Scorer:
    """Loads the language model of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if the model cannot be loaded.
    """

    def __init__(self, spec: Spec) -> None:
        from polyalign.models.load import load_causal_lm, load_tokenizer
        from polyalign.rewards.incremental import can_follow

        self.spec = spec
        self.tokenizer = load_tokenizer(spec.model, revision=spec.revision)
        self.model = load_causal_lm(spec.model, **spec.placed())
        self.room = room(self.model, self.tokenizer)
        self.begins_alike = can_follow(self.model)

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Mean log-probability (n,) a token of n responses, the end of the response included."""
        import torch

        from polyalign.models.logprobs import response_logprobs
        from polyalign.rewards.shared_prefix import score_after_beginnings, worth_sharing

        items = self._encode(prompts, responses)
        # The last token of the prompt says how likely the first of the response is.
        texts = [(prompt[:-1], prompt[-1:] + response) for prompt, response in items]
        if self.begins_alike and worth_sharing(texts, self.model.device):
            return score_after_beginnings(
                texts, self.spec.batch_size, partial(self._after, texts),
                backbone=self.model.base_model, pad=self.tokenizer.pad_token_id,
            )  # fmt: skip

        def score(batch, width):  # type: ignore[no-untyped-def]
            pad = self.tokenizer.pad_token_id
            logprobs, _ = response_logprobs(self.model, pad, batch, width=width)
            # Each over its own tokens: with zeros behind them it would add up in another order.
            return torch.stack(
                [logs[: len(ids)].mean() for logs, (_, ids) in zip(logprobs, batch, strict=True)]
            )

        lengths = [len(prompt_ids) + len(response_ids) for prompt_ids, response_ids in items]
        return score_by_length(
            items, lengths, self.spec.batch_size, score, device=self.model.device, limit=self.room
        )

    def _after(
        self, texts: "list[Halves]", hidden: "torch.Tensor", numbers: list[int]
    ) -> "torch.Tensor":
        """Mean log-probability (b,) a token from the last hidden states of the second halves."""
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
        # Each over its own tokens: with zeros behind them it would add up in another order.
        return torch.stack(
            [row[: len(response)].mean() for row, response in zip(logs, responses, strict=True)]
        )

    def _encode(
        self, prompts: Sequence[str], responses: Sequence[str]
    ) -> list[tuple[list[int], list[int]]]:
        from polyalign.models.logprobs import encode_responses

        template = self.spec.template or "{prompt}"
        encoded = encode_responses(self.tokenizer, template, prompts, responses)
        items = []
        for prompt, (prompt_ids, response_ids) in zip(prompts, encoded, strict=True):
            left = self.spec.max_length
            if self.room is not None:
                left = min(left, self.room - len(prompt_ids))
            if left < 1:
                raise InputError(
                    f"{self.spec.model} has {self.room} places for tokens, and the prompt "
                    f"{prompt[:60]!r} takes {len(prompt_ids)}; expected room for a response: "
                    "shorten or leave out such prompts"
                )
            items.append((prompt_ids, response_ids[:left]))
        return items

    def follow(self) -> "Follower | None":
        """Rewards of growing texts with a key-value cache; None if the model cannot have one."""
        from polyalign.rewards.incremental import Prefixes

        if not self.begins_alike:
            return None
        prefixes = Prefixes(self.model.base_model, self.tokenizer.pad_token_id)
        # By text: the log-probability of each token so far, 0 for those of the prompt.
        known: dict[int, list[float]] = {}

        def rewards(
            rows: Sequence[int], prompts: Sequence[str], texts: Sequence[Sequence[str]]
        ) -> list[np.ndarray]:
            asked, responses, sizes = unrolled(prompts, texts)
            pairs = split(self._encode(asked, responses), sizes)
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
