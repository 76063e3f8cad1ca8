"""Models as trainers need them: checked, on their device, with adapters, merged at the end."""

import copy
import inspect
import json
import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from polyalign.data.packages import resolve
from polyalign.errors import InputError
from polyalign.families.options import Lora, TrainingOptions
from polyalign.models.encoding import max_positions, render
from polyalign.models.endings import forget_own_rule
from polyalign.models.few_bits import in_few_bits
from polyalign.models.load import DTYPES, fused, load_model, load_tokenizer
from polyalign.models.plain import check_causal
from polyalign.models.sources import ADAPTER, gguf_parts
from polyalign.runtime.files import atomic_write
from polyalign.runtime.job import is_main_process
from polyalign.settings import ALPACA, CHAT
from polyalign.train.heads import head_parts, saved_labels, settle_head
from polyalign.train.inputs import Run

NO_LIMIT = 2**31 - 1
"""Tokens of the longest text where neither model nor tokenizer has a limit."""


def process_count() -> int:
    """Processes that train together (accelerate and torchrun say so in the environment)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device_index() -> int:
    """The GPU of this process."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def on_cuda(device: str) -> bool:
    """Whether training runs on CUDA.

    Args:
        device: as in `Run`.

    Raises:
        InputError: if it must, and there is none.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise InputError("device 'cuda', but there is no CUDA device; set model.device to auto")
    return found and device != "cpu"


def take_own_gpu() -> None:
    """Let `cuda` mean the GPU of this process, before anything is put there."""
    if torch.cuda.is_available() and process_count() > 1:
        torch.cuda.set_device(device_index())


def load(
    source: str, revision: str | None, template: str, options: TrainingOptions, run: Run
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of `source`, checked against each other and the template.

    The model samples by the study's rule alone (see `forget_own_rule`). It is in float32; with LoRA
    its frozen weights are in the format of `run`.

    Raises:
        InputError: if one cannot be loaded or is not causal, they do not fit, or 4 bits are asked
            for without CUDA.
    """
    form = frozen_format(options.lora, run)
    folder = as_folder(source, run)
    model = load_model(AutoModelForCausalLM, folder, "causal model", revision=revision, **form)
    check_causal(model, source)
    model = ready(model)
    tokenizer = load_tokenizer(source, revision=revision)
    check_fit(model, tokenizer, template, source)
    forget_own_rule(model, tokenizer)
    return model, tokenizer


def load_for_labels(
    source: str,
    revision: str | None,
    template: str,
    labels: dict[int, str],
    options: TrainingOptions,
    run: Run,
    *,
    ended: bool = True,
    kept: Sequence[str] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, int]:
    """Sequence classifier with the given labels, tokenizer, and longest text in tokens.

    With `ended` an end token follows the texts (the separator, for an encoder such as BERT). The
    model is in float32; with LoRA its frozen weights are in the format of `run`. A head that
    `source` lacks is drawn from the seed, and so is one for other labels than `kept` (None: for
    another number of labels). Padding is on the right, and the model knows its token: a
    decoder such as GPT-2 finds the last token of a text by it.

    Raises:
        InputError: if one cannot be loaded, or model, tokenizer and template do not fit.
    """
    tokenizer = load_tokenizer(source, revision=revision)
    tokenizer.padding_side = "right"
    folder = as_folder(source, run)
    set_seed(run.seed)
    model = load_model(
        AutoModelForSequenceClassification,
        folder,
        "sequence classifier",
        new_head=True,
        num_labels=len(labels),
        id2label=labels,
        label2id={name: number for number, name in labels.items()},
        revision=revision,
        **frozen_format(options.lora, run),
    )
    saved = saved_labels(folder, revision)
    if saved is not None:
        same = len(saved) == len(labels) if kept is None else saved == list(kept)
        settle_head(model, source, saved, keep=same)
    check_fit(model, tokenizer, template, source, ended=ended)
    model.config.pad_token_id = tokenizer.pad_token_id
    positions = max_positions(model)
    # RoBERTa's tokenizer knows that two of its positions are not for tokens.
    known = (limit for limit in (positions, tokenizer.model_max_length) if limit is not None)
    # A tokenizer without a limit says 1e30, which does not fit into its own numbers.
    return model, tokenizer, int(min(*known, NO_LIMIT))


def as_folder(source: str, run: Run) -> str:
    """`source`, or an ordinary folder with the same weights if it is an adapter or a GGUF file.

    Trainers load their base again by its name: as the reference, and to merge adapters. The name in
    the model's configuration is that of the adapter's own base, or of the GGUF file's folder.

    Raises:
        InputError: if the model cannot be loaded.
    """
    config = Path(resolve(source)) / ADAPTER
    if not config.is_file() and gguf_parts(source) is None:
        return source
    folder = run.work / "base"
    if is_main_process() and not folder.exists():
        task = json.loads(config.read_text()).get("task_type") if config.is_file() else None
        classifies = task == "SEQ_CLS"
        kind = AutoModelForSequenceClassification if classifies else AutoModelForCausalLM
        with atomic_write(folder) as draft:
            load_model(kind, source, "model", dtype=torch.float32).save_pretrained(draft)
    while not folder.exists():  # the main process writes it whole, or ends the others
        time.sleep(1)
    return str(folder)


def frozen_format(lora: Lora | None, run: Run) -> dict[str, Any]:
    """How to load the weights: float32 if they are trained, else in the smallest format allowed.

    Raises:
        InputError: if 4 bits are asked for where they are not available.
    """
    cuda = on_cuda(run.device)
    compute = DTYPES[run.dtype] if cuda and lora else torch.float32
    if lora is None or not lora.four_bit:
        return {"dtype": compute}
    if not cuda:
        raise InputError(
            "lora.four_bit is set, but training runs on the CPU; expected a GPU and the package "
            "bitsandbytes: set four_bit to false, or run where both are"
        )
    small = in_few_bits(4, compute, "lora.four_bit")
    return {**small, "device_map": {"": device_index()}}


def ready(model: PreTrainedModel) -> PreTrainedModel:
    """A policy, or its reference: both must compute alike, or the KL at the start is not 0."""
    count_positions(fused(model))
    return model


def count_positions(model: PreTrainedModel) -> None:
    """Let the model count a token's position from the first one that is not padding.

    Generation does so by itself, but a plain forward pass counts padding on the left too. In a
    batch with prompts of several lengths, a model with learnt positions would then give a response
    other probabilities than those it was sampled with.
    """
    # Not on the whole model: trl and peft call its parts, and its own hooks would not run.
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


def adapters(
    lora: Lora | None, run: Run, task: str, revision: str | None, whole: Sequence[str] = ()
) -> LoraConfig | None:
    """Configuration of the adapters for peft, or None without LoRA.

    The adapters that are drawn next are those of the seed. LoRA: Hu et al. 2021, arXiv 2106.09685.

    Args:
        lora: the adapters that are asked for.
        run: gives the seed.
        task: `CAUSAL_LM` or `SEQ_CLS`.
        revision: of the base model, which the adapters name.
        whole: parts that are trained and saved whole, as `head_parts` gives them.
    """
    set_seed(run.seed)
    if lora is None:
        return None
    names: Any = "all-linear" if lora.targets == ["all-linear"] else lora.targets
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=names,
        lora_dropout=0.0,
        task_type=task,
        revision=revision,
        modules_to_save=list(whole) or None,
        exclude_modules=rf"(.*\.)?({'|'.join(map(re.escape, whole))})(\..*)?" if whole else None,
    )


def adapted(
    model: PreTrainedModel, options: TrainingOptions, run: Run, task: str, revision: str | None
) -> Any:
    """The model with adapters, or the model itself without LoRA; arguments as in `adapters`."""
    whole = head_parts(model) if task == "SEQ_CLS" else ()
    config = adapters(options.lora, run, task, revision, whole)
    if config is None:
        return model
    if options.lora and options.lora.four_bit:
        model = prepare_model_for_kbit_training(model, options.gradient_checkpointing)
    elif options.gradient_checkpointing:
        model.enable_input_require_grads()
    return get_peft_model(model, config)


def check_fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    source: str,
    *,
    ended: bool = True,
) -> None:
    """Raise InputError if tokenizer, model and template would train on wrong tokens.

    With `ended` an end token follows the texts.
    """
    if template not in (CHAT, ALPACA) and "{prompt}" not in template:
        raise InputError(f"template {template!r} has no {{prompt}}; put it where the prompt goes")
    if getattr(model, "_hf_peft_config_loaded", False):
        raise InputError(
            f"{source}: an adapter on the hub, which training would lose; expected a folder; "
            "download it (`hf download`), and name that folder"
        )
    embeddings: Any = model.get_input_embeddings()
    known = embeddings.num_embeddings
    largest = max(tokenizer.get_vocab().values())
    if largest >= known:
        raise InputError(
            f"{source}: its tokenizer has a token {largest}, but the model knows only {known}; "
            "expected the tokenizer that the model was trained with"
        )
    if not ended:
        return
    separator: Any = tokenizer.sep_token_id
    if tokenizer.eos_token_id is None and separator is None:
        raise InputError(
            f"{source}: its tokenizer has neither an end-of-sequence token nor a separator; "
            "expected one that ends the responses, as those of causal models do: take another "
            "model, or set eos_token in tokenizer_config.json"
        )
    # As trl encodes a prompt, which is not asked to leave the end token away. An encoder's
    # separator may stand between prompt and response.
    ids = list(tokenizer(render(tokenizer, template, "a"))["input_ids"])
    if ids[-1] == tokenizer.eos_token_id != separator:
        raise InputError(
            f"{source}: a templated prompt ends with the end token {tokenizer.eos_token!r}, so no "
            "response can follow; take it out of the template, or set add_eos_token to false in "
            "tokenizer_config.json"
        )


def merged(model: PeftModel) -> PreTrainedModel:
    """The base model in float32 with the adapters in its weights; `model` is used up.

    Where the base is in 4 or 16 bits in memory it is loaded again, or it would be rounded twice.
    """
    base: Any = model.get_base_model()
    adapters: Any = model
    if any(weight.dtype != torch.float32 for weight in base.parameters()):
        adapters = _on_whole_base(model)
    whole_model: PreTrainedModel = adapters.merge_and_unload()
    if whole_model.can_generate():  # no classifier has one
        whole_model.generation_config = base.generation_config
    return whole_model


def _on_whole_base(model: PeftModel) -> PeftModel:
    """The adapters on the base model as it is loaded in float32."""
    base: Any = model.get_base_model()
    fresh = type(base).from_pretrained(
        base.config.name_or_path,
        config=plain_config(base),
        dtype=torch.float32,
        revision=model.peft_config["default"].revision,
        # A head for other labels is among what the adapter saves whole.
        ignore_mismatched_sizes=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        result: PeftModel = PeftModel.from_pretrained(fresh, folder)
    return result


def plain_config(model: PreTrainedModel) -> Any:
    """The model's configuration without its quantisation."""
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config
