"""The parts that a step's batch is computed in: how many rows fit, and how parts add up to a batch.

On a GPU a lack of memory is an error, after which a job is tried again in smaller parts. On a CPU
the system ends the job, or the whole machine slows down. So there the parts are chosen beforehand.
"""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import Trainer

from polyalign.families.options import HELD_ON_CPU
from polyalign.models.encoding import text_config
from polyalign.train.loading import on_cuda, process_count

TILE = 2**15
"""Tokens of the vocabulary that trl's log-probabilities look at together."""

COPIES = 9
"""Float32 copies of a tile of logits while its gradient is computed (trl 1.8, on a CPU)."""

WHOLE = 3
"""Float32 copies of all logits while their gradient is computed (`train.responses`)."""


def text_bytes(
    model: Any,
    tokens: int,
    *,
    logits: bool = True,
    whole: bool = False,
    dropout: bool = False,
) -> int:
    """Bytes held for the gradient of one text: what autograd saves, and its logits.

    What autograd saves is measured by one pass of two texts through the model's body, so it is
    right for any architecture. One of them is shorter: without padding torch has another way to
    compute attention, and with dropout another one still, which keeps tokens² numbers per head.

    Args:
        model: on the CPU, its weights trained or not.
        tokens: length of the text.
        logits: whether log-probabilities of its tokens are computed.
        whole: whether they are computed for the whole vocabulary at once, as `train.responses`
            does, and not in trl's tiles.
        dropout: whether the model is trained with its dropout.
    """
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.zeros((2, tokens), dtype=torch.long)
    attention = torch.ones_like(ids)
    attention[0, 1:] = 0
    training = model.training
    model.train(dropout)
    with (
        torch.random.fork_rng(devices=[]),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        # The graph keeps what is saved, so no two storages have one address.
        graph = model.base_model(input_ids=ids, attention_mask=attention)
    del graph
    model.train(training)
    vocabulary = text_config(model).vocab_size if logits else 0
    held = WHOLE * vocabulary if whole else COPIES * min(vocabulary, TILE)
    return sum(saved.values()) // 2 + 4 * held * tokens


def fitting(model: Any, texts: int, tokens: int, device: str, **kind: bool) -> int | None:
    """Rows of which one process computes the gradient at once on a CPU; None on CUDA: no limit.

    Args:
        model: as in `text_bytes`.
        texts: texts of one row.
        tokens: of the longest text.
        device: as in `Run`.
        kind: `logits`, `whole` and `dropout` as in `text_bytes`.

    Returns:
        At least 1: a row is not divided. All processes together hold `HELD_ON_CPU` bytes at most.
    """
    if on_cuda(device):
        return None
    row = texts * text_bytes(model, tokens, **kind)
    return max(1, HELD_ON_CPU // (row * process_count()))


class WholeBatches(Trainer):
    """Weighs each part of a batch by its rows, for losses that are means over rows.

    transformers takes the mean of the parts' losses. That is not the loss of the batch where the
    parts differ in size, as in the last batch of a pass over the data. And where a model takes any
    keyword, as BERT does, it takes the loss for a sum over all labels of the batch that the model
    has divided already, and leaves the parts undivided.
    """

    divisors: Iterator[float] = iter(())

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.model_accepts_loss_kwargs = False

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        """The parts of the next batch."""
        parts, items = super().get_batch_samples(*arguments, **named)
        # Candidates lie below each other; `sizes` has one number for each row of data.
        rows = [len(part["sizes"] if "sizes" in part else part["input_ids"]) for part in parts]
        self.divisors = iter([sum(rows) / own for own in rows])
        return parts, items

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        """The gradient of a part, whose loss is divided by what it is of the batch."""
        # By this number transformers divides a loss; it is the number of parts there.
        self.current_gradient_accumulation_steps: Any = next(self.divisors)
        loss: torch.Tensor = super().training_step(*arguments, **named)
        return loss
