"""Text classifiers for values that come as labels, and what reward models share with them.

A classifier reads the bare text, as most classifiers do; a reward model reads the end-of-sequence
token after it as well (see `reward`).
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
    Trainer,
    TrainingArguments,
)

from polyalign.data.labelled import LABELS
from polyalign.families.options import RewardTraining
from polyalign.train import common
from polyalign.train.inputs import Run
from polyalign.train.loading import adapted, load_for_labels

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


def train_classifier(
    base: str,
    examples: pd.DataFrame,
    section: RewardTraining,
    run: Run,
    output: Path,
    *,
    revision: str | None = None,
) -> dict[str, Any]:
    """Train a classifier of labelled texts and judge it on held-out texts.

    Texts are cut at the model's limit.

    Args:
        base: a HuggingFace folder or a hub id; any model with a sequence-classification class. A
            missing head is drawn from the seed.
        examples: as `polyalign.data.labelled.read_labelled` returns them.
        section: how to optimise; a batch counts texts.
        run: how the training runs.
        output: folder of the finished model (two labels, tokenizer, `metrics.csv`).
        revision: of the base model on the hub.

    Returns:
        The record of `common.train_and_save`, with `counts` of the texts and `held_out`:
        `accuracy`, `log_loss` (nats per text), `positive` (share of label 1).

    Raises:
        InputError: if base or batch do not fit.
    """
    settings = {
        "base": base,
        "epochs": section.epochs,
        # Texts are as long as the model takes.
        "max_length": None,
        "revision": revision,
        **common.recorded(section, run),
    }
    shared = common.training_arguments(section, run)
    # Only trl's own arguments can turn dropout off; here the base model decides.
    del shared["disable_dropout"]
    names = {label: f"label_{label}" for label in LABELS}
    model, tokenizer, longest = load_for_labels(base, revision, "{prompt}", names, section, run)
    ids = {
        split: tokenizer(list(part["text"]), truncation=True, max_length=longest)["input_ids"]
        for split, part in examples.groupby("split")
    }
    labels = {split: part["label"].to_numpy() for split, part in examples.groupby("split")}
    trainer = Trainer(
        model=adapted(model, section, run, "SEQ_CLS", revision),
        args=TrainingArguments(**shared, num_train_epochs=section.epochs),
        train_dataset=datasets.Dataset.from_dict(
            {"input_ids": ids["train"], "labels": [int(label) for label in labels["train"]]}
        ),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    record = common.train_and_save(trainer, tokenizer, output, run.work, settings)
    logits = predict(trainer.model, tokenizer, ids["test"])
    lead = logits[:, 1] - logits[:, 0]
    held_out = {
        "accuracy": float(((lead > 0) == labels["test"]).mean()),
        "log_loss": float(np.logaddexp(0, np.where(labels["test"] == 1, -lead, lead)).mean()),
        "positive": float(labels["test"].mean()),
    }
    counts = {split: len(rows) for split, rows in ids.items()}
    return {**record, "counts": counts, "held_out": held_out}
