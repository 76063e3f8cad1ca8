"""Reward models: a sequence classifier with one output, trained on preference pairs with trl.

The loss is that of Bradley and Terry (1952), −log sigmoid(r(chosen) − r(rejected)). A reward model
reads the templated prompt, a space (not in a chat template), the response, and, unless the response
was cut, the end token that a language model of that template would write; whoever scores with it
must end the text in the same way, so its record names the token (`end_token`). An encoder such as
BERT reads its separator there, and after the prompt; without a chat template it reads the bare
prompt.
"""

from pathlib import Path
from typing import Any

import datasets
import pandas as pd
from transformers import GenerationConfig
from trl import RewardConfig, RewardTrainer

from polyalign.data.packages import resolve
from polyalign.data.tables import write_table
from polyalign.errors import InputError
from polyalign.families.options import RewardTraining
from polyalign.models.endings import Endings, endings
from polyalign.models.load import load_tokenizer
from polyalign.models.sources import adapter_base
from polyalign.runtime.job import is_main_process
from polyalign.settings import CHAT
from polyalign.train import common
from polyalign.train.calibration import held_out
from polyalign.train.card import TABLE, pairs_card
from polyalign.train.classifier import predict, reward_arguments, reward_settings
from polyalign.train.heads import head_parts
from polyalign.train.inputs import Run
from polyalign.train.loading import adapters, load_for_labels
from polyalign.train.parts import WholeBatches, fitting


class PairsTrainer(WholeBatches, RewardTrainer):
    """trl's trainer of reward models, with the parts of a batch weighed by their rows."""


def _named(source: str, revision: str | None, model: Any) -> GenerationConfig:
    """What the model that a classifier starts from says of generation, its end tokens included.

    transformers does not load that for a classifier.
    """
    folder, commit = adapter_base(source) or (source, revision)
    try:
        return GenerationConfig.from_pretrained(resolve(folder), revision=commit or "main")
    except OSError:
        return GenerationConfig.from_model_config(model.config)


def _readable(base: str, revision: str | None, template: str) -> str:
    """The study's template, or the bare prompt for an encoder without a chat template."""
    if template != CHAT:
        return template
    tokenizer = load_tokenizer(base, revision=revision)
    encoder = tokenizer.eos_token_id in (None, tokenizer.sep_token_id)
    return "{prompt}" if encoder and not tokenizer.chat_template else template


def _tokenise(
    pairs: pd.DataFrame,
    ending: Endings,
    template: str,
    longest: int,
) -> tuple[list[dict[str, Any]], int]:
    """Token ids of both texts of a pair, end token included; and how many pairs are too long.

    `row` is the pair's place among `pairs`.
    """
    rows = []
    encoded = common.encode_pairs(pairs, ending, template)
    for row, (prompt_ids, chosen, rejected) in enumerate(encoded):
        if len(prompt_ids) + max(len(chosen), len(rejected)) <= longest:
            both = {"chosen_ids": prompt_ids + chosen, "rejected_ids": prompt_ids + rejected}
            rows.append({**both, "row": row})
    return rows, len(pairs) - len(rows)


def train_reward(
    base: str,
    pairs_train: pd.DataFrame,
    pairs_test: pd.DataFrame,
    section: RewardTraining,
    run: Run,
    output: Path,
    *,
    template: str,
    revision: str | None = None,
) -> dict[str, Any]:
    """Train a reward model and judge it on held-out pairs.

    Pairs with a text that is longer than the model's limit, or than that of `section`, are left
    out.

    Args:
        base: a HuggingFace folder or a hub id; any model with a sequence-classification class. A
            missing head is drawn from the seed.
        pairs_train: `prompt`, `chosen`, `rejected`.
        pairs_test: the same, held out.
        section: how to optimise; a batch counts pairs.
        run: how the training runs.
        output: folder of the finished model (one label, tokenizer, `metrics.csv`).
        template: text around a prompt, with `{prompt}`; the response follows after a space.
            `chat` means the bare prompt for an encoder without a chat template.
        revision: of the base model on the hub.

    Returns:
        The record of `common.train_and_save`, with `counts` of the pairs, `held_out` and
        `reliability` (see `calibration`), and `card` (see `pairs_card`; its table is in `output`).

    Raises:
        InputError: if base, template, pairs or batch do not fit.
    """
    template = _readable(base, revision, template)
    model, tokenizer, longest = load_for_labels(
        base, revision, template, {0: "reward"}, section, run
    )
    longest = min(longest, section.max_length or longest)
    ending = endings(_named(base, revision, model), tokenizer, template)
    settings = {
        "base": base,
        "template": template,
        "end_token": ending.usual_text,
        "revision": revision,
        **reward_settings(section, run),
    }
    train, train_long = _tokenise(pairs_train, ending, template, longest)
    test, test_long = _tokenise(pairs_test, ending, template, longest)
    if not train or not test:
        raise InputError(
            f"no pair left to {'train' if not train else 'test'} on ({train_long + test_long} "
            f"exceed {longest} tokens); expected shorter texts: set `max_words` of the "
            "preferences, or lower it"
        )
    if train_long + test_long:
        print(
            f"{train_long + test_long} of {len(pairs_train) + len(pairs_test)} pairs are left out: "
            f"they exceed {longest} tokens",
            flush=True,
        )
    widest = max(max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in train)
    most = fitting(model, 2, widest, run.device, logits=False)
    trainer = PairsTrainer(
        model=model,
        # Longer pairs are left out and counted already.
        args=RewardConfig(**reward_arguments(section, run, most), max_length=None),
        train_dataset=datasets.Dataset.from_list(train).remove_columns("row"),
        eval_dataset=datasets.Dataset.from_list(test).remove_columns("row")
        if section.evaluate_every
        else None,
        processing_class=tokenizer,
        peft_config=adapters(section.lora, run, "SEQ_CLS", revision, head_parts(model)),
    )
    record = common.train_and_save(trainer, tokenizer, output, run.work, settings)
    rewards = predict(
        trainer.model,
        tokenizer,
        [row[name] for row in test for name in ("chosen_ids", "rejected_ids")],
    )[:, 0].reshape(-1, 2)
    counts = {"train": len(train), "test": len(test), "too_long": train_long + test_long}
    kept = [row["row"] for row in test]
    table = pairs_test[["prompt", "chosen", "rejected"]].iloc[kept].reset_index(drop=True)
    table = table.assign(chosen_reward=rewards[:, 0], rejected_reward=rewards[:, 1])
    if is_main_process():
        write_table(table, output / TABLE, {})
    judged = held_out(rewards[:, 0] - rewards[:, 1])
    return {**record, "counts": counts, **judged, "card": pairs_card(table)}
