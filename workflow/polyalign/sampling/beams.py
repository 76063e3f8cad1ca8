"""Beam search: a likely answer instead of a sample. It is no draw from the policy."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from polyalign.models.endings import forget_own_rule
from polyalign.models.logprobs import warpers
from polyalign.sampling.engines import Response, finished, left_padded
from polyalign.settings import SamplingRule


class _Rule(LogitsProcessor):
    """Log-probabilities of the next token under a sampling rule, for a search over them."""

    def __init__(self, sampling: SamplingRule) -> None:
        self.changes = warpers(sampling)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        return cast(Any, self.changes(input_ids, scores)).log_softmax(-1)


@torch.inference_mode()
def beam_search(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sampling: SamplingRule,
    encoded: Sequence[list[int]],
    beams: int,
) -> list[Response]:
    """The likeliest text that a beam search finds for each prompt under a sampling rule.

    The likeliest by the mean log-probability of its tokens, which is transformers' own order.

    Args:
        model: a causal language model; it loses its own sampling rule.
        tokenizer: its tokenizer.
        sampling: the rule whose probabilities are searched, with the longest answer.
        encoded: the prompts as the model reads them.
        beams: texts that are kept at every token.
    """
    if not encoded:
        return []
    ends = forget_own_rule(model, tokenizer)
    rule = GenerationConfig(
        do_sample=False,
        num_beams=beams,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=tokenizer.pad_token_id,
    )
    batch = left_padded(tokenizer, encoded).to(model.device)
    output = cast(Any, model).generate(
        **batch, generation_config=rule, logits_processor=LogitsProcessorList([_Rule(sampling)])
    )
    width = batch["input_ids"].shape[1]
    return [finished(ids, ends, tokenizer) for ids in output[:, width:].tolist()]


class BeamEngine:
    """Answers by beam search; a prompt that comes again gets the same answer, searched once.

    Args:
        model, tokenizer, sampling, beams: as in `beam_search`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sampling: SamplingRule,
        beams: int,
    ) -> None:
        self.model, self.tokenizer, self.sampling, self.beams = model, tokenizer, sampling, beams
        self._known: dict[tuple[int, ...], Response] = {}

    def __call__(
        self, prompts: Sequence[str], encoded: Sequence[list[int]], seed: int
    ) -> list[Response]:
        """One response per prompt, whatever the seed; its log-probability is 0, being certain."""
        new = [ids for ids in dict.fromkeys(map(tuple, encoded)) if ids not in self._known]
        # As many texts at once as there would be samples.
        size = max(1, len(encoded) // self.beams)
        for start in range(0, len(new), size):
            part = new[start : start + size]
            found = beam_search(
                self.model, self.tokenizer, self.sampling, list(map(list, part)), self.beams
            )
            for ids, response in zip(part, found, strict=True):
                self._known[ids] = Response(response.ids, response.text, response.truncated, 0.0)
        return [self._known[tuple(ids)] for ids in encoded]


def engine(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sampling: SamplingRule,
    palette: dict[str, Any],
    *,
    values: dict[str, dict[str, Any]],
    settings: dict[str, Any],
) -> BeamEngine:
    """The engine that answers for a policy of the family `beam`.

    Args:
        model: the base model.
        tokenizer: its tokenizer.
        sampling: the sampling rule of p0.
        palette: none, since no λ weighs anything.
        values: none.
        settings: the policy's settings: `beams`.
    """
    return BeamEngine(model, tokenizer, sampling, **settings)
