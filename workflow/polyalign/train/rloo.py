"""REINFORCE leave-one-out towards p_λ, with trl; and GRPO, which differs in where the KL stands.

RLOO (Ahmadian et al. 2024, arXiv 2402.14740) has the KL inside the reward, so that a token answers
for the KL of all that follow it, and its optimum is p_λ (see `rl`).

GRPO (Shao et al. 2024, arXiv 2402.03300) has the KL of each token in the loss. Two of its habits
would move the optimum and are off: advantages are not divided by a group's deviation, which would
lose Λ, and a response's loss not by its length (Liu et al. 2025, arXiv 2503.20783). The KL carries
the importance ratio, which makes its gradient that of KL(π ‖ p0) at each token (DeepSeek-AI 2025,
arXiv 2512.02556). What remains is that no token answers for the KL after it: the optimum is near
p_λ, not p_λ itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from polyalign.errors import InputError
from polyalign.models.encoding import render
from polyalign.models.logprobs import Sampling
from polyalign.rewards import Score
from polyalign.train import common, rl
from polyalign.train.inputs import TrainingInputs

PROMPT = "bare_prompt"


class ResponseKl:
    """Logs the KL in nats a response; trl logs nats a token."""

    def log(self, logs: dict[str, float], *arguments: Any) -> None:
        """Multiply by the tokens a response before the values of several steps are averaged."""
        found: Any = self._metrics["train"]  # type: ignore[attr-defined]
        if "kl" in found:
            lengths = found["completions/mean_length"]
            # GRPO notes the KL of each part of a step.
            parts = len(found["kl"]) // len(lengths)
            found["kl"] = [kl * lengths[n // parts] for n, kl in enumerate(found["kl"])]
        super().log(logs, *arguments)  # type: ignore[misc]


class Rloo(ResponseKl, RLOOTrainer):
    """trl's RLOO with the KL in nats a response in its metrics."""


class Grpo(ResponseKl, GRPOTrainer):
    """trl's GRPO with the KL in nats a response in its metrics."""


# What differs between the two, beside the trainer.
ALGORITHMS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "rloo": (Rloo, RLOOConfig, {}),
    "grpo": (
        Grpo,
        GRPOConfig,
        {"scale_rewards": "none", "loss_type": "dr_grpo", "use_bias_correction_kl": True},
    ),
}


def reward_function(name: str, score: Score) -> Callable[..., list[float]]:
    """`score` as trl calls it, under the value's name (which trl takes for its metrics)."""

    def reward(completions: list[str], **columns: Any) -> list[float]:
        rewards = rl.scored(name, score, columns[PROMPT], completions)
        return [float(number) for number in rewards]

    reward.__name__ = name
    return reward


def train(inputs: TrainingInputs, output: Path) -> dict[str, Any]:
    """Train the policy's model into `output`; returns the record of the training."""
    settings, model = inputs.settings, inputs.model
    lam, rewards = rl.lam_and_rewards(inputs)
    return train_rloo(
        model["source"],
        inputs.prompts,
        rewards,
        lam,
        output,
        work=inputs.work,
        template=inputs.template,
        sampling=Sampling(**inputs.sampling),
        training=common.training(
            settings, inputs.seed, model["dtype"], model["device"], parts=inputs.parts
        ),
        steps=settings["steps"],
        generations=settings["generations"],
        algorithm=settings["algorithm"],
        revision=model["revision"],
    )


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
    algorithm: str = "rloo",
    revision: str | None = None,
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
        algorithm: `rloo` or `grpo`.
        revision: of the base model on the hub.

    Returns:
        The record of `common.run`, and `exact_target`: whether the optimum is p_λ itself
        (`sampling` excludes no tokens, and the algorithm is `rloo`); for a copied base model with
        `steps` 0 and a `note`.

    Raises:
        InputError: if model, tokenizer, template, prompts, λ, rewards or batch do not fit.
    """
    weights = rl.active_weights(lam, rewards)
    total = sum(weights.values())
    settings = {
        "model": model,
        "revision": revision,
        "algorithm": algorithm,
        "lam": weights,
        "template": template,
        "sampling": asdict(sampling),
        "steps": steps,
        "generations": generations,
        **asdict(training),
    }
    trainer_class, config_class, options = ALGORITHMS[algorithm]
    policy, tokenizer = common.load(model, template, training, revision)
    if not weights:
        return rl.copy_base(policy, tokenizer, output, work, settings)
    per_step = _prompts_per_step(training.batch_size, generations)
    texts = [render(tokenizer, template, prompt) for prompt in prompts]
    rl.check_prompts(texts, tokenizer, policy, sampling.max_new_tokens)
    order = rl.prompt_order(len(prompts), steps, per_step, training.seed)
    functions: list[Any] = [reward_function(name, rewards[name]) for name in weights]
    rows = {"prompt": [texts[row] for row in order], PROMPT: [prompts[row] for row in order]}
    trainer = trainer_class(
        model=policy,
        reward_funcs=functions,
        args=config_class(
            **common.training_arguments(work, training),
            **options,
            max_steps=steps,
            reward_weights=[weight / total for weight in weights.values()],
            beta=1 / total,
            num_generations=generations,
            shuffle_dataset=False,
            max_completion_length=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            # Of the reference, which trl loads itself.
            model_init_kwargs={"revision": revision},
        ),
        train_dataset=datasets.Dataset.from_dict(rows),
        processing_class=tokenizer,
        peft_config=common.adapters(training, "CAUSAL_LM", revision),
    )
    if trainer.ref_model is not None:
        common.ready(trainer.accelerator.unwrap_model(trainer.ref_model))
    record = common.run(trainer, tokenizer, output, work, settings)
    return {**record, "exact_target": rl.is_exact(sampling) and algorithm == "rloo"}


def _prompts_per_step(batch_size: int, generations: int) -> int:
    """Prompts in a step, or InputError if the responses do not fill whole groups of at least 2."""
    if generations < 2 or batch_size % generations:
        raise InputError(
            f"batch_size {batch_size} with {generations} generations; expected at least 2 "
            "generations a prompt, and a batch_size that is a multiple of them: change one"
        )
    return batch_size // generations
