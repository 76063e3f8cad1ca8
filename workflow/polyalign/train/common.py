"""What the trainers share: arguments, early checks, metrics, resumption, and the final folder."""

import copy
import inspect
import json
import math
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from polyalign.errors import InputError
from polyalign.families.options import OPTIONS
from polyalign.models.encoding import prompt_ids
from polyalign.models.load import DTYPES, fused, load_model, load_tokenizer
from polyalign.models.logprobs import encode_responses
from polyalign.runtime.files import atomic_write, versions
from polyalign.settings import CHAT
from polyalign.train.divergence import REMEDY, check_number, check_weights

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
# Names that trl has for what every trainer measures.
PLAIN = {
    "completions/mean_length": "length",
    "completions/clipped_ratio": "truncated",
}
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate")
# What torch says, on a CPU and on CUDA, when it samples from probabilities that are not finite.
NOT_SAMPLED = ("probability tensor contains", "device-side assert triggered")
TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}


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

    Where a trainer has them, the columns `loss`, `reward`, `kl` (nats a response), `entropy` (nats
    a token), `length` (tokens a response) and `truncated` (share of the responses that the limit
    ended) mean the same for all trainers.
    The trainer's summary at the end is left out, but for the metrics since the row before, which
    stand there when the steps are no multiple of the logging steps.
    """
    rows = [{key: row[key] for key in row if key not in NO_METRICS} for row in state.log_history]
    rows = [row for row in rows if set(row) - {"step", "epoch"}]
    if not rows:
        return no_metrics()
    table = pd.DataFrame(rows).rename(columns=PLAIN)
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
class Lora:
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685); fields as in `options.Lora`."""

    rank: int = 16
    alpha: int = 32
    targets: tuple[str, ...] = ("all-linear",)
    merge: bool = True
    four_bit: bool = False


@dataclass(frozen=True)
class Training:
    """How a trainer optimises, whatever its loss.

    Attributes:
        learning_rate: peak of the linear schedule.
        batch_size: rows in one step (pairs, or responses), over all processes and parts.
        seed: of the order of the data and of the sampling.
        accumulation: a step's batch is computed in so many parts, to save memory.
        parts: the gradient is computed in so many times more parts, at least, since GPU memory ran
            out (`Job.microbatch_factor`); what is sampled does not depend on it.
        gradient_checkpointing: recompute activations, to save memory.
        dtype: float32, or bfloat16 to compute in it on CUDA.
        device: auto takes CUDA where there is one; cpu or cuda.
        lora: train adapters instead of all weights.
        report_to: none, tensorboard, wandb or trackio.
        log_every: steps between two rows of metrics.
        save_every: steps between two checkpoints, at least: the next multiple of `log_every`.
    """

    learning_rate: float
    batch_size: int
    seed: int = 0
    accumulation: int = 1
    parts: int = 1
    gradient_checkpointing: bool = False
    dtype: str = "float32"
    device: str = "auto"
    lora: Lora | None = None
    report_to: str = "none"
    log_every: int = 10
    save_every: int = 50


def training(
    settings: dict[str, Any], seed: int, dtype: str, device: str = "auto", *, parts: int = 1
) -> Training:
    """The `Training` that a section with `Options` in it describes.

    Args:
        settings: the section.
        seed: of the study.
        dtype: as in `Training`.
        device: as in `Training`.
        parts: of the job (`polyalign.runtime.job.Job.microbatch_factor`).
    """
    given = {name: settings[name] for name in OPTIONS}
    if given["lora"]:
        given["lora"] = Lora(**given["lora"])
    return Training(**given, seed=seed, dtype=dtype, device=device, parts=parts)


def rows_at_once(training: Training) -> int:
    """Rows of which one process computes the gradient at once.

    Raises:
        InputError: if the batch does not divide evenly, or cannot be divided further.
    """
    rows = per_process(training.batch_size, training.accumulation)
    if rows < training.parts:
        raise InputError(
            f"GPU memory ran out with {rows} rows of batch_size {training.batch_size} in parts of "
            "1; expected a step that fits the GPU: set gradient_checkpointing or lora, lower "
            "sampling.max_new_tokens, or ask for a GPU with more memory"
        )
    return next(few for few in range(rows // training.parts, 0, -1) if rows % few == 0)


def on_cuda(training: Training) -> bool:
    """Whether training runs on CUDA.

    Raises:
        InputError: if it must, and there is none.
    """
    found = torch.cuda.is_available()
    if training.device == "cuda" and not found:
        raise InputError("device 'cuda', but there is no CUDA device; set model.device to auto")
    return found and training.device != "cpu"


def take_own_gpu() -> None:
    """Make the GPU of this process the one that `cuda` means, before anything is put there."""
    if torch.cuda.is_available() and process_count() > 1:
        torch.cuda.set_device(device_index())


def training_arguments(work: Path, training: Training) -> dict[str, Any]:
    """Arguments that every trainer's config class understands.

    Trained weights stay in float32; `dtype` bfloat16 computes in it on CUDA, and changes nothing on
    a CPU, where it is slower than float32. Checkpoints lie on rows of metrics, so that a resumed
    run has the metrics of an uninterrupted one.

    Raises:
        InputError: on an unknown dtype, a device or tracker that is not there, or a batch that does
            not divide evenly.
    """
    if training.dtype not in ("float32", "bfloat16"):
        raise InputError(
            f"dtype {training.dtype!r} cannot be trained in; expected float32 or bfloat16"
        )
    package = TRACKERS.get(training.report_to)
    if package and find_spec(package) is None:
        raise InputError(
            f"report_to {training.report_to!r}, but it is not installed; pip install {package}, or "
            "set report_to to none"
        )
    cuda = on_cuda(training)
    rows = rows_at_once(training)
    return {
        "output_dir": str(work),
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        # A short memory of squared gradients suits runs of a few hundred steps.
        "adam_beta2": 0.99,
        "max_grad_norm": 1.0,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": per_process(training.batch_size, rows),
        "gradient_checkpointing": training.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "disable_dropout": True,
        "seed": training.seed,
        "use_cpu": not cuda,
        "bf16": cuda and training.dtype == "bfloat16",
        "report_to": training.report_to,
        "logging_steps": training.log_every,
        # It would put the loss before in the place of one that is not finite.
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": -(-training.save_every // training.log_every) * training.log_every,
        "save_total_limit": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": cuda,
    }


def load(
    source: str, template: str, training: Training, revision: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of `source`, checked against each other and the template.

    The model is in float32; with LoRA its frozen weights are in the format of `training`.

    Raises:
        InputError: if one cannot be loaded or they do not fit, or 4 bits are asked for without
            CUDA.
    """
    options = {**frozen_format(training), "revision": revision}
    model = ready(load_model(AutoModelForCausalLM, source, "causal model", **options))
    tokenizer = load_tokenizer(source, revision=revision)
    check_fit(model, tokenizer, template, source)
    return model, tokenizer


def frozen_format(training: Training) -> dict[str, Any]:
    """How to load the weights: float32 if they are trained, else as frugally as may be.

    Raises:
        InputError: if 4 bits are asked for where they cannot be had.
    """
    cuda = on_cuda(training)
    compute = DTYPES[training.dtype] if cuda and training.lora else torch.float32
    if training.lora is None or not training.lora.four_bit:
        return {"dtype": compute}
    if not cuda or find_spec("bitsandbytes") is None:
        lacking = "training runs on the CPU" if not cuda else "bitsandbytes is not installed"
        raise InputError(
            f"lora.four_bit is set, but {lacking}; expected a GPU and the package bitsandbytes: "
            "set four_bit to false, or run where both are"
        )
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute
    )
    return {"dtype": compute, "quantization_config": four_bit, "device_map": {"": device_index()}}


def device_index() -> int:
    """The GPU of this process."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def ready(model: PreTrainedModel) -> PreTrainedModel:
    """A policy, or its reference: both must compute alike, or the KL at the start is not 0."""
    count_positions(fused(model))
    return model


def count_positions(model: PreTrainedModel) -> None:
    """Let the model count a token's position from the first one that is not padding.

    Generation does so by itself, but a plain forward pass counts padding on the left too, so in a
    batch with prompts of several lengths a model with learnt positions would give other
    probabilities to a response than those it was sampled with.
    """
    # Not the whole model: trl and peft call its parts past the whole's hooks.
    backbone = model.base_model
    if "position_ids" not in inspect.signature(backbone.forward).parameters:
        return

    def count(module: Any, arguments: Any, named: dict[str, Any]) -> Any:
        mask = named.get("attention_mask")
        known = named.get("position_ids") is not None or named.get("past_key_values") is not None
        if isinstance(mask, torch.Tensor) and mask.ndim == 2 and not known:
            named["position_ids"] = (mask.long().cumsum(-1) - 1).clamp(min=0)
        return arguments, named

    backbone.register_forward_pre_hook(count, with_kwargs=True)


def adapters(training: Training, task: str, revision: str | None = None) -> LoraConfig | None:
    """Configuration of the adapters for peft, or None without LoRA.

    The adapters that are drawn next are those of the seed.

    Args:
        training: how to optimise.
        task: `CAUSAL_LM` or `SEQ_CLS` (which also trains the new head).
        revision: of the base model, which the adapters name.
    """
    set_seed(training.seed)
    lora = training.lora
    if lora is None:
        return None
    names: Any = "all-linear" if tuple(lora.targets) == ("all-linear",) else list(lora.targets)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=names,
        lora_dropout=0.0,
        task_type=task,
        revision=revision,
    )


def adapted(
    model: PreTrainedModel, training: Training, task: str, revision: str | None = None
) -> Any:
    """The model with adapters, or the model itself without LoRA."""
    config = adapters(training, task, revision)
    if config is None:
        return model
    if training.lora and training.lora.four_bit:
        model = prepare_model_for_kbit_training(model, training.gradient_checkpointing)
    elif training.gradient_checkpointing:
        model.enable_input_require_grads()
    return get_peft_model(model, config)


def encode_pairs(
    pairs: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, template: str
) -> list[tuple[list[int], list[int], list[int]]]:
    """Token ids of n pairs: of the rendered prompt, and of `chosen` and `rejected` with the end."""
    prompts = list(pairs["prompt"])
    chosen, rejected = (
        encode_responses(tokenizer, template, prompts, list(pairs[name]))
        for name in ("chosen", "rejected")
    )
    return [
        (asked, better, worse) for (asked, better), (_, worse) in zip(chosen, rejected, strict=True)
    ]


def check_fit(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, template: str, source: str
) -> None:
    """Raise InputError if tokenizer, model and template would train on wrong or doubled tokens."""
    if template != CHAT and "{prompt}" not in template:
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
    ids = prompt_ids(tokenizer, template, "a")
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
    model: Any = None,
) -> dict[str, Any]:
    """Train, from the last checkpoint in `work` if there is one, and put the model into `output`.

    Args:
        trainer: a trainer whose `output_dir` is `work`.
        tokenizer: goes with the model.
        output: becomes an ordinary HuggingFace folder, with `metrics.csv` in it.
        work: removed at the end.
        settings: what the record shall say about the run.
        model: what goes into `output` (None: what the trainer trains).

    Returns:
        Record: `settings`, `seconds` (of this run alone), `steps`, `resumed_from` (step or None),
        `device`, `processes`, `metrics` (the last logged value of each key), `versions`.

    Raises:
        FloatingPointError: if the training diverges; there is then no model.
    """
    trainer.add_callback(MetricsWriter(work))
    checkpoint = last_checkpoint(work)
    # No process may look for checkpoints when another one has begun to write them.
    trainer.accelerator.wait_for_everyone()
    started = time.perf_counter()
    if checkpoint:
        print(f"goes on from {checkpoint}", flush=True)
    _train(trainer, checkpoint)
    seconds = time.perf_counter() - started
    table = metrics_table(trainer.state)
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.is_main_process:
        merge = bool(settings["lora"] and settings["lora"]["merge"])
        trained = trainer.accelerator.unwrap_model(model or trainer.model)
        check_weights(trained, trainer.state.global_step)
        save(trained, tokenizer, output, table, work, merge=merge)
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
    """Train; sampling that fails for probabilities that are not finite is a divergence too."""
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except RuntimeError as fault:
        if not any(words in str(fault) for words in NOT_SAMPLED):
            raise
        # CUDA's message goes on with advice on how to debug torch.
        reason = str(fault).splitlines()[0]
        raise FloatingPointError(
            f"cannot sample after step {trainer.state.global_step} ({reason}): {REMEDY}"
        ) from fault


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


def merged(model: PeftModel) -> PreTrainedModel:
    """The base model in float32 with the adapters in its weights.

    The base is loaded anew: in memory it may be in 4 or 16 bits, and would be rounded twice.
    """
    base: Any = model.get_base_model()
    fresh = type(base).from_pretrained(
        base.config.name_or_path,
        config=plain_config(base),
        dtype=torch.float32,
        revision=model.peft_config["default"].revision,
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        result: Any = PeftModel.from_pretrained(fresh, folder)
    whole_model: PreTrainedModel = result.merge_and_unload()
    return whole_model


def plain_config(model: PreTrainedModel) -> Any:
    """The model's configuration without its quantisation."""
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config
