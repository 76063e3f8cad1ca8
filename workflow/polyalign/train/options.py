"""The part of the config that every trainer shares: how to optimise, and LoRA."""

from typing import Any, Literal

from pydantic import Field

from polyalign.settings import Count, Positive, Strict


class Lora(Strict):
    """Train low-rank adapters (LoRA) instead of all weights."""

    rank: Count = Field(default=16, description="Rank of an adapter.")
    alpha: Count = Field(
        default=32, description="An adapter counts alpha / rank times in its layer."
    )
    targets: list[str] = Field(
        default=["all-linear"],
        min_length=1,
        description="Ends of the names of the layers that are adapted; all-linear: every linear "
        "layer but the output.",
    )
    merge: bool = Field(
        default=True,
        description="Merge the adapters into the weights at the end; else the model's folder holds "
        "the adapters and names its base model.",
    )
    four_bit: bool = Field(
        default=False,
        description="Keep the frozen weights in 4 bits (QLoRA); needs CUDA and bitsandbytes.",
    )


class Options(Strict):
    """How a model is trained, whatever its loss."""

    learning_rate: Positive = Field(default=1.0e-6, description="Peak step size of the optimiser.")
    batch_size: Count = Field(default=32, description="Rows in one step, over all processes.")
    accumulation: Count = Field(
        default=1, description="A step's batch is computed in this many parts, to save memory."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute activations twice, to save memory."
    )
    lora: Lora | None = Field(
        default=None, description="Train adapters of low rank (default: train all weights)."
    )
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        default="none", description="Tracker to send metrics to, beside the model's own CSV file."
    )
    save_every: Count = Field(
        default=50, description="Steps between checkpoints, at least; a killed run resumes there."
    )


OPTIONS = frozenset(Options.model_fields)


def training(
    settings: dict[str, Any], seed: int, dtype: str, device: str = "auto", *, parts: int = 1
) -> Any:
    """The `polyalign.train.common.Training` that a section with `Options` in it describes.

    Args:
        settings: the section.
        seed: of the study.
        dtype: as in `Training`.
        device: as in `Training`.
        parts: of the job (`polyalign.job.Job.parts`).
    """
    from polyalign.train.common import Lora as Adapters
    from polyalign.train.common import Training

    given = {name: settings[name] for name in OPTIONS}
    if given["lora"]:
        given["lora"] = Adapters(**given["lora"])
    return Training(**given, seed=seed, dtype=dtype, device=device, parts=parts)
