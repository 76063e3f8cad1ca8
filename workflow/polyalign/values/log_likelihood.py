"""Fluency: mean log-probability of the response's tokens, the negative log of its perplexity."""

from typing import Literal

import numpy as np
from pydantic import Field

from polyalign.settings import PromptTemplate
from polyalign.values._batches import score_by_length
from polyalign.values._spec import ModelSpec


class Spec(ModelSpec):
    """Mean log-probability a token of the response, given the prompt, in nats; at most 0.

    Left out, model and template are those of the study: a fluency reward is scored under the base
    model, whichever policy answered.
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
        from polyalign.models import load_causal_lm, load_tokenizer

        self.spec = spec
        self.tokenizer = load_tokenizer(spec.model, revision=spec.revision)
        self.model = load_causal_lm(spec.model, **spec.placed())

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Mean log-probability (n,) a token of n responses, the end of the response included."""
        from polyalign.logprobs import encode_response, response_logprobs

        pairs = [
            encode_response(self.tokenizer, self.spec.template or "{prompt}", prompt, response)
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        items = [
            (prompt_ids, response_ids[: self.spec.max_length]) for prompt_ids, response_ids in pairs
        ]

        def score(batch):  # type: ignore[no-untyped-def]
            logprobs, mask = response_logprobs(self.model, self.tokenizer.pad_token_id, batch)
            return (logprobs * mask).sum(-1) / mask.sum(-1)

        lengths = [len(prompt_ids) + len(response_ids) for prompt_ids, response_ids in items]
        return score_by_length(items, lengths, self.spec.batch_size, score)
