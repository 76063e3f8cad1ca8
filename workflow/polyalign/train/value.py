"""Learning soft values from the pool: one model for all λ, without a reward model.

With a = log p(y | x, λ) − log p0(y | x), the sum of the differences of the soft value over the
tokens of a response y, the exact model has λ·r(x, y) − a = V(x, λ): the same for all responses to
a prompt. So the loss is the variance of λ·r − a among a prompt's candidates, which is 0 at
p = p_λ and nowhere else where p0 has candidates (path consistency, Nachum et al. 2017, arXiv
1702.08892; the variance as a loss, Richter et al. 2020, arXiv 2010.10436). Its target has no noise,
as those of single unfinished responses have. It is divided by the variance of λ·r that is expected
for λ, so that all strengths count alike.

Log-probabilities are those at the temperature of sampling. With top_k or top_p, the candidates are
not those of the whole distribution, and the model is an approximation (`exact_target`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments

from polyalign.errors import InputError
from polyalign.families.options import TrainingOptions
from polyalign.families.value_d import ValueTraining
from polyalign.models.encoding import pad_with_known
from polyalign.models.endings import endings
from polyalign.models.logprobs import encode_responses
from polyalign.models.value_model import ValueModel
from polyalign.settings import SamplingRule
from polyalign.train import common
from polyalign.train.inputs import Run
from polyalign.train.loading import load, on_cuda
from polyalign.train.parts import fitting
from polyalign.train.value_calibration import calibration, table

READ_AT_ONCE = 16
"""Prompts, with their candidates, that the base model reads at once."""

PART = 16
"""Texts that a model reads at once within a batch."""

MAINTAINED = 0.3
"""Share of a value that palettes only keep at its mean: λ hardly weighs it in practice."""

WEIGHED = 0.9
"""Probability that a drawn λ weighs a value at all."""

FLOOR = 0.1
"""Added to the expected variance of λ·r that the loss is divided by, so that small λ count less."""

Pairs = list[tuple[list[int], list[int]]]


class Candidates:
    """The candidates of n prompts, K each, as token ids, with rewards in standard deviations.

    Args:
        pool: rewards table, with `prompt_id`, `candidate`, `prompt`, `response`, `end_token`.
        values: columns of the rewards.
        ends: token ids of prompts and responses of `pool`, in its order.
        scale: standard deviation of each value's reward.

    Raises:
        InputError: if the prompts have different numbers of candidates, or fewer than two.
    """

    def __init__(
        self, pool: pd.DataFrame, values: Sequence[str], pairs: Pairs, scale: np.ndarray
    ) -> None:
        rows = list(pool.groupby("prompt_id", sort=True).indices.values())
        sizes = {len(several) for several in rows}
        if len(sizes) != 1 or min(sizes) < 2:
            raise InputError(
                f"the pool has {sorted(sizes)} candidates per prompt; expected the same number for "
                "all, at least 2; delete the pool and let the workflow make it again"
            )
        self.rows = np.stack(rows)
        self.pairs = pairs
        self.rewards = (pool[list(values)].to_numpy(np.float64) / scale)[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, prompt: int) -> Pairs:
        """The K candidates of one prompt."""
        return [self.pairs[row] for row in self.rows[prompt]]

    def covariance(self) -> np.ndarray:
        """Covariance (k, k) of the rewards within a prompt, in standard deviations."""
        centred = self.rewards - self.rewards.mean(axis=1, keepdims=True)
        n, candidates, _ = centred.shape
        within: np.ndarray = np.einsum("pki,pkj->ij", centred, centred) / (n * (candidates - 1))
        return within


class Strengths:
    """Draws u = λ sd: a random direction, and a strength up to a limit.

    Args:
        covariance: of the rewards within a prompt, in standard deviations, (k, k).
        strength: largest standard deviation of λ·r within a prompt.
        shares: how much each value is weighed against the others, (k,).
        signs: (k,) 1 or -1 for the sign of a value's λ, 0 for either; default: all 1.
    """

    def __init__(
        self,
        covariance: np.ndarray,
        strength: float,
        shares: np.ndarray,
        signs: np.ndarray | None = None,
    ) -> None:
        self.covariance, self.strength, self.shares = covariance, strength, shares
        self.signs = np.ones(len(shares)) if signs is None else np.asarray(signs)

    def variance(self, u: np.ndarray) -> np.ndarray:
        """Variance (n,) of λ·r within a prompt that is expected for n u, (n, k)."""
        found: np.ndarray = np.einsum("ni,ij,nj->n", u, self.covariance, u)
        return found

    def draw(self, *seeds: int) -> np.ndarray:
        """One u, (k,), that depends on the seeds alone."""
        rng = np.random.default_rng(seeds)
        size = len(self.covariance)
        normal = np.abs(rng.standard_normal(size)) * self.shares
        direction = normal * (rng.random(size) < WEIGHED)
        if not direction.any():
            direction = self.shares
        strength = rng.uniform(0, self.strength)
        # The last draw, so that those of floors alone are the same without it.
        either = np.where(rng.random(size) < 0.5, -1, 1)
        direction = direction * np.where(self.signs == 0, either, self.signs)
        spread = float(np.sqrt(self.variance(direction[None])[0]))
        # Values that do not vary within a prompt are weighed as they are: they tilt nothing.
        return direction * strength / (spread or 1.0)


def token_logprobs(
    model: PreTrainedModel, pad: int, texts: Pairs, temperature: float
) -> torch.Tensor:
    """Log-probability of each response token at a temperature, float32 (b, longest response).

    Args:
        model: as `train.loading.load` returns it: it counts positions from the first token.
        pad: what fills the shorter ones, prompts on the left and responses on the right.
        texts: b pairs of prompt ids and response ids.
        temperature: logits are divided by it.

    Returns:
        0 after the end of a response.
    """
    before = max(len(prompt) for prompt, _ in texts)
    longest = max(len(response) for _, response in texts)
    ids = torch.full((len(texts), before + longest), pad)
    seen = torch.zeros((len(texts), before + longest), dtype=torch.long)
    for row, (prompt, response) in enumerate(texts):
        start, end = before - len(prompt), before + len(response)
        ids[row, start:end] = torch.tensor(prompt + response)
        seen[row, start:end] = 1
    ids, seen = ids.to(model.device), seen.to(model.device)
    logits = model(input_ids=ids, attention_mask=seen, logits_to_keep=longest + 1).logits
    logs = (logits[:, :-1].float() / temperature).log_softmax(-1)
    chosen = logs.gather(-1, ids[:, before:, None])[..., 0]
    return chosen.masked_fill(seen[:, before:] == 0, 0.0)


def by_length(texts: Pairs, read: Callable[[list[int]], torch.Tensor]) -> torch.Tensor:
    """What `read` gives for b texts, (b, longest response), read in parts of similar length.

    A third of a batch as it comes is padding.

    Args:
        texts: b pairs of prompt ids and response ids.
        read: numbers of some texts → (their number, their longest response).
    """
    order = sorted(range(len(texts)), key=lambda row: len(texts[row][0]) + len(texts[row][1]))
    longest = max(len(response) for _, response in texts)
    parts = [read(order[start : start + PART]) for start in range(0, len(order), PART)]
    wide = [torch.nn.functional.pad(part, (0, longest - part.shape[1])) for part in parts]
    return torch.cat(wide)[np.argsort(order)]


class ValueTrainer(Trainer):
    """Trains the changes of a value model; the base model is no part of what it keeps.

    Args:
        base: the base model, with the changes attached.
        candidates: what is learnt from.
        strengths: draws λ.
        pad: the padding token.
        temperature: of sampling.
    """

    def __init__(
        self,
        *args: Any,
        base: PreTrainedModel,
        candidates: Candidates,
        strengths: Strengths,
        pad: int,
        temperature: float,
        **named: Any,
    ) -> None:
        super().__init__(*args, **named)
        self.base, self.candidates, self.strengths = base, candidates, strengths
        self.pad, self.temperature = pad, temperature
        self.known = self._base_logprobs()

    @torch.no_grad()
    def _base_logprobs(self) -> torch.Tensor:
        """log p0 of every candidate, (n, K)."""
        self.accelerator.unwrap_model(self.model).at(None)
        found = []
        for start in range(0, len(self.candidates), READ_AT_ONCE):
            several = range(start, min(start + READ_AT_ONCE, len(self.candidates)))
            texts = [text for prompt in several for text in self.candidates.texts(prompt)]
            logs = by_length(texts, partial(self._read, texts)).sum(1)
            found.append(logs.view(len(several), -1).cpu())
        return torch.cat(found)

    def _read(self, texts: Pairs, rows: list[int]) -> torch.Tensor:
        """Log-probabilities of the tokens of some texts under the base model."""
        some = [texts[row] for row in rows]
        return token_logprobs(self.base, self.pad, some, self.temperature)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The variance of λ·r − a of a batch of prompts; each has a λ of its own.

        λ depends on the seed, the step and the prompt, so a resumed run draws the same.
        """
        prompts: list[int] = inputs["prompt"].tolist()
        drawn = [
            self.strengths.draw(self.args.seed, self.state.global_step, prompt)
            for prompt in prompts
        ]
        u = np.stack(drawn)
        texts = [text for prompt in prompts for text in self.candidates.texts(prompt)]
        each = len(texts) // len(prompts)
        scores = torch.tensor(np.einsum("pki,pi->pk", self.candidates.rewards[prompts], u))
        expected = torch.tensor(FLOOR + self.strengths.variance(u))
        told = torch.tensor(np.repeat(u, each, axis=0), dtype=torch.float32)
        logs = model(self.base, told.to(self.base.device), self.pad, texts, self.temperature)
        logs = logs.sum(1).view(len(prompts), each)
        rest = scores.to(logs) - (logs - self.known[prompts].to(logs))
        return (rest.var(dim=1) / expected.to(logs)).mean()


class TrainedValues(ValueModel):
    """A value model whose forward pass is that of the base model with its changes.

    The trainer calls it through whatever wraps it, as several processes do.
    """

    def forward(
        self, base: PreTrainedModel, u: torch.Tensor, pad: int, texts: Pairs, temperature: float
    ) -> torch.Tensor:
        """`token_logprobs` of the texts at u, (b, values)."""

        def read(rows: list[int]) -> torch.Tensor:
            self.at(u[rows])
            return token_logprobs(base, pad, [texts[row] for row in rows], temperature)

        return by_length(texts, read)


def train_values(
    source: dict[str, Any],
    pool: pd.DataFrame,
    values: Sequence[str],
    section: ValueTraining,
    run: Run,
    output: Path,
    *,
    template: str,
    sampling: SamplingRule,
    raised: Sequence[str],
    signs: Mapping[str, int],
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train the study's value model, and judge it on the prompts of the test split.

    Args:
        source: `source` and `revision` of the base model.
        pool: rewards table of its candidates; those of the split `fit` are learnt from.
        values: the values that λ may weigh.
        section: how to train; a batch counts prompts.
        run: how the training runs.
        output: folder of the finished model, with its tokenizer and `metrics.csv`.
        template: text around a prompt.
        sampling: how the pool was sampled.
        raised: those of the values that λ weighs in the first place.
        signs: value → 1 or -1 for the sign of its λ, 0 for either.

    Returns:
        The record of `common.train_and_save`, with `exact_target`; and the calibration on held-out
        prompts (see `train.value_calibration`), without rows if there are none.

    Raises:
        InputError: if model, template, pool or batch do not fit.
    """
    options = TrainingOptions(
        learning_rate=section.learning_rate,
        batch_size=section.batch_size,
        save_every=section.save_every,
    )
    base, tokenizer = load(source["source"], source["revision"], template, options, run)
    pad_with_known(tokenizer, base)
    parts = {split: part.reset_index(drop=True) for split, part in pool.groupby("split")}
    scale = parts["fit"][list(values)].std(ddof=0).to_numpy(np.float64)
    scale = np.where(scale > 0, scale, 1.0)
    known = {
        split: Candidates(part, values, _encoded(part, base, tokenizer, template), scale)
        for split, part in parts.items()
    }
    lengths = [
        max(len(prompt) + len(response) for prompt, response in known["fit"].texts(number))
        for number in range(len(known["fit"]))
    ]
    most = fitting(base, known["fit"].rows.shape[1], max(lengths), run.device)
    base.eval().requires_grad_(False)
    base.to("cuda" if on_cuda(run.device) else "cpu")  # type: ignore[arg-type]
    shares = np.array([1.0 if value in raised else MAINTAINED for value in values])
    sides = [signs[value] for value in values]
    strengths = Strengths(known["fit"].covariance(), section.strength, shares, np.array(sides))
    model = TrainedValues(base, values, scale.tolist(), section.rank, run.seed, sides)
    model.attach(base)
    arguments = common.training_arguments(options, run, most)
    # What only trl's arguments know, or whole models; the base model is not in training mode.
    for name in ("disable_dropout", "gradient_checkpointing", "gradient_checkpointing_kwargs"):
        del arguments[name]
    trainer = ValueTrainer(
        model=model,
        args=TrainingArguments(
            **arguments,
            # All passes are in the data, in their order, which a resumed run finds again.
            num_train_epochs=1,
            remove_unused_columns=False,
            train_sampling_strategy="sequential",
        ),
        train_dataset=datasets.Dataset.from_dict(
            {"prompt": order(lengths, section.batch_size, section.epochs, run.seed)}
        ),
        data_collator=_numbers,
        base=base,
        candidates=known["fit"],
        strengths=strengths,
        pad=tokenizer.pad_token_id,
        temperature=sampling.temperature,
    )
    settings = {
        "base": source["source"],
        "revision": source["revision"],
        "values": list(values),
        "signs": dict(signs),
        **section.model_dump(exclude={"values"}),
        **common.recorded(options, run),
    }
    record = common.train_and_save(trainer, tokenizer, output, run.work, settings)
    exact = sampling.top_k == 0 and sampling.top_p == 1.0
    rows = []
    if "test" in known:
        rows = judged(model, base, known["test"], strengths, run.seed, tokenizer.pad_token_id,
                      sampling.temperature)  # fmt: skip
    return {**record, "exact_target": exact}, table(rows)


def order(lengths: Sequence[int], batch: int, epochs: int, seed: int) -> list[int]:
    """Prompts in the order of training; those of a batch have similar lengths.

    Args:
        lengths: tokens of the longest text of each of n prompts.
        batch: prompts in one step.
        epochs: passes over the prompts.
        seed: of the order.

    Returns:
        Whole batches, one after the other. Each pass leaves out less than a batch, if n is no
        multiple of it.
    """
    rng, found = np.random.default_rng(seed), list[int]()
    batch = min(batch, len(lengths))
    for _ in range(epochs):
        kept = rng.permutation(len(lengths))[: len(lengths) // batch * batch]
        by_length = kept[np.argsort(np.array(lengths)[kept], kind="stable")]
        found += rng.permutation(by_length.reshape(-1, batch)).ravel().tolist()
    return found


def _numbers(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """The prompts of a batch by their numbers."""
    return {"prompt": torch.tensor([example["prompt"] for example in examples])}


def _encoded(
    pool: pd.DataFrame,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> Pairs:
    """Token ids of the prompts and of the responses, with their end tokens."""
    ending = endings(model.generation_config, tokenizer, template)
    ends = [ending.id_of(end) for end in pool["end_token"]]
    return encode_responses(tokenizer, template, list(pool["prompt"]), list(pool["response"]), ends)


JUDGED = 120
"""Most held-out prompts that the calibration reads."""


@torch.no_grad()
def judged(
    model: TrainedValues,
    base: PreTrainedModel,
    candidates: Candidates,
    strengths: Strengths,
    seed: int,
    pad: int,
    temperature: float,
) -> list[dict[str, float]]:
    """Calibration on held-out prompts, each with a random λ.

    Returns:
        Rows of `train.value_calibration.calibration`.
    """
    grown, realised = [], []
    for prompt in range(min(JUDGED, len(candidates))):
        texts = candidates.texts(prompt)
        # Training draws with the number of the step, which is never negative.
        u = strengths.draw(seed, 2**31, prompt)
        told = torch.tensor(np.tile(u, (len(texts), 1)), dtype=torch.float32).to(base.device)
        tilted = model(base, told, pad, texts, temperature)
        model.at(None)
        steps = (tilted - token_logprobs(base, pad, texts, temperature)).double().cumsum(1).cpu()
        grown += [
            ahead[: len(response)].numpy()
            for ahead, (_, response) in zip(steps, texts, strict=True)
        ]
        score = candidates.rewards[prompt] @ u
        weights = np.exp(score - score.max())
        realised += (weights / weights.mean()).tolist()
    return calibration(grown, np.array(realised))
