"""Beam search: a likely answer instead of a sample. It is no draw from the policy."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import GenerationConfig

from polyalign.models.endings import forget_own_rule
from polyalign.sampling.engines import Response, finished, left_padded
from polyalign.sampling.guided import GuidedEngine


@torch.inference_mode()
def beam_search(engine: GuidedEngine, encoded: Sequence[list[int]], beams: int) -> list[Response]:
    """The likeliest text that a beam search finds for each prompt; no temperature, no guidance.

    Args:
        engine: gives the model, its tokenizer and the longest answer.
        encoded: the prompts as the model reads them.
        beams: texts that are kept at every token.
    """
    if not encoded:
        return []
    model, tokenizer = engine.model, engine.tokenizer
    ends = forget_own_rule(model, tokenizer)
    rule = GenerationConfig(
        do_sample=False,
        num_beams=beams,
        max_new_tokens=engine.sampling.max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=tokenizer.pad_token_id,
    )
    batch = left_padded(tokenizer, encoded).to(model.device)
    output = cast(Any, model).generate(**batch, generation_config=rule)
    width = batch["input_ids"].shape[1]
    return [finished(ids, ends, tokenizer) for ids in output[:, width:].tolist()]
