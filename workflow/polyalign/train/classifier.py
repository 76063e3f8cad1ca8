"""Models of labelled or rated texts, and what reward models share with them.

They read the bare text, as most classifiers do; a reward model reads the end-of-sequence token
after it as well (see `reward`).
"""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    TrainingArguments,
)

from polyalign.data.tables import write_table
from polyalign.families.options import LabelTable, RewardTraining, TrainingOptions
from polyalign.runtime.job import is_main_process
from polyalign.train import common
from polyalign.train.card import TABLE, outputs_card
from polyalign.train.inputs import Run
from polyalign.train.loading import adapted, load_for_labels
from polyalign.train.parts import WholeBatches, fitting

EVALUATED_AT_ONCE = 64


@torch.inference_mode()
def predict(model: Any, tokenizer: PreTrainedTokenizerBase, texts: list[list[int]]) -> np.ndarray:
    """Logits (n, labels), float64, of n texts of token ids."""
    model.eval()
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    logits = np.empty((len(texts), model.config.num_labels))
    starts = range(0, len(order), EVALUATED_AT_ONCE)
    for start in tqdm(starts, unit="batch", desc="held out", mininterval=5):
        rows = order[start : start + EVALUATED_AT_ONCE]
        batch = tokenizer.pad({"input_ids": [texts[row] for row in rows]}, return_tensors="pt")
        output = model(**{name: ids.to(model.device) for name, ids in batch.items()})
        logits[rows] = output.logits.double().cpu().numpy()
    return logits


def reward_arguments(section: RewardTraining, run: Run, most: int | None = None) -> dict[str, Any]:
    """As `common.training_arguments`, with what a reward model has settings for.

    The held-out data are looked at in steps that have a row of metrics.

    Raises:
        InputError: as `common.training_arguments`.
    """
    shared = common.training_arguments(section, run, most)
    # transformers takes a warm-up below 1 as a share of the steps.
    shared |= {
        "num_train_epochs": section.epochs,
        "optim": section.optimiser,
        "lr_scheduler_type": "constant_with_warmup"
        if section.schedule == "constant"
        else section.schedule,
        "warmup_steps": section.warmup,
        "weight_decay": section.weight_decay,
    }
    if section.evaluate_every is not None:
        shared |= {
            "eval_strategy": "steps",
            "eval_steps": -(-section.evaluate_every // run.log_every) * run.log_every,
            "per_device_eval_batch_size": shared["per_device_train_batch_size"],
        }
    return shared


def reward_settings(section: RewardTraining, run: Run) -> dict[str, Any]:
    """What the record of a reward model says about its training."""
    names = {*RewardTraining.model_fields} - {*TrainingOptions.model_fields}
    return {**section.model_dump(include=names), **common.recorded(section, run)}


PROBLEMS: dict[str, Any] = {
    "classes": "single_label_classification",
    "several": "multi_label_classification",
    "ratings": "regression",
}
"""Kind of labels → transformers' name of the problem, which sets the loss: the cross-entropy of a
softmax, that of a sigmoid for each label, or the squared error."""


def train_classifier(
    base: str,
    examples: pd.DataFrame,
    table: LabelTable,
    section: RewardTraining,
    run: Run,
    output: Path,
    *,
    revision: str | None = None,
) -> dict[str, Any]:
    """Train a model of labelled or rated texts and judge it on held-out texts.

    Texts are cut at the model's limit, or at that of `section`.

    Args:
        base: a HuggingFace folder or a hub id; any model with a sequence-classification class. A
            head for the names of `table` is trained further; any other is drawn from the seed.
        examples: as `polyalign.data.labels.labelled_texts` returns them.
        table: what the labels are, and their names, which the model's config gets.
        section: how to optimise; a batch counts texts.
        run: how the training runs.
        output: folder of the finished model (one output for each name, tokenizer, `metrics.csv`).
        revision: of the base model on the hub.

    Returns:
        The record of `common.train_and_save`, with `counts` of the texts, `card` (see
        `outputs_card`; its table is in `output`) and of that `held_out`: `texts`, and `accuracy`
        and `log_loss`, or `rmse`.

    Raises:
        InputError: if base or batch do not fit.
    """
    settings = {
        "base": base,
        "labels": table.model_dump(),
        "revision": revision,
        **reward_settings(section, run),
    }
    model, tokenizer, longest = load_for_labels(
        base, revision, "{prompt}", dict(enumerate(table.listed)), section, run,
        # The default names say nothing of the task.
        ended=False, kept=table.names or [],
    )  # fmt: skip
    longest = min(longest, section.max_length or longest)
    model.config.problem_type = PROBLEMS[table.kind]
    parts = dict(tuple(examples.groupby("split")))
    ids = {
        split: tokenizer(list(part["text"]), truncation=True, max_length=longest)["input_ids"]
        for split, part in parts.items()
    }
    rows = {
        split: datasets.Dataset.from_dict(
            {"input_ids": ids[split], "labels": parts[split]["label"].tolist()}
        )
        for split in ids
    }
    widest = max(map(len, ids["train"]))
    most = fitting(model, 1, widest, run.device, logits=False, dropout=True)
    shared = reward_arguments(section, run, most)
    # Only trl's own arguments can turn dropout off; here the base model decides.
    del shared["disable_dropout"]
    trainer = WholeBatches(
        model=adapted(model, section, run, "SEQ_CLS", revision),
        args=TrainingArguments(**shared),
        train_dataset=rows["train"],
        eval_dataset=rows["test"] if section.evaluate_every else None,
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    record = common.train_and_save(trainer, tokenizer, output, run.work, settings)
    logits = predict(trainer.model, tokenizer, ids["test"])
    counts = {split: len(rows) for split, rows in ids.items()}
    held_out = parts["test"].drop(columns="split").reset_index(drop=True)
    for n, name in enumerate(table.listed):
        held_out[f"logit:{name}"] = logits[:, n]
    card = outputs_card(held_out, table.kind, table.listed)
    if is_main_process():
        write_table(held_out, output / TABLE, {})
    kept = ("texts", "accuracy", "log_loss", "rmse")
    numbers = {name: card[name] for name in kept if name in card}
    return {**record, "counts": counts, "held_out": numbers, "card": card}
