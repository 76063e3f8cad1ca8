"""The head that a classifier is trained from: the one of its base model, or one from the seed."""

import torch
from transformers import AutoConfig, PreTrainedModel

from polyalign.data.packages import resolve

CLASSIFIER = "SequenceClassification"


def saved_labels(source: str, revision: str | None) -> list[str] | None:
    """The labels of the head that a loadable model has, in order; None if it is no classifier."""
    config = AutoConfig.from_pretrained(resolve(source), revision=revision)
    if not any(CLASSIFIER in name for name in config.architectures or ()):
        return None
    return [str(config.id2label[number]) for number in range(config.num_labels)]


def settle_head(model: PreTrainedModel, source: str, saved: list[str], keep: bool) -> None:
    """Train the head of a classifier further, or draw a new one; the log says which.

    From the head of another task, training would start with that task's answers.

    Args:
        model: just loaded from that classifier.
        source: the classifier, for the log.
        saved: the labels of its head.
        keep: whether its head is for the same task.
    """
    labels = ", ".join(saved)
    if keep:
        print(f"{source}: its head ({labels}) is trained further", flush=True)
        return
    draw_head(model)
    print(
        f"{source}: its head is for other labels ({labels}) and is not used; a new one is drawn "
        "from the seed",
        flush=True,
    )


def head_parts(model: PreTrainedModel) -> list[str]:
    """The parts of a classifier that its base model may lack: its head, and an encoder's pooler.

    Adapters are saved without the weights below them, so these parts must be trained whole.
    """
    own = [name for name, part in _outside(model) if list(part.parameters())]
    backbone = f"{model.base_model_prefix}."
    poolers = [
        name
        for name, part in model.named_modules()
        if name.startswith(backbone) and name.endswith(".pooler") and list(part.parameters())
    ]
    return own + poolers


def _outside(model: PreTrainedModel) -> list[tuple[str, torch.nn.Module]]:
    """What a classifier has beside its backbone."""
    return [part for part in model.named_children() if part[0] != model.base_model_prefix]


@torch.no_grad()
def draw_head(model: PreTrainedModel) -> None:
    """Draw all that is not the backbone by the model's own rule for new weights."""
    for _, part in _outside(model):
        for module in part.modules():
            for weight in module.parameters(recurse=False):
                # transformers leaves weights alone that it has loaded.
                weight._is_hf_initialized = False  # type: ignore[attr-defined]
            model._init_weights(module)
