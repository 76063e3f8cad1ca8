"""Direct preference optimisation on hard or soft preferences, with trl.

DPO (Rafailov et al. 2023, arXiv 2305.18290) fits the log-ratio to the base model, times β, as the
reward of a Bradley-Terry model. Labelled with the probabilities sigmoid(λ·(r₁ − r₂)) and β = 1, its
optimum is the policy p_λ ∝ p0 exp(λ·r), which decoding and RL aim at too. The log-probabilities are
those of the whole distribution at temperature 1, so this holds for candidates sampled in that way.
Without `pairs`, a palette's policy learns from all candidates at once: see `train.listwise`.
"""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from polyalign.data.pair_counts import said_of
from polyalign.data.preferences import mixture, read_pairs
from polyalign.errors import InputError
from polyalign.families.dpo import Dpo, Labels, Mixed
from polyalign.models.endings import Endings, endings
from polyalign.models.logprobs import response_logprobs
from polyalign.palettes.record import lam_of
from polyalign.settings import SamplingRule
from polyalign.train import common, listwise
from polyalign.train.calibration import held_out
from polyalign.train.candidates import is_exact
from polyalign.train.inputs import Run, TrainingInputs
from polyalign.train.loading import adapters, load, ready
from polyalign.train.parts import WholeBatches, fitting

PREFERENCE = "preference"
JUDGED_AT_ONCE = 64


def train(inputs: TrainingInputs, output: Path) -> dict[str, Any]:
    """Train the policy's model into `output`; returns the record of the training."""
    section: Dpo | Labels
    test = None
    if inputs.preferences:
        mixed = Mixed(**inputs.settings)
        section, beta = mixed, mixed.beta
        pairs, facts = mixed_pairs(mixed, inputs.preferences, inputs.seed)
        if mixed.test_pairs:
            test, facts["read_test"] = held_out_pairs(mixed, inputs.held_out, inputs.seed)
    else:
        labels = Labels(**inputs.settings)
        if labels.pairs is None:
            return listwise.train(inputs, output)
        section, beta = labels, 1.0
        pairs, facts = labelled_pairs(inputs, labels.pairs)
    record = train_dpo(
        inputs.model["source"],
        pairs,
        section,
        inputs.run,
        output,
        template=inputs.template,
        beta=beta,
        max_new_tokens=inputs.sampling["max_new_tokens"],
        revision=inputs.model["revision"],
        pairs_test=test,
    )
    return {**record, **facts}


def mixed_pairs(
    section: Mixed, sources: dict[str, dict[str, Any]], seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Pairs of the data sets in their shares, and the counts of the rows they were read from.

    Args:
        section: shares of the data sets, and how many pairs.
        sources: name → arguments of `read_pairs`.
        seed: of the draw.
    """
    frames, counts = _read(sources)
    return mixture(frames, _shares(section), section.pairs, seed), {"read": counts}


def held_out_pairs(
    section: Mixed, sources: dict[str, dict[str, Any]], seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Test pairs in the same shares, fewer than `test_pairs` if the data sets have no more.

    Arguments as in `mixed_pairs`.
    """
    frames, counts = _read(sources)
    shares = _shares(section)
    available = min(int(len(frames[name]) / share) for name, share in shares.items())
    return mixture(frames, shares, min(section.test_pairs, available), seed), counts


def _shares(section: Mixed) -> dict[str, float]:
    return {name: share for name, share in section.mixture.items() if share > 0}


def _read(sources: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Pairs of each data set, and the counts of its rows."""
    read = {name: read_pairs(**source) for name, source in sources.items()}
    for name, data in read.items():
        for sentence in said_of(data.counts):
            print(f"{name}: {sentence}", flush=True)
    frames = {name: data.frame for name, data in read.items()}
    return frames, {name: data.counts for name, data in read.items()}


def labelled_pairs(inputs: TrainingInputs, count: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """`count` pairs of candidates, labelled by the palette's λ·r, and whether they lead to p_λ."""
    palette, pool = inputs.palette, inputs.candidates
    if pool is None:
        raise TypeError("a palette's pairs are drawn from candidates")
    lam = lam_of(palette, "lam_train")
    pairs = lambda_pairs(
        pool,
        pool[list(lam)].to_numpy(np.float64),
        np.array(list(lam.values())),
        inputs.seed,
        count,
    )
    return pairs, {"exact_target": is_exact(SamplingRule(**inputs.sampling))}


def lambda_pairs(
    frame: pd.DataFrame, rewards: np.ndarray, lam: np.ndarray, seed: int, pairs: int
) -> pd.DataFrame:
    """Draw pairs of candidates of one prompt and label them by λ·r.

    Args:
        frame: n candidates, columns `prompt_id`, `prompt`, `response`, `end_token`.
        rewards: (n, k), one row per candidate.
        lam: (k,), the weights of the values.
        seed: of the draw, together with the prompt's id.
        pairs: number of pairs, as evenly over the prompts as their candidates allow, each pair
            once; fewer if there are no more. Pairs of equal responses are left out.

    Returns:
        Columns `prompt`, `chosen`, `rejected`, `chosen_end` and `rejected_end` (see
        `common.encode_pairs`), and `preference`: the probability, in [0.5, 1], that `chosen` is
        preferred, sigmoid(λ·(r_chosen − r_rejected)).

    Raises:
        InputError: if no prompt has two different responses.
    """
    score = np.asarray(rewards, dtype=np.float64) @ np.asarray(lam, dtype=np.float64)
    prompts, responses = frame["prompt"].to_numpy(), frame["response"].to_numpy()
    ends = frame["end_token"].to_numpy()
    # Rank of a pair within its prompt plus a random number; the lowest `pairs` are taken.
    drawn = []
    for prompt_id, members in frame.groupby("prompt_id", sort=False).indices.items():
        rng = np.random.default_rng([seed, *str(prompt_id).encode()])
        first, second = np.triu_indices(len(members), k=1)
        different = responses[members[first]] != responses[members[second]]
        mine = rng.permutation(np.column_stack([members[first], members[second]])[different])
        turns = np.arange(min(len(mine), pairs)) + rng.random(min(len(mine), pairs))
        drawn.append(np.column_stack([turns, mine[: len(turns)]]))
    table = np.concatenate(drawn) if drawn else np.empty((0, 3))
    if not len(table):
        raise InputError(
            "no pairs can be drawn: no prompt has two different responses; expected several "
            "candidates per prompt: raise the number of candidates"
        )
    one, two = table[np.argsort(table[:, 0], kind="stable")[:pairs], 1:].astype(int).T
    chosen, rejected = np.where(score[one] >= score[two], (one, two), (two, one))
    return pd.DataFrame(
        {
            "prompt": prompts[chosen],
            "chosen": responses[chosen],
            "rejected": responses[rejected],
            "chosen_end": ends[chosen],
            "rejected_end": ends[rejected],
            PREFERENCE: 1 / (1 + np.exp(score[rejected] - score[chosen])),
        }
    )


class SoftCollator:
    """trl's collator for pairs, with the soft labels added."""

    def __init__(self, pad_token_id: int) -> None:
        self.pairs = DataCollatorForPreference(pad_token_id=pad_token_id)

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        labels = torch.tensor([example[PREFERENCE] for example in examples])
        return {**self.pairs(examples), PREFERENCE: labels}


class SoftDPOTrainer(WholeBatches, DPOTrainer):
    """DPO on tokenised pairs with a probability q that the first is preferred.

    The loss −q log σ(z) − (1 − q) log σ(−z) equals trl's −log σ(z) plus (1 − q) z, because
    log σ(−z) = log σ(z) − z; so trl computes the first term and its metrics, and the second is
    added. With q = 1 it is plain DPO.
    """

    def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns: Any = ["prompt_ids", "chosen_ids", "rejected_ids", PREFERENCE]

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        inputs = dict(inputs)
        labels = inputs.pop(PREFERENCE)
        sums: list[torch.Tensor] = []

        def keep(module: Any, arguments: Any, output: Any) -> None:
            sums.append(output.log_probs.sum(dim=1))

        # With adapters the reference is the same model without them, called second.
        parts: list[Any] = [self.accelerator.unwrap_model(model), self.ref_model]
        hooks = [part.register_forward_hook(keep) for part in parts if part is not None]
        try:
            loss = super()._compute_loss(model, inputs, return_outputs)
        finally:
            for hook in hooks:
                hook.remove()
        policy, reference = sums
        chosen, rejected = (policy - reference).chunk(2)
        return loss + ((1 - labels) * self.beta * (chosen - rejected)).mean()


def tokenise(
    pairs: pd.DataFrame,
    ending: Endings,
    template: str,
    longest: int,
    max_new_tokens: int | None,
) -> tuple[datasets.Dataset, dict[str, int]]:
    """Token ids as the base model was trained: templated prompt, then ` response` and end token.

    A response that was cut when it was sampled or read has no end token. A response is cut after
    `max_new_tokens`, as when it is sampled, and at the model's last position; no end token follows
    it then. A prompt that leaves no room for a response is left out, and a pair with a response
    that has no token at all.

    Returns:
        The data set, and counts: `pairs`, `cut` (a response was shortened), `left_out`.
    """
    rows: list[dict[str, Any]] = []
    counts = {"pairs": len(pairs), "cut": 0, "left_out": 0}
    preferences = pairs[PREFERENCE] if PREFERENCE in pairs else np.ones(len(pairs))
    encoded = common.encode_pairs(pairs, ending, template)
    for (prompt_ids, chosen, rejected), preference in zip(encoded, preferences, strict=True):
        room = longest - len(prompt_ids)
        if max_new_tokens is not None:
            room = min(room, max_new_tokens)
        if room < 1 or not chosen or not rejected:
            counts["left_out"] += 1
            continue
        counts["cut"] += max(len(chosen), len(rejected)) > room
        rows.append(
            {
                "prompt_ids": prompt_ids,
                "chosen_ids": chosen[:room],
                "rejected_ids": rejected[:room],
                PREFERENCE: float(preference),
            }
        )
    if counts["cut"] or counts["left_out"]:
        print(
            f"{counts['cut']} of {counts['pairs']} pairs are cut to sampling.max_new_tokens or the "
            f"model's {longest} positions, without an end token; {counts['left_out']} are left "
            "out, whose prompts leave no room for a response",
            flush=True,
        )
    return datasets.Dataset.from_list(rows), counts


def margins(trainer: DPOTrainer, pairs: datasets.Dataset) -> np.ndarray:
    """β (log π/p0 of the chosen − log π/p0 of the rejected response) of n tokenised pairs, (n,).

    The margins of DPO's implicit reward (Rafailov et al. 2023, equation 6), in nats.
    """
    policy: Any = trainer.accelerator.unwrap_model(trainer.model).eval()
    pad: int = trainer.processing_class.pad_token_id  # type: ignore[union-attr]

    def logprobs(model: Any) -> np.ndarray:
        found = []
        for start in range(0, len(pairs), JUDGED_AT_ONCE):
            part = pairs[start : start + JUDGED_AT_ONCE]
            texts = [
                (prompt, response)
                for name in ("chosen_ids", "rejected_ids")
                for prompt, response in zip(part["prompt_ids"], part[name], strict=True)
            ]
            sums = response_logprobs(model, pad, texts)[0].double().sum(1)
            chosen, rejected = sums.chunk(2)
            found.append((chosen - rejected).numpy())
        return np.concatenate(found)

    if trainer.ref_model is not None:
        base = logprobs(trainer.accelerator.unwrap_model(trainer.ref_model))
    else:
        with policy.disable_adapter():
            base = logprobs(policy)
    difference: np.ndarray = logprobs(policy) - base
    return float(trainer.beta) * difference


def train_dpo(
    model: str,
    pairs: pd.DataFrame,
    section: Dpo | Labels,
    run: Run,
    output: Path,
    *,
    template: str,
    beta: float,
    max_new_tokens: int | None,
    revision: str | None = None,
    pairs_test: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Train a model on preference pairs, and judge it on held-out pairs if there are any.

    Args:
        model: base model, a HuggingFace folder or a hub id; also the frozen reference.
        pairs: `prompt`, `chosen`, `rejected`, and optionally `preference`, the probability that
            `chosen` is preferred (see `lambda_pairs`; 1 if the column is absent).
        section: how to optimise; a batch counts pairs.
        run: how the training runs.
        output: folder of the finished model.
        template: text around a prompt, with `{prompt}`; the response follows after a space.
        beta: strength of the pull towards the base model (1 for pairs labelled by λ·r).
        max_new_tokens: longest response in tokens, end token included (None: the model's limit).
        revision: of the base model on the hub.
        pairs_test: `prompt`, `chosen`, `rejected`, held out.

    Returns:
        The record of `common.train_and_save`, with `counts` of the pairs, and with held-out pairs
        `held_out` and `reliability` of the model's implicit reward (see `calibration`).

    Raises:
        InputError: if model, tokenizer, template, pairs or batch do not fit.
    """
    settings = {
        "model": model,
        "template": template,
        "beta": beta,
        "epochs": section.epochs,
        "max_new_tokens": max_new_tokens,
        "revision": revision,
        **common.recorded(section, run),
    }
    policy, tokenizer = load(model, revision, template, section, run)
    longest = getattr(policy.config, "max_position_embeddings", None) or 2**20
    ending = endings(policy.generation_config, tokenizer, template)
    data, counts = tokenise(pairs, ending, template, longest, max_new_tokens)
    if not len(data):
        raise InputError(
            f"no pair left to train on ({counts['left_out']} prompts fill the {longest} positions "
            f"of {model}); expected shorter prompts: set `max_words` of the preferences"
        )
    widest = max(
        len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
        for row in data
    )
    arguments = DPOConfig(
        **common.training_arguments(section, run, fitting(policy, 2, widest, run.device)),
        beta=beta,
        num_train_epochs=section.epochs,
        max_length=None,
        # Of the reference, which trl loads itself.
        model_init_kwargs={"revision": revision},
    )
    trainer = SoftDPOTrainer(
        model=policy,
        args=arguments,
        train_dataset=data,
        data_collator=SoftCollator(tokenizer.pad_token_id),
        processing_class=tokenizer,
        peft_config=adapters(section.lora, run, "CAUSAL_LM", revision),
    )
    if trainer.ref_model is not None:
        ready(trainer.accelerator.unwrap_model(trainer.ref_model))
    record = common.train_and_save(trainer, tokenizer, output, run.work, settings)
    record["counts"] = counts
    if pairs_test is None:
        return record
    test, record["counts_test"] = tokenise(pairs_test, ending, template, longest, max_new_tokens)
    return {**record, **held_out(margins(trainer, test))} if len(test) else record
