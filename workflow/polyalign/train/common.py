"""What the trainers share: arguments, metrics, checkpoints, and the folder of the model."""

import json
import math
import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm
from transformers import (
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from polyalign.errors import InputError
from polyalign.families.options import TrainingOptions
from polyalign.models.endings import Endings
from polyalign.models.logprobs import encode_responses
from polyalign.models.sources import ADAPTER
from polyalign.runtime.files import atomic_write, versions, write_json
from polyalign.train.divergence import REMEDY, check_number, check_weights
from polyalign.train.environment import leave_environment_alone, look_for_packages_once
from polyalign.train.inputs import Run
from polyalign.train.loading import merged, on_cuda, process_count

METRICS = "metrics.csv"
# The trainer's summary of a run, a counter of trl that starts at 0 again when a run is resumed, and
# times: equal runs have equal metrics.
NO_METRICS = {
    "num_tokens",
    "train_runtime",
    "train_samples_per_second",
    "train_steps_per_second",
    "train_loss",
    "total_flos",
    "step_time",
    "eval_num_tokens",
    "eval_runtime",
    "eval_samples_per_second",
    "eval_steps_per_second",
}
# trl's names for what every trainer measures.
PLAIN = {
    "completions/mean_length": "length",
    "completions/clipped_ratio": "truncated",
}
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate")
# What torch says, on a CPU and on CUDA, when it samples from probabilities that are not finite.
NOT_SAMPLED = (
    "probability tensor contains",
    "device-side assert triggered",
    "probabilities of the next token are not",
)
TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}

leave_environment_alone()
look_for_packages_once()


class StepBar(TrainerCallback):
    """A bar of the steps in the log; that of transformers has no unit, and no minimal interval."""

    bar: Any = None

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Move on by what was done since the last call; a resumed run starts where it was."""
        if not state.is_world_process_zero:
            return
        if self.bar is None:
            done = state.global_step - 1
            self.bar = tqdm(total=state.max_steps, initial=done, unit="step", mininterval=5)
        self.bar.update(state.global_step - self.bar.n)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Show the last step."""
        if self.bar is not None:
            self.bar.close()


class MetricsWriter(TrainerCallback):
    """Keep `metrics.csv` in a folder up to date: one row per logged step, one column per key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Write all rows again: a resumed run brings its earlier rows with it in `state`.

        Raises:
            FloatingPointError: if the loss or its gradient is not finite.
        """
        if state.is_world_process_zero:
            with atomic_write(self.folder / METRICS) as draft:
                metrics_table(state).to_csv(draft, index=False)
        # Before a checkpoint of this step is written, and by all processes, which log the same.
        logged = state.log_history[-1]
        for name in ("loss", "grad_norm"):
            check_number(name, float(logged.get(name, 0.0)), state.global_step)


def metrics_table(state: TrainerState) -> pd.DataFrame:
    """Logged values by step (ascending), columns sorted behind `step`.

    Where a trainer has them, the columns `loss`, `reward`, `kl` (nats per response), `entropy`
    (nats per token), `length` (tokens per response) and `truncated` (share of the responses that
    the limit ended) mean the same for all trainers.
    The trainer's summary at the end is left out. Its metrics since the row before are kept: they
    are there when the steps are not a multiple of the logging steps.
    """
    rows = [{key: row[key] for key in row if key not in NO_METRICS} for row in state.log_history]
    rows = [row for row in rows if set(row) - {"step", "epoch"}]
    # What held-out texts say of a step belongs to its row.
    for judged in [row for row in rows if "eval_loss" in row]:
        same = [row for row in rows if row["step"] == judged["step"] and row is not judged]
        if same:
            same[0].update(judged)
            rows.remove(judged)
    if not rows:
        return no_metrics()
    table = pd.DataFrame(rows).rename(columns=PLAIN)
    return table[["step", *sorted(str(name) for name in table if name != "step")]]


def no_metrics() -> pd.DataFrame:
    """The metrics of a run without a step."""
    return pd.DataFrame({"step": []})


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


def rows_at_once(options: TrainingOptions, run: Run, most: int | None = None) -> int:
    """Rows of which one process computes the gradient at once: at most `most`, if it is given.

    Raises:
        InputError: if the batch does not divide evenly, or cannot be divided further.
    """
    rows = per_process(options.batch_size, options.accumulation)
    factor = run.microbatch_factor
    if rows < factor:
        raise InputError(
            f"GPU memory ran out with {rows} rows of batch_size {options.batch_size} in parts of "
            "1; expected a step that fits the GPU: set gradient_checkpointing or lora, lower "
            "sampling.max_new_tokens, or ask for a GPU with more memory"
        )
    most = min(rows // factor, most or rows)
    few = next(few for few in range(most, 0, -1) if rows % few == 0)
    if few < rows // factor:
        print(f"a step's {rows} rows are computed {few} at a time, to save memory", flush=True)
    return few


def training_arguments(
    options: TrainingOptions, run: Run, most: int | None = None
) -> dict[str, Any]:
    """Arguments that every trainer's config class understands.

    Trained weights stay in float32; `dtype` bfloat16 computes in it on CUDA, and changes nothing on
    a CPU, where it is slower than float32. Checkpoints are written at steps that have a row of
    metrics, so that a resumed run has the metrics of an uninterrupted one.

    Args:
        options: how to optimise.
        run: how the training runs.
        most: most rows of which one process computes the gradient at once (see `train.parts`).

    Raises:
        InputError: if the dtype is unknown, the device or tracker is missing, or the batch does
            not divide evenly.
    """
    if run.dtype not in ("float32", "bfloat16"):
        raise InputError(f"dtype {run.dtype!r} cannot be trained in; expected float32 or bfloat16")
    package = TRACKERS.get(options.report_to)
    if package and find_spec(package) is None:
        raise InputError(
            f"report_to {options.report_to!r}, but it is not installed; pip install {package}, or "
            "set report_to to none"
        )
    cuda = on_cuda(run.device)
    rows = rows_at_once(options, run, most)
    return {
        "output_dir": str(run.work),
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        # A short memory of squared gradients suits runs of a few hundred steps.
        "adam_beta2": 0.99,
        "max_grad_norm": 1.0,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": per_process(options.batch_size, rows),
        "gradient_checkpointing": options.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "disable_dropout": True,
        "seed": run.seed,
        "use_cpu": not cuda,
        "bf16": cuda and run.dtype == "bfloat16",
        "report_to": options.report_to,
        "logging_steps": run.log_every,
        # It would replace a loss that is not finite by the one before it.
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": -(-options.save_every // run.log_every) * run.log_every,
        "save_total_limit": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": cuda,
    }


def recorded(options: TrainingOptions, run: Run) -> dict[str, Any]:
    """What a model's manifest says about `options` and `run`."""
    lora = options.lora and options.lora.model_dump()
    return {
        "learning_rate": options.learning_rate,
        "batch_size": options.batch_size,
        "seed": run.seed,
        "accumulation": options.accumulation,
        "parts": run.microbatch_factor,
        "gradient_checkpointing": options.gradient_checkpointing,
        "dtype": run.dtype,
        "device": run.device,
        "lora": lora,
        "report_to": options.report_to,
        "log_every": run.log_every,
        "save_every": options.save_every,
    }


def encode_pairs(
    pairs: pd.DataFrame, ending: Endings, template: str
) -> list[tuple[list[int], list[int], list[int]]]:
    """Token ids of n pairs: of the rendered prompt, and of `chosen` and `rejected` with the end.

    Args:
        pairs: `prompt`, `chosen`, `rejected`, and for sampled responses `chosen_end` and
            `rejected_end`: the end token as text, empty where a limit cut the response. Without
            these columns, as in a data set, every response ends as is usual for the model.
        ending: how responses end for the model, with its tokenizer.
        template: text around a prompt.
    """
    prompts = list(pairs["prompt"])

    def encoded(name: str) -> list[tuple[list[int], list[int]]]:
        ends = pairs.get(f"{name}_end", [None] * len(pairs))
        end_ids = [ending.id_of(end) for end in ends]
        return encode_responses(ending.tokenizer, template, prompts, list(pairs[name]), end_ids)

    chosen, rejected = encoded("chosen"), encoded("rejected")
    return [
        (asked, better, worse) for (asked, better), (_, worse) in zip(chosen, rejected, strict=True)
    ]


def last_checkpoint(work: Path) -> str | None:
    """The newest complete checkpoint in `work`; a half-written one is removed.

    The trainer's state is the last file of a checkpoint, so a checkpoint that has it is complete.
    """
    found = sorted(work.glob("checkpoint-*"), key=lambda folder: -int(folder.name.split("-")[1]))
    for folder in found:
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return str(folder)
    return None


def train_and_save(
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerBase,
    output: Path,
    work: Path,
    settings: dict[str, Any],
    model: Any = None,
) -> dict[str, Any]:
    """Train, from the last checkpoint in `work` if there is one, and write the model to `output`.

    Args:
        trainer: a trainer whose `output_dir` is `work`.
        tokenizer: goes with the model.
        output: becomes an ordinary HuggingFace folder, with `metrics.csv` in it.
        work: removed at the end.
        settings: the part of the record that says how the model was trained.
        model: what is written to `output` (None: the model of the trainer).

    Returns:
        Record: `settings`, `seconds` (of this run alone), `steps`, `resumed_from` (step or None),
        `device`, `processes`, `metrics` (the last logged value of each key), `versions`.

    Raises:
        FloatingPointError: if the training diverges; there is then no model.
    """
    trainer.add_callback(MetricsWriter(work))
    trainer.add_callback(StepBar())
    checkpoint = last_checkpoint(work)
    # Every process must look for checkpoints before one of them starts to write a new one.
    trainer.accelerator.wait_for_everyone()
    started = time.perf_counter()
    if checkpoint:
        print(f"resumes from {checkpoint}", flush=True)
    _train(trainer, checkpoint)
    seconds = time.perf_counter() - started
    table = metrics_table(trainer.state)
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.is_main_process:
        merge = bool(settings["lora"] and settings["lora"]["merge"])
        trained = trainer.accelerator.unwrap_model(model or trainer.model)
        check_weights(trained, trainer.state.global_step)
        save(trained, tokenizer, output, table, work, merge=merge)
        if settings["lora"] and not merge:
            name_base(output, settings.get("model") or settings["base"])
        shutil.rmtree(work)
    trainer.accelerator.wait_for_everyone()
    last = table.ffill().iloc[-1].to_dict() if len(table) else {}
    return {
        "settings": settings,
        "seconds": round(seconds, 2),
        "steps": trainer.state.global_step,
        "resumed_from": int(checkpoint.rsplit("-", 1)[1]) if checkpoint else None,
        "device": trainer.args.device.type,
        "processes": process_count(),
        "metrics": {name: float(value) for name, value in last.items() if math.isfinite(value)},
        "versions": versions(*PACKAGES),
    }


def _train(trainer: Trainer, checkpoint: str | None) -> None:
    """Train; sampling that fails because probabilities are not finite is a divergence too."""
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except (RuntimeError, FloatingPointError) as error:
        if not any(words in str(error) for words in NOT_SAMPLED):
            raise
        # The other lines of CUDA's message are advice on how to debug torch.
        reason = str(error).splitlines()[0]
        raise FloatingPointError(
            f"cannot sample after step {trainer.state.global_step} ({reason}): {REMEDY}"
        ) from error


def save(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    output: Path,
    table: pd.DataFrame,
    work: Path,
    *,
    merge: bool,
) -> None:
    """Write model, tokenizer, metrics, and tensorboard's `runs` if there are any, as a whole.

    Adapters are merged into their base model, or else written as they are.
    """
    with atomic_write(output) as draft:
        (merged(model) if merge else model).save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        table.to_csv(draft / METRICS, index=False)
        if (work / "runs").is_dir():
            shutil.copytree(work / "runs", draft / "runs")


def name_base(output: Path, source: str) -> None:
    """Let adapters name the base model of the config: peft names the folder that it was read from.

    For an adapter or a GGUF file that folder was in `work` (see `loading.as_folder`). And peft
    lists the layers in an order that differs from run to run; equal adapters have equal files.
    """
    config = output / ADAPTER
    settings = json.loads(config.read_text(encoding="utf-8"))
    if isinstance(settings["target_modules"], list):
        settings["target_modules"].sort()
    write_json(config, {**settings, "base_model_name_or_path": source})
