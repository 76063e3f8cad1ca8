"""trl's fused head, which gives log-probabilities without logits, at the tokens of responses alone.

Where there is no Triton, as on a CPU, trl 1.8 computes the logits of every position, those of
prompts and of padding too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel


@contextmanager
def states_at(model: Any, asked: torch.Tensor) -> Iterator[None]:
    """Let the head of a model see only the states before some tokens, in one row.

    Args:
        model: has trl's fused head (`add_fused_lm_head`), also with adapters. It is called with
            n texts and `shift_labels` (1, m), the m tokens asked.
        asked: (n, width - 1), whether the token after each position is asked.
    """

    def keep(module: Any, arguments: Any, output: Any) -> Any:
        states = output.last_hidden_state
        output.last_hidden_state = states[:, :-1][asked.to(states.device)][None]
        return output

    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    hook = plain.base_model.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()
