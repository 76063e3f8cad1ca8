"""What the trainers share: arguments, early checks, metrics, resumption, and the final folder."""

import json
import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from polyalign.errors import InputError
from polyalign.files import versions, whole
from polyalign.models import load_causal_lm, load_tokenizer

METRICS = "metrics.csv"
# The trainer's summary of a run, and a counter of trl that begins anew when a run is resumed.
NO_METRICS = {
    "num_tokens",
    "train_runtime",
    "train_samples_per_second",
    "train_steps_per_second",
    "train_loss",
    "total_flos",
}
PACKAGES = ("torch", "transformers", "trl", "accelerate")


class MetricsWriter(TrainerCallback):
    """Keep `metrics.csv` in a folder up to date: a row a logged step, a column a logged key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Write all rows again: a resumed run brings its earlier rows with it in `state`."""
        if state.is_world_process_zero:
            with whole(self.folder / METRICS) as draft:
                metrics_table(state).to_csv(draft, index=False)


def metrics_table(state: TrainerState) -> pd.DataFrame:
    """Logged values by step (ascending), columns sorted behind `step`.

    The trainer's summary at the end is left out, but for the metrics since the row before, which
    stand there when the steps are no multiple of the logging steps.
    """
    rows = [{key: row[key] for key in row if key not in NO_METRICS} for row in state.log_history]
    rows = [row for row in rows if set(row) - {"step", "epoch"}]
    if not rows:
        return no_metrics()
    table = pd.DataFrame(rows)
    return table[["step", *sorted(str(name) for name in table if name != "step")]]


def no_metrics() -> pd.DataFrame:
    """The metrics of a run without a step."""
    return pd.DataFrame({"step": []})


def process_count() -> int:
    """Processes that train together (accelerate and torchrun say so in the environment)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def per_process(batch_size: int, accumulation: int) -> int:
    """Rows that one process takes at once, so that a step sees `batch_size` rows in all.

    Raises:
        InputError: if the batch does not divide evenly.
    """
    parts = accumulation * process_count()
    if batch_size % parts:
        raise InputError(
            f"batch_size {batch_size} cannot be divided by {accumulation} accumulation steps on "
            f"{process_count()} processes; expected a multiple of {parts}: change one of them"
        )
    return batch_size // parts


@dataclass(frozen=True)
class Training:
    """How a trainer optimises, whatever its loss.

    Attributes:
        learning_rate: peak of the linear schedule.
        batch_size: rows in one step (pairs, or responses), over all processes and parts.
        seed: of the order of the data and of the sampling.
        accumulation: a step's batch is computed in so many parts, to save memory.
        gradient_checkpointing: recompute activations, to save memory.
        dtype: float32, or bfloat16 to compute in it on CUDA.
        report_to: none, tensorboard, wandb or trackio.
        log_every: steps between two rows of metrics.
        save_every: steps between two checkpoints.
    """

    learning_rate: float
    batch_size: int
    seed: int = 0
    accumulation: int = 1
    gradient_checkpointing: bool = False
    dtype: str = "float32"
    report_to: str = "none"
    log_every: int = 10
    save_every: int = 50


def training_arguments(work: Path, training: Training) -> dict[str, Any]:
    """Arguments that every trainer's config class understands.

    Weights stay in float32; `dtype` bfloat16 computes in it on CUDA, and changes nothing on a CPU,
    where it is slower than float32.

    Raises:
        InputError: on an unknown dtype, or a batch that does not divide evenly.
    """
    if training.dtype not in ("float32", "bfloat16"):
        raise InputError(
            f"dtype {training.dtype!r} cannot be trained in; expected float32 or bfloat16"
        )
    cuda = torch.cuda.is_available()
    return {
        "output_dir": str(work),
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        # A short memory of squared gradients suits runs of a few hundred steps.
        "adam_beta2": 0.99,
        "max_grad_norm": 1.0,
        "per_device_train_batch_size": per_process(training.batch_size, training.accumulation),
        "gradient_accumulation_steps": training.accumulation,
        "gradient_checkpointing": training.gradient_checkpointing,
        "disable_dropout": True,
        "seed": training.seed,
        "use_cpu": not cuda,
        "bf16": cuda and training.dtype == "bfloat16",
        "report_to": training.report_to,
        "logging_steps": training.log_every,
        "save_strategy": "steps",
        "save_steps": training.save_every,
        "save_total_limit": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": cuda,
    }


def load(source: str, template: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (float32) and tokenizer of `source`, checked against each other and the template.

    Raises:
        InputError: if one cannot be loaded or they do not fit.
    """
    model, tokenizer = load_causal_lm(source), load_tokenizer(source)
    check_fit(model, tokenizer, template, source)
    return model, tokenizer


def check_fit(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, template: str, source: str
) -> None:
    """Raise InputError if tokenizer, model and template would train on wrong or doubled tokens."""
    if "{prompt}" not in template:
        raise InputError(f"template {template!r} has no {{prompt}}; put it where the prompt goes")
    embeddings: Any = model.get_input_embeddings()
    known = embeddings.num_embeddings
    largest = max(tokenizer.get_vocab().values())
    if largest >= known:
        raise InputError(
            f"{source}: its tokenizer has a token {largest}, but the model knows only {known}; "
            "expected the tokenizer that the model was trained with"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(f"{source}: its tokenizer has no end-of-sequence token; set eos_token")
    ids = tokenizer(template.format(prompt="a"))["input_ids"]
    if ids[-1] == tokenizer.eos_token_id:
        raise InputError(
            f"{source}: a templated prompt ends with the end token {tokenizer.eos_token!r}, so no "
            "response can follow; take it out of the template, or set add_eos_token to false in "
            "tokenizer_config.json"
        )
    if ids[0] == tokenizer.bos_token_id and ids[1:2] == ids[:1]:
        raise InputError(
            f"{source}: the tokenizer puts {tokenizer.bos_token!r} before every text, and the "
            "template does so too; take it out of the template"
        )


def last_checkpoint(work: Path) -> str | None:
    """The newest complete checkpoint in `work`; a half-written one is removed.

    The trainer's state is the last file of a checkpoint, so a checkpoint that has it is complete.
    """
    found = sorted(work.glob("checkpoint-*"), key=lambda folder: -int(folder.name.split("-")[1]))
    for folder in found:
        try:
            json.loads((folder / "trainer_state.json").read_text())
        except (OSError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return str(folder)
    return None


def run(
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerBase,
    output: Path,
    work: Path,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Train, from the last checkpoint in `work` if there is one, and put the model into `output`.

    Args:
        trainer: a trainer whose `output_dir` is `work`.
        tokenizer: goes with the model.
        output: becomes an ordinary HuggingFace folder, with `metrics.csv` in it.
        work: removed at the end.
        settings: what the record shall say about the run.

    Returns:
        Record: `settings`, `seconds` (of this run alone), `steps`, `resumed_from` (step or None),
        `device`, `metrics` (the last logged value of each key), `versions`.
    """
    trainer.add_callback(MetricsWriter(work))
    checkpoint = last_checkpoint(work)
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.perf_counter() - started
    table = metrics_table(trainer.state)
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.is_main_process:
        save(trainer.accelerator.unwrap_model(trainer.model), tokenizer, output, table, work)
        shutil.rmtree(work)
    trainer.accelerator.wait_for_everyone()
    last = table.ffill().iloc[-1].to_dict() if len(table) else {}
    return {
        "settings": settings,
        "seconds": round(seconds, 2),
        "steps": trainer.state.global_step,
        "resumed_from": int(checkpoint.rsplit("-", 1)[1]) if checkpoint else None,
        "device": trainer.args.device.type,
        "metrics": {name: float(value) for name, value in last.items() if math.isfinite(value)},
        "versions": versions(*PACKAGES),
    }


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    output: Path,
    table: pd.DataFrame,
    work: Path,
) -> None:
    """Write model, tokenizer, metrics, and tensorboard's `runs` if there are any, as a whole."""
    with whole(output) as draft:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        table.to_csv(draft / METRICS, index=False)
        if (work / "runs").is_dir():
            shutil.copytree(work / "runs", draft / "runs")
