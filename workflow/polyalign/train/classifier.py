"""Text classifiers for values that come as labels (humor), and what reward models share with them.

A classifier reads the bare text, as most classifiers do; a reward model reads the end-of-sequence
token behind it as well (see `reward`).
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)

from polyalign.errors import InputError
from polyalign.models.load import load_tokenizer, resolve
from polyalign.train import common

HUMOR = {0: "not humorous", 1: "humorous"}
EVALUATED_AT_ONCE = 64


def load_for_labels(
    base: str,
    labels: dict[int, str],
    training: common.Training,
    template: str,
    revision: str | None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, int]:
    """Sequence classifier with the given labels, tokenizer, and longest text in tokens.

    It is in float32; with LoRA its frozen weights are in the format of `training`. A head that
    `base` lacks is drawn from the seed. Padding is on the right, and the model knows
    its token: a decoder such as GPT-2 finds the last token of a text by it.

    Raises:
        InputError: if one cannot be loaded, or model, tokenizer and template do not fit.
    """
    tokenizer = load_tokenizer(base, revision=revision)
    tokenizer.padding_side = "right"
    set_seed(training.seed)
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            resolve(base),
            num_labels=len(labels),
            id2label=labels,
            label2id={name: number for number, name in labels.items()},
            revision=revision,
            **common.frozen_format(training),
        )
    except (OSError, ValueError) as fault:
        raise InputError(
            f"{base}: cannot be loaded as a sequence classifier ({str(fault).splitlines()[0]}); "
            "expected a HuggingFace folder or hub id of a model that has such a class"
        ) from fault
    common.check_fit(model, tokenizer, template, base)
    model.config.pad_token_id = tokenizer.pad_token_id
    limit = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    return model, tokenizer, int(limit)


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


def _check_examples(examples: pd.DataFrame) -> None:
    """Raise InputError unless both splits are there, and both labels in training."""
    found = set(examples["split"])
    if not {"train", "test"} <= found:
        raise InputError(
            f"labelled texts have the splits {sorted(map(str, found))}; expected train and test"
        )
    labels = set(examples.loc[examples["split"] == "train", "label"])
    if labels != set(HUMOR):
        raise InputError(
            f"labelled texts for training have the labels {sorted(labels)}; expected both 0 and 1"
        )


def train_classifier(
    base: str,
    examples: pd.DataFrame,
    output: Path,
    *,
    work: Path,
    training: common.Training,
    epochs: int = 1,
    max_length: int | None = None,
    revision: str | None = None,
) -> dict[str, Any]:
    """Train a classifier of humor and judge it on held-out texts.

    Args:
        base: a HuggingFace folder or a hub id; any model with a sequence-classification class. A
            missing head is drawn from the seed.
        examples: `text`, `label` (1 humorous, 0 not), `split` (train or test).
        output: the finished model's folder (two labels, tokenizer, `metrics.csv`).
        work: folder for checkpoints; a run that was killed goes on from there.
        training: how to optimise; a batch counts texts.
        epochs: passes over the texts.
        max_length: texts are cut to so many tokens (None: the model's limit).
        revision: of the base model on the hub.

    Returns:
        The record of `common.run`, with `counts` of the texts and `held_out`: `accuracy`,
        `log_loss` (nats), `positive` (share of label 1).

    Raises:
        InputError: if base, examples or batch do not fit.
    """
    settings = {
        "base": base,
        "epochs": epochs,
        "max_length": max_length,
        "revision": revision,
        **asdict(training),
    }
    _check_examples(examples)
    shared = common.training_arguments(work, training)
    # Only trl's own arguments can turn dropout off; here it is the base model's matter.
    del shared["disable_dropout"]
    model, tokenizer, limit = load_for_labels(base, HUMOR, training, "{prompt}", revision)
    longest = min(max_length or limit, limit)
    ids = {
        split: tokenizer(list(part["text"]), truncation=True, max_length=longest)["input_ids"]
        for split, part in examples.groupby("split")
    }
    labels = {split: part["label"].to_numpy() for split, part in examples.groupby("split")}
    trainer = Trainer(
        model=common.adapted(model, training, "SEQ_CLS", revision),
        args=TrainingArguments(**shared, num_train_epochs=epochs),
        train_dataset=datasets.Dataset.from_dict(
            {"input_ids": ids["train"], "labels": [int(label) for label in labels["train"]]}
        ),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    record = common.run(trainer, tokenizer, output, work, settings)
    logits = predict(trainer.model, tokenizer, ids["test"])
    lead = logits[:, 1] - logits[:, 0]
    held_out = {
        "accuracy": float(((lead > 0) == labels["test"]).mean()),
        "log_loss": float(np.logaddexp(0, np.where(labels["test"] == 1, -lead, lead)).mean()),
        "positive": float(labels["test"].mean()),
    }
    counts = {split: len(rows) for split, rows in ids.items()}
    return {**record, "counts": counts, "held_out": held_out}
