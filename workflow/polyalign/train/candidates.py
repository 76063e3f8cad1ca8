"""Training on the base model's candidates of each prompt, weighted by λ·r: what the losses share.

Where λ stays, a tenth of the prompts is held out. They judge the model at every checkpoint, and the
checkpoint with the least loss on them becomes the model: a few thousand candidates are learnt by
heart within a few passes, and then the KL to the base model grows without reward.

Where λ moves, losses at two checkpoints are not of one λ, and prompts judge the model before it
learns from them. So all are trained on, and the model is that of the last step.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from trl import SFTConfig, SFTTrainer
from trl.trainer.utils import disable_dropout_in_model

from polyalign.data.keys import split_of
from polyalign.errors import InputError
from polyalign.families.options import TrainingOptions
from polyalign.models.endings import Endings, endings
from polyalign.models.logprobs import encode_responses
from polyalign.palettes.record import lam_of
from polyalign.settings import SamplingRule
from polyalign.train import common
from polyalign.train.closed_loop import Aim, ClosedLoop, aim_of
from polyalign.train.fused import states_at
from polyalign.train.inputs import Run, TrainingInputs
from polyalign.train.loading import adapters, load
from polyalign.train.parts import WholeBatches, fitting
from polyalign.train.replay import FRESH
from polyalign.train.steering import steered

HELD_OUT = 0.1
"""Share of the prompts that only judge, by hash of their text."""

SHORT = 0.5
"""Standard errors by which levels may miss their targets where λ moves, see `closed_loop.Aim`."""

NO_LABEL = -100

GROUPS = 4
"""Groups by length that a batch is read in."""


def is_exact(sampling: SamplingRule) -> bool:
    """Whether candidates sampled so lead to p_λ: a model's probabilities are at temperature 1."""
    return sampling.temperature == 1.0 and sampling.top_k == 0 and sampling.top_p == 1.0


def scored_candidates(
    inputs: TrainingInputs, aim: Aim | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The candidates to train on and those of the held-out prompts.

    With the column `score`, λ·r in nats, and for an aim with `rewards`, those of its values; then
    no prompt is held out.
    """
    palette, pool = inputs.palette, inputs.candidates
    if pool is None:
        raise TypeError("a palette's candidates are those of the pool")
    lam = lam_of(palette, "lam_train")
    rewards = pool[list(lam)].to_numpy(np.float64)
    frame = pool.assign(score=rewards @ np.array(list(lam.values())))
    if aim:
        return frame.assign(rewards=list(pool[aim.values].to_numpy(np.float64))), frame[:0]
    # Not by the hash of the prompt alone, which has taken the test split away already.
    aside = frame["prompt"].map(lambda prompt: split_of(f"judges {prompt}", HELD_OUT)) == "test"
    return frame[~aside], frame[aside]


def by_prompt(frame: pd.DataFrame) -> list[np.ndarray]:
    """Row numbers of the candidates of each prompt that has several, in order of appearance.

    Raises:
        InputError: if there is no such prompt.
    """
    members = frame.groupby("prompt_id", sort=False).indices.values()
    several = [np.asarray(rows) for rows in members if len(rows) > 1]
    if len(frame) and not several:
        raise InputError(
            "nothing can be learnt from candidates: no prompt has two; expected several candidates "
            "per prompt: raise sampling.candidates"
        )
    return several


def tokenise(
    frame: pd.DataFrame,
    ending: Endings,
    template: str,
    longest: int,
    max_new_tokens: int | None,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Token ids as the base model sampled them: templated prompt, response and its end token.

    A response that the token limit ended has no end token. A response that is longer in this
    tokenizer is cut at the limit, or at the model's last position. A candidate without a token, or
    whose prompt leaves no room for one, is left out.

    Args:
        frame: n candidates, columns `prompt`, `response`, `end_token`.
        ending: how responses end for the model, with its tokenizer.
        template: text around a prompt.
        longest: positions of the model.
        max_new_tokens: longest response, end token included.

    Returns:
        The candidates that are left, with the columns `prompt_ids` and `response_ids`, and counts:
        `candidates`, `cut`, `left_out`.
    """
    ends = [ending.id_of(end) for end in frame["end_token"]]
    pairs = encode_responses(
        ending.tokenizer, template, list(frame["prompt"]), list(frame["response"]), ends
    )
    rooms = [min(longest - len(prompt), max_new_tokens or longest) for prompt, _ in pairs]
    lengths = [len(ids) for _, ids in pairs]
    kept = np.array([room > 0 and n > 0 for room, n in zip(rooms, lengths, strict=True)], bool)
    cut = np.array([n > room for room, n in zip(rooms, lengths, strict=True)], bool)
    counts = {
        "candidates": len(frame),
        "cut": int((cut & kept).sum()),
        "left_out": int((~kept).sum()),
    }
    if counts["cut"] or counts["left_out"]:
        print(
            f"{counts['cut']} of {counts['candidates']} candidates are cut to "
            f"sampling.max_new_tokens or the model's {longest} positions, without an end token; "
            f"{counts['left_out']} are left out, which have no token or whose prompts leave no "
            "room for one",
            flush=True,
        )
    ids = [ids[: max(0, room)] for (_, ids), room in zip(pairs, rooms, strict=True)]
    made = frame.assign(
        prompt_ids=pd.Series([prompt for prompt, _ in pairs], index=frame.index, dtype=object),
        response_ids=pd.Series(ids, index=frame.index, dtype=object),
    )
    return made[kept].reset_index(drop=True), counts


class Collator:
    """Rows of data to one batch: their candidates below each other, padded on the right.

    A row has `prompt_ids`, n `response_ids`, n numbers under `weights`, and, if there are any,
    under `reference`, n lists of numbers under `rewards`, and a truth value under `fresh`. In the
    batch, `sizes` says how many candidates each row has.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        texts = [(row["prompt_ids"], ids) for row in rows for ids in row["response_ids"]]
        width = max(len(prompt) + len(ids) for prompt, ids in texts)
        batch = {
            "input_ids": torch.full((len(texts), width), self.pad_token_id),
            "attention_mask": torch.zeros((len(texts), width), dtype=torch.long),
            "labels": torch.full((len(texts), width), NO_LABEL),
            "sizes": torch.tensor([len(row["response_ids"]) for row in rows]),
        }
        for at, (prompt, ids) in enumerate(texts):
            end = len(prompt) + len(ids)
            batch["input_ids"][at, :end] = torch.tensor([*prompt, *ids])
            batch["attention_mask"][at, :end] = 1
            batch["labels"][at, len(prompt) : end] = torch.tensor(ids)
        for name in ("weights", "reference", "rewards"):
            if name in rows[0]:
                numbers = [number for row in rows for number in row[name]]
                batch[name] = torch.tensor(numbers, dtype=torch.float32)
        if FRESH in rows[0]:
            batch[FRESH] = torch.tensor([row[FRESH] for row in rows])
        return batch


class CandidateTrainer(WholeBatches, SFTTrainer):
    """trl's trainer, with a loss of the log-probabilities of whole responses.

    A subclass has `rows` and `candidate_loss`. trl's own loss is the mean over tokens, without
    weights.
    """

    loop: ClosedLoop | None = None

    def _prepare_dataset(self, dataset: Any, *args: Any, **named: Any) -> Any:
        return dataset

    @staticmethod
    def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
        """The rows of data (see `Collator`) of tokenised candidates (see `tokenise`)."""
        raise NotImplementedError

    def candidate_loss(self, logprobs: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
        """The loss of a batch.

        Args:
            logprobs: (n,), log-probability of each candidate in nats.
            batch: what `Collator` makes.
        """
        raise NotImplementedError

    def steer_to(self, aim: Aim, passes: int) -> None:
        """Let λ move while training, in so many passes, towards the levels of an aim."""
        raise NotImplementedError

    def measure(self, **numbers: torch.Tensor) -> None:
        """Keep means over all processes for the next row of metrics."""
        kept: dict[str, list[float]] = self._metrics[
            "train" if self.model is not None and self.model.training else "eval"
        ]
        for name, number in numbers.items():
            every: Any = self.accelerator.gather_for_metrics(number.detach().float().reshape(1))
            kept[name].append(every.mean().item())

    def logprobs(self, model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each candidate, and mean entropy of a token, in nats."""
        plain = self.accelerator.unwrap_model(model)
        lengths = batch["attention_mask"].sum(1)
        found, entropy = [], 0.0
        # Texts of like length together: a quarter less padding.
        order = lengths.argsort()
        for part in order.chunk(GROUPS):
            width = int(lengths[part].max())
            labels = batch["labels"][part, 1:width]
            asked = labels != NO_LABEL
            with states_at(plain, asked):
                made = model(
                    input_ids=batch["input_ids"][part, :width],
                    attention_mask=batch["attention_mask"][part, :width],
                    shift_labels=labels[asked][None],
                    fused_lm_head=True,
                )
            each = made.log_probs[0].float()
            rows = asked.nonzero()[:, 0].to(each.device)
            found.append(each.new_zeros(len(part)).index_add(0, rows, each))
            entropy += made.entropy.detach().sum()
        tokens = (batch["labels"] != NO_LABEL).sum()
        return torch.cat(found)[order.argsort()], entropy / tokens

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of `candidate_loss`; there are no outputs to return."""
        logprobs, entropy = self.logprobs(model, inputs)
        self.measure(entropy=entropy)
        return self.candidate_loss(logprobs, inputs)


def arguments(
    section: TrainingOptions, epochs: int, run: Run, most: int | None, *, judged: bool
) -> SFTConfig:
    """trl's arguments; with `judged` the checkpoint that held-out prompts like best is taken."""
    named = common.training_arguments(section, run, most)
    # SFTTrainer has no such option.
    del named["disable_dropout"]
    if judged:
        named |= {
            "eval_strategy": "steps",
            "eval_steps": named["save_steps"],
            "per_device_eval_batch_size": named["per_device_train_batch_size"],
            "prediction_loss_only": True,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_loss",
            "greater_is_better": False,
        }
    return SFTConfig(**named, num_train_epochs=epochs, max_length=None, remove_unused_columns=False)


def train_policy(
    kind: type[CandidateTrainer], section: Any, inputs: TrainingInputs, output: Path
) -> dict[str, Any]:
    """Train a policy on the candidates of its palette.

    Args:
        kind: the trainer, with its loss.
        section: how to optimise, with `epochs`.
        inputs: of the job.
        output: folder of the finished model.

    Returns:
        The record of `train_on_candidates`, and whether its optimum is p_λ (`exact_target`).
    """
    adapts = inputs.settings.get("adapt")
    aim = replace(aim_of(inputs.palette), short=SHORT) if adapts else None
    frame, held_out = scored_candidates(inputs, aim)
    record = train_on_candidates(
        kind,
        inputs.model["source"],
        frame,
        held_out,
        section,
        inputs.run,
        output,
        template=inputs.template,
        max_new_tokens=inputs.sampling["max_new_tokens"],
        revision=inputs.model["revision"],
        aim=aim,
    )
    return {**record, "exact_target": is_exact(SamplingRule(**inputs.sampling))}


def train_on_candidates(
    kind: type[CandidateTrainer],
    model: str,
    frame: pd.DataFrame,
    held_out: pd.DataFrame,
    section: Any,
    run: Run,
    output: Path,
    *,
    template: str,
    max_new_tokens: int | None,
    revision: str | None = None,
    aim: Aim | None = None,
) -> dict[str, Any]:
    """Train a model on weighted candidates.

    Args:
        kind: the trainer, with its loss.
        model: base model, a HuggingFace folder or a hub id.
        frame: candidates, columns `prompt_id`, `prompt`, `response`, `end_token`, `score`.
        held_out: those of the prompts that only judge; none: the model is that of the last step.
        section: how to optimise, with `epochs`.
        run: how the training runs.
        output: folder of the finished model.
        template: text around a prompt, with `{prompt}`; the response follows after a space.
        max_new_tokens: longest response in tokens, end token included (None: the model's limit).
        revision: of the base model on the hub.
        aim: the levels that λ is steered to while training; the candidates then have the column
            `rewards`, and the trainer steers. None: λ is that of the scores.

    Returns:
        The record of `common.train_and_save`, with `counts` of the candidates and, with held-out
        prompts, `judged`: their number `prompts`, the step `step` of the model that was taken, and
        its `loss` on them; with an aim `closed_loop`.

    Raises:
        InputError: if model, tokenizer, template, candidates or batch do not fit.
    """
    settings = {
        "model": model,
        "template": template,
        "epochs": section.epochs,
        "max_new_tokens": max_new_tokens,
        "revision": revision,
        **common.recorded(section, run),
    }
    policy, tokenizer = load(model, revision, template, section, run)
    disable_dropout_in_model(policy)
    longest = getattr(policy.config, "max_position_embeddings", None) or 2**20
    ending = endings(policy.generation_config, tokenizer, template)
    parts, counts = {}, {}
    for name, part in (("train", frame), ("held_out", held_out)):
        tokenised, counts[name] = tokenise(part, ending, template, longest, max_new_tokens)
        parts[name] = datasets.Dataset.from_list(kind.rows(tokenised))
    if not len(parts["train"]):
        raise InputError(
            f"no candidate left to train on (the prompts fill the {longest} positions of {model}); "
            "expected shorter prompts, or a model with more positions"
        )
    judged = len(parts["held_out"]) > 0
    several = max(len(row["response_ids"]) for row in parts["train"])
    widest = max(
        len(row["prompt_ids"]) + max(map(len, row["response_ids"])) for row in parts["train"]
    )
    most = fitting(policy, several, widest, run.device)
    trainer = kind(
        model=policy,
        # Where λ moves, the trainer puts the passes into one.
        args=arguments(section, 1 if aim else section.epochs, run, most, judged=judged),
        train_dataset=parts["train"],
        eval_dataset=parts["held_out"] if judged else None,
        data_collator=Collator(tokenizer.pad_token_id),
        processing_class=tokenizer,
        peft_config=adapters(section.lora, run, "CAUSAL_LM", revision),
    )
    if aim:
        trainer.steer_to(aim, section.epochs)
    record = common.train_and_save(trainer, tokenizer, output, run.work, settings)
    record |= {"counts": counts["train"], **steered(trainer.loop)}
    if judged:
        record["judged"] = {
            "prompts": held_out["prompt_id"].nunique(),
            "step": trainer.state.best_global_step,
            "loss": trainer.state.best_metric,
        }
    return record
