"""How RLOO and GRPO draw and read responses, in place of trl's own ways."""

from typing import Any

import torch
from trl.models import unwrap_model_for_generation

from polyalign.data.keys import batch_seed
from polyalign.models.encoding import text_config
from polyalign.sampling.drawing import sampler
from polyalign.sampling.engines import Engine
from polyalign.train import rl
from polyalign.train.responses import (
    Responses,
    by_length,
    response_logits,
    sampled,
    spread,
    token_entropies,
    token_logprobs,
)

Read = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
"""Log-probabilities and entropies of tokens, (b, T), and an auxiliary loss of the model."""


class Drawn:
    """Draws the responses of a batch as the workflow does: ended texts leave the computation."""

    task: rl.Task
    draws: Engine | None = None
    known: torch.Tensor | None = None

    def drawn(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        """Token ids of one response per prompt, up to and including the end token."""
        trainer: Any = self
        with unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
        ) as policy:
            if self.draws is None:
                self.draws = sampler(policy, trainer.processing_class, self.task.sampling)
            what = f"rloo/{trainer.args.process_index}"
            seed = batch_seed(trainer.args.seed, what, trainer.state.global_step)
            # The sampler reads a prompt's text only if a reward guides it.
            responses = self.draws([""] * len(prompt_ids), prompt_ids, seed)
        logprobs = [response.logprob for response in responses]
        # On a GPU, bfloat16 gives other numbers with a cache than without.
        exact = rl.is_exact(self.task.sampling) and None not in logprobs
        on_cpu = trainer.args.device.type == "cpu"
        self.known = torch.tensor(logprobs).float() if exact and on_cpu else None
        return [response.ids for response in responses]


class Narrowed:
    """Reads responses on a CPU without their padding.

    There trl computes the logits of padding and prompts as well.
    """

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        ids: torch.Tensor,
        attention: torch.Tensor,
        length: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **named: Any,
    ) -> Read:
        """Log-probabilities and entropies, (b, length), of the last tokens of b texts."""
        trainer: Any = self
        if ids.device.type != "cpu" or compute_aux_loss:
            plain: Any = super()
            told = (batch_size, compute_entropy, compute_aux_loss)
            found: Read = plain._get_per_token_logps_and_entropies(
                model, ids, attention, length, *told, **named
            )
            return found

        def read(part: Responses) -> tuple[torch.Tensor, ...]:
            with trainer.accelerator.autocast():
                logits, _ = response_logits(model, part)
            every = spread(logits, trainer.temperature)
            logprobs = token_logprobs(every, part)
            return (logprobs, token_entropies(every)) if compute_entropy else (logprobs,)

        logprobs, *entropies = by_length(
            read, sampled(ids, attention, length), text_config(trainer.model).vocab_size
        )
        return logprobs, entropies[0] if entropies else None, None
