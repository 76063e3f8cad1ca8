"""REINFORCE leave-one-out towards p_λ, with trl.

RLOO (Ahmadian et al. 2024, arXiv 2402.14740) maximises E[reward] − β KL(π ‖ p0) with the KL inside
the reward. Its optimum is p0 exp(reward / β): reward Σᵢ (λᵢ/Λ) rᵢ and β = 1/Λ with Λ = Σᵢ λᵢ give
p_λ ∝ p0 exp(λ·r), on a reward scale that does not depend on Λ.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from trl import RLOOConfig, RLOOTrainer

from polyalign.errors import InputError
from polyalign.files import versions
from polyalign.logprobs import Sampling
from polyalign.train import common
from polyalign.values import Score

PROMPT = "bare_prompt"


def reward_function(name: str, score: Score) -> Callable[..., list[float]]:
    """`score` as trl calls it, under the value's name (which trl takes for its metrics).

    The score sees what annotation sees: prompts without template, stripped responses.
    """

    def reward(completions: list[str], **columns: Any) -> list[float]:
        rewards = score(columns[PROMPT], [text.strip() for text in completions])
        rewards = np.asarray(rewards, dtype=np.float64)
        bad = np.flatnonzero(~np.isfinite(rewards))
        if bad.size:
            # trl would leave such a value out of the sum without a word.
            raise InputError(
                f"value '{name}' is {rewards[bad[0]]} for the response {completions[bad[0]]!r}; "
                "expected a finite number: mend the reward or take the value out of the palette"
            )
        return [float(number) for number in rewards]

    reward.__name__ = name
    return reward


def active_weights(lam: Mapping[str, float], rewards: Mapping[str, Any]) -> dict[str, float]:
    """The positive λ, by name.

    Raises:
        InputError: on a negative or infinite λ, or one without a reward function.
    """
    for name, weight in lam.items():
        if not np.isfinite(weight) or weight < 0:
            raise InputError(f"λ of '{name}' is {weight}; expected a finite number >= 0")
        if weight > 0 and name not in rewards:
            raise InputError(
                f"λ of '{name}' is {weight:g}, but there is no such reward; "
                f"there are {', '.join(sorted(rewards))}"
            )
    return {name: float(weight) for name, weight in lam.items() if weight > 0}


def prompt_order(prompts: int, batches: int, per_batch: int, seed: int) -> np.ndarray:
    """Indices (batches × per_batch,) into the prompts: as many shuffled passes as it takes.

    The order of a whole run is laid out beforehand, so a resumed run needs only to skip.
    """
    rng = np.random.default_rng(seed)
    size = batches * per_batch
    passes = [rng.permutation(prompts) for _ in range(-(-size // prompts))]
    return np.concatenate(passes)[:size]


def train_rloo(
    model: str,
    prompts: list[str],
    rewards: Mapping[str, Score],
    lam: Mapping[str, float],
    output: Path,
    *,
    work: Path,
    template: str,
    sampling: Sampling,
    training: common.Training,
    steps: int,
    generations: int = 4,
) -> dict[str, Any]:
    """Train a model towards p_λ on given prompts.

    Rewards are neither clipped nor normalised. Values with λ = 0 are left out. If every λ is 0, the
    base model is the answer and is copied. The KL is to the base model over all tokens, so p_λ is
    met exactly if `sampling` excludes none (top_k 0, top_p 1).

    Args:
        model: base model, a HuggingFace folder or a hub id; also the frozen reference.
        prompts: bare prompts (without template); drawn in shuffled passes.
        rewards: value → reward function.
        lam: value → λ ≥ 0.
        output: the finished model's folder.
        work: folder for checkpoints; a run that was killed goes on from there.
        template: text around a prompt, with `{prompt}`.
        sampling: how the base model's candidates were sampled.
        training: how to optimise; a batch counts responses.
        steps: optimisation steps, each on fresh responses.
        generations: responses to one prompt in a step, at least 2.

    Returns:
        The record of `common.run`, and `exact_target`: whether `sampling` excludes no tokens; for a
        copied base model with `steps` 0 and a `note`.

    Raises:
        InputError: if model, tokenizer, template, prompts, λ, rewards or batch do not fit.
    """
    weights = active_weights(lam, rewards)
    total = sum(weights.values())
    settings = {
        "model": model,
        "lam": weights,
        "template": template,
        "sampling": asdict(sampling),
        "steps": steps,
        "generations": generations,
        **asdict(training),
    }
    policy, tokenizer = common.load(model, template)
    if not weights:
        return _copy_base(policy, tokenizer, output, work, settings)
    per_step = _prompts_per_step(training.batch_size, generations)
    texts = [template.format(prompt=prompt) for prompt in prompts]
    _check_prompts(texts, tokenizer, policy, sampling.max_new_tokens)
    order = prompt_order(len(prompts), steps, per_step, training.seed)
    functions: list[Any] = [reward_function(name, rewards[name]) for name in weights]
    rows = {"prompt": [texts[row] for row in order], PROMPT: [prompts[row] for row in order]}
    trainer = RLOOTrainer(
        model=policy,
        reward_funcs=functions,
        args=RLOOConfig(
            **common.training_arguments(work, training),
            max_steps=steps,
            reward_weights=[weight / total for weight in weights.values()],
            beta=1 / total,
            num_generations=generations,
            shuffle_dataset=False,
            max_completion_length=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
        ),
        train_dataset=datasets.Dataset.from_dict(rows),
        processing_class=tokenizer,
    )
    exact = sampling.top_k == 0 and sampling.top_p == 1.0
    return {**common.run(trainer, tokenizer, output, work, settings), "exact_target": exact}


def _copy_base(
    policy: Any, tokenizer: Any, output: Path, work: Path, settings: dict[str, Any]
) -> dict[str, Any]:
    """The base model as the result, with a record that says so."""
    common.save(policy, tokenizer, output, common.no_metrics(), work)
    return {
        "settings": settings,
        "seconds": 0.0,
        "steps": 0,
        "resumed_from": None,
        "device": policy.device.type,
        "metrics": {},
        "versions": versions(*common.PACKAGES),
        "exact_target": True,
        "note": "every λ is 0: the base model already meets the palette and is the answer",
    }


def _check_prompts(texts: list[str], tokenizer: Any, policy: Any, max_new_tokens: int) -> None:
    """Raise InputError if there are no prompts or one leaves no room for a response."""
    if not texts:
        raise InputError("no prompts to train on; expected at least one: check the fit split")
    positions = getattr(policy.config, "max_position_embeddings", None)
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    longest = int(np.argmax(lengths))
    if positions is not None and lengths[longest] + max_new_tokens > positions:
        raise InputError(
            f"prompt {texts[longest][:60]!r}… has {lengths[longest]} tokens, which with "
            f"max_new_tokens {max_new_tokens} exceeds the model's {positions} positions; "
            "leave out such prompts or lower max_new_tokens"
        )


def _prompts_per_step(batch_size: int, generations: int) -> int:
    """Prompts in a step, or InputError if the responses do not fill whole groups of at least 2."""
    if generations < 2 or batch_size % generations:
        raise InputError(
            f"batch_size {batch_size} with {generations} generations; expected at least 2 "
            "generations a prompt, and a batch_size that is a multiple of them: change one"
        )
    return batch_size // generations
