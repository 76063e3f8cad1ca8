"""What the reinforcement learning trainers share: the task, rewards, prompts, the empty case.

All of them maximise E[Σᵢ (λᵢ/Λ) rᵢ] − (1/Λ) KL(π ‖ p0) with Λ = Σᵢ |λᵢ|. Its optimum is
p_λ ∝ p0 exp(λ·r), on a reward scale that does not depend on Λ. Where λ moves while training (see
`closed_loop`), Λ stays that of the start.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Trainer

from polyalign.data.cut_off import kept
from polyalign.errors import InputError
from polyalign.models.encoding import check_lengths, max_positions
from polyalign.models.endings import NO_END
from polyalign.models.load import load_model
from polyalign.palettes.record import lam_of
from polyalign.rewards import Score, check_finite, check_weights, load_all, score_of
from polyalign.runtime.files import versions
from polyalign.runtime.job import is_main_process
from polyalign.settings import SamplingRule, Trim
from polyalign.train import common
from polyalign.train.closed_loop import Aim, ClosedLoop, aim_of
from polyalign.train.inputs import TrainingInputs
from polyalign.train.loading import process_count, ready, take_own_gpu
from polyalign.train.steering import Steering


@dataclass(frozen=True)
class Task:
    """What is asked and rewarded.

    Attributes:
        model: base model, a HuggingFace folder or a hub id; also the frozen reference.
        revision: of the base model on the hub.
        template: text around a prompt, with `{prompt}`.
        prompts: bare prompts (without template); drawn in shuffled passes.
        rewards: value → reward function.
        lam: value → λ, that of a ceiling ≤ 0; values with λ = 0 are left out of the reward.
        sampling: how the base model's candidates were sampled.
        aim: the levels that λ is steered to while training; None keeps λ.
        initial: folder of the model that the training starts from; None: the base model.
    """

    model: str
    revision: str | None
    template: str
    prompts: list[str]
    rewards: Mapping[str, Score]
    lam: Mapping[str, float]
    sampling: SamplingRule
    aim: Aim | None = None
    initial: str | None = None

    @property
    def policy(self) -> tuple[str, str | None]:
        """The model that the training starts from, and its revision on the hub."""
        return (self.initial, None) if self.initial else (self.model, self.revision)


def task_of(inputs: TrainingInputs) -> Task:
    """The task of a policy: the λ for training of its palette, or its own, and what it rewards.

    Where λ is steered, a value without weight may get one, so that all are scored.
    """
    take_own_gpu()
    lam = inputs.lam or lam_of(inputs.palette, "lam_train")
    aim = aim_of(inputs.palette) if inputs.settings["adapt"] else None
    scored = lam if aim and any(lam.values()) else [name for name in lam if lam[name] != 0]
    rewards = load_all({name: spec for name, spec in inputs.values.items() if name in scored})
    # Without any weight the base model is the answer.
    started = inputs.policies.values() if any(lam.values()) else ()
    initial = next((str(folder) for folder in started), None)
    return Task(
        model=inputs.model["source"],
        revision=inputs.model["revision"],
        template=inputs.template,
        prompts=inputs.prompts,
        rewards=rewards,
        lam={name: lam[name] for name in rewards},
        sampling=SamplingRule(**inputs.sampling),
        aim=aim,
        initial=initial,
    )


def closed_loop(task: Task, trainer: Trainer, batches: int) -> ClosedLoop | None:
    """The loop that steers λ of a training, if its task has an aim.

    Args:
        task: with an aim for all values that are rewarded.
        trainer: of the policy.
        batches: batches of responses of the whole training.
    """
    if task.aim is None:
        return None
    loop = ClosedLoop(task.aim, batches)
    trainer.add_callback(Steering(loop))
    return loop


def weighed(task: Task) -> dict[str, float]:
    """λ at the start of the values that are rewarded; empty if every λ is 0.

    Raises:
        InputError: on an infinite λ, or one without a reward function.
    """
    active = active_weights(task.lam, task.rewards)
    if task.aim is None or not active:
        return active
    return {name: float(task.lam[name]) for name in task.aim.values}


def scored(
    name: str,
    score: Score,
    prompts: list[str],
    completions: list[str],
    ends: list[str | None],
    trim: Trim,
) -> np.ndarray:
    """Rewards (n,), float64, of one value, as annotation gives them.

    The score reads prompts without template, stripped responses, which the sampling rule trims as
    those of the pool, and their end tokens.

    Raises:
        InputError: if a reward is not finite.
    """
    both = zip(completions, ends, strict=True)
    texts = [kept(text.strip(), trim, cut=end == NO_END) for text, end in both]
    rewards = np.asarray(score_of(score, prompts, texts, ends), dtype=np.float64)
    check_finite(name, rewards, completions)
    return rewards


def active_weights(lam: Mapping[str, float], rewards: Mapping[str, Any]) -> dict[str, float]:
    """The λ that are not 0, by name.

    Raises:
        InputError: on an infinite λ, or one without a reward function.
    """
    check_weights(lam, rewards)
    return {name: float(weight) for name, weight in lam.items() if weight != 0}


def prompt_order(prompts: int, batches: int, per_batch: int, seed: int) -> np.ndarray:
    """Indices (batches × per_batch,) into the prompts: as many shuffled passes as it takes.

    The order of a whole run is drawn at its start, so a resumed run only has to skip.
    """
    rng = np.random.default_rng(seed)
    size = batches * per_batch
    passes = [rng.permutation(prompts) for _ in range(-(-size // prompts))]
    return np.concatenate(passes)[:size]


def saved_between(arguments: Mapping[str, Any], steps: int) -> dict[str, int]:
    """When checkpoints are written: after steps that end one batch of responses, with metrics.

    A resumed run samples anew, so it must not have been in the middle of a batch.

    Args:
        arguments: of the trainer.
        steps: on each batch.
    """
    between = lcm(steps, arguments["logging_steps"])
    return {"save_steps": -(-arguments["save_steps"] // between) * between}


def is_exact(sampling: SamplingRule) -> bool:
    """Whether p_λ can be met: the KL is over all tokens, so sampling must exclude none."""
    return sampling.top_k == 0 and sampling.top_p == 1.0


def copy_base(
    policy: Any, tokenizer: Any, output: Path, work: Path, settings: dict[str, Any]
) -> dict[str, Any]:
    """The base model as the result, with a record that says so."""
    if is_main_process():
        common.save(policy, tokenizer, output, common.no_metrics(), work, merge=False)
    return {
        "settings": settings,
        "seconds": 0.0,
        "steps": 0,
        "resumed_from": None,
        "device": policy.device.type,
        "processes": process_count(),
        "metrics": {},
        "versions": versions(*common.PACKAGES),
        "exact_target": True,
        "note": "every λ is 0: the base model already meets the palette and is the answer",
    }


def reference(task: Task) -> Any:
    """The base model in float32, ready to judge responses."""
    full: dict[str, Any] = {"revision": task.revision, "dtype": torch.float32}
    return ready(load_model(AutoModelForCausalLM, task.model, "model", **full))


def longest(texts: list[str], tokenizer: Any, task: Task) -> int:
    """Tokens of the longest of n rendered prompts with the longest response."""
    return max(map(len, tokenizer(texts)["input_ids"])) + task.sampling.max_new_tokens


def check_prompts(texts: list[str], tokenizer: Any, policy: Any, max_new_tokens: int) -> None:
    """Raise InputError if there are no prompts or some leave no room for a response."""
    if not texts:
        raise InputError("no prompts to train on; expected at least one: check the fit split")
    check_lengths(
        texts, tokenizer(texts)["input_ids"], source=tokenizer.name_or_path,
        positions=max_positions(policy), new_tokens=max_new_tokens,
    )  # fmt: skip
