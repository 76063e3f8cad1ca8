"""REINFORCE leave-one-out towards p_λ, with trl; and GRPO, which has the KL in another place.

RLOO (Ahmadian et al. 2024, arXiv 2402.14740) has the KL inside the reward, so a token is charged
for the KL of all tokens that follow it, and the optimum is p_λ (see `rl`).

GRPO (Shao et al. 2024, arXiv 2402.03300) has the KL of each token in the loss. Two of its steps
would move the optimum and are off: advantages are not divided by the standard deviation of a group,
which would lose Λ, and the loss of a response is not divided by its length (Liu et al. 2025, arXiv
2503.20783). The KL carries the importance ratio, which makes its gradient that of KL(π ‖ p0) at
each token (DeepSeek-AI 2025, arXiv 2512.02556). One difference remains: no token is charged for the
KL after it. The optimum is therefore near p_λ, not p_λ itself.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import torch
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from polyalign.families.rloo import Rloo
from polyalign.models.encoding import render
from polyalign.models.endings import end_text, end_tokens, without_end
from polyalign.rewards import Score
from polyalign.settings import Trim
from polyalign.train import common, rl
from polyalign.train.closed_loop import ClosedLoop, group_covariance
from polyalign.train.inputs import Run, TrainingInputs
from polyalign.train.loading import adapters, load, ready
from polyalign.train.parts import fitting
from polyalign.train.reading import Drawn, Narrowed, Read
from polyalign.train.steering import steered

PROMPT = "bare_prompt"


class ResponseKl:
    """Logs the KL in nats per response; trl logs nats per token."""

    def log(self, logs: dict[str, float], *arguments: Any) -> None:
        """Multiply by the tokens per response before the values of several steps are averaged."""
        found: Any = self._metrics["train"]  # type: ignore[attr-defined]
        if "kl" in found:
            lengths = found["completions/mean_length"]
            # GRPO keeps the KL of each part of a step.
            parts = len(found["kl"]) // len(lengths)
            found["kl"] = [kl * lengths[n // parts] for n, kl in enumerate(found["kl"])]
        super().log(logs, *arguments)  # type: ignore[misc]


class Steered:
    """Rewards each batch with the λ so far, and then steers λ by the levels of the batch."""

    loop: ClosedLoop | None = None
    rewarded: torch.Tensor

    def _calculate_rewards(self, *arguments: Any) -> torch.Tensor:
        # Of all processes, one column per value.
        self.rewarded = super()._calculate_rewards(*arguments)  # type: ignore[misc]
        return self.rewarded

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        trainer: Any = self
        if self.loop is not None:
            trainer.reward_weights = torch.tensor(self.loop.lam * trainer.beta).float()
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        if self.loop is not None:
            rewards = self.rewarded.double().cpu().numpy()
            worth = trainer.accelerator.gather(self.worth(output)).double().cpu().numpy()
            pending = group_covariance(rewards, worth / trainer.beta, trainer.num_generations)
            for name, number in self.loop.update(rewards.mean(axis=0), pending).items():
                trainer._metrics["train"][name].append(number)
        return output

    def worth(self, output: Any) -> torch.Tensor:
        """(λ·r − log(π / p0)) / Λ of this process's responses, but for a constant per prompt."""
        raise NotImplementedError


class RlooTrainer(Steered, Drawn, Narrowed, ResponseKl, RLOOTrainer):
    """trl's RLOO with the KL in nats per response in its metrics, and a λ that may be steered."""

    def _generate_single_turn(self, prompt_ids: Any, *others: Any) -> list[list[int]]:
        return self.drawn(prompt_ids)

    def _get_per_token_logps_and_entropies(
        self, model: Any, ids: torch.Tensor, attention: torch.Tensor, length: int, *a: Any, **n: Any
    ) -> Read:
        """As trl's, but once after each drawing it knows what drawing knew.

        trl asks first for the policy's log-probabilities, of which it only takes each text's sum.
        """
        known, self.known = self.known, None
        if known is None:
            return super()._get_per_token_logps_and_entropies(
                model, ids, attention, length, *a, **n
            )
        sums = torch.zeros(len(ids), length)
        sums[:, 0] = known
        return sums, None, None

    def worth(self, output: Any) -> torch.Tensor:
        """The advantage; its baseline leaves the response itself out."""
        advantages: torch.Tensor = output["advantages"]
        size: Any = self.num_generations
        return advantages * (size - 1) / size


class GrpoTrainer(Steered, Drawn, Narrowed, ResponseKl, GRPOTrainer):
    """trl's GRPO with the KL in nats per response in its metrics, and a λ that may be steered."""

    def _generate_single_turn(self, prompt_ids: Any, *others: Any) -> tuple[list[list[int]], None]:
        return self.drawn(prompt_ids), None

    def worth(self, output: Any) -> torch.Tensor:
        """The advantage without the KL, which GRPO has in the loss, and the KL."""
        mask = output["completion_mask"]
        logprobs = self.known
        if logprobs is None:
            ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
            attention = torch.cat([output["prompt_mask"], mask], dim=1)
            with torch.no_grad():
                every, _, _ = self._get_per_token_logps_and_entropies(
                    self.model, ids, attention, mask.shape[1],
                    batch_size=self.args.per_device_train_batch_size,
                )  # fmt: skip
            logprobs = (every * mask).sum(1)
        base = (output["ref_per_token_logps"] * mask).sum(1)
        worth: torch.Tensor = output["advantages"] - self.beta * (logprobs - base)
        return worth


# Trainer, its arguments, and the values of those in which the two differ.
ALGORITHMS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "rloo": (RlooTrainer, RLOOConfig, {}),
    "grpo": (
        GrpoTrainer,
        GRPOConfig,
        {"scale_rewards": "none", "loss_type": "dr_grpo", "use_bias_correction_kl": True},
    ),
}


def reward_function(
    name: str, score: Score, ends: list[int], tokenizer: Any, trim: Trim = None
) -> Callable[..., list[float]]:
    """`score` as trl calls it, under the value's name (which trl takes for its metrics).

    Args:
        name: of the value.
        score: its reward function.
        ends: ids of the end tokens.
        tokenizer: gives them their texts.
        trim: what the sampling rule makes of texts without an end token.
    """

    def reward(completion_ids: list[list[int]], **columns: Any) -> list[float]:
        # trl's texts have the end tokens that are not special.
        written = [without_end(ids, ends) for ids in completion_ids]
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        ended: list[str | None] = [end_text(ids, ends, tokenizer) for ids in completion_ids]
        rewards = rl.scored(name, score, columns[PROMPT], texts, ended, trim)
        return [float(number) for number in rewards]

    reward.__name__ = name
    return reward


def refer_to_base(trainer: Any, task: rl.Task) -> None:
    """Measure the KL to the base model; trl measures it to the model that training starts from."""
    trainer.ref_model = None  # so that there are never three models in memory
    base = rl.reference(task)
    disable_dropout_in_model(base)
    add_fused_lm_head(base, temperature=task.sampling.temperature)
    trainer.ref_model = trainer.accelerator.prepare_model(base, evaluation_mode=True)


def train(inputs: TrainingInputs, output: Path) -> dict[str, Any]:
    """Train the policy's model into `output`; returns the record of the training."""
    return train_rloo(rl.task_of(inputs), Rloo(**inputs.settings), inputs.run, output)


def train_rloo(task: rl.Task, section: Rloo, run: Run, output: Path) -> dict[str, Any]:
    """Train a model towards p_λ on given prompts.

    Rewards are neither clipped nor normalised. If every λ is 0, the base model is the answer and is
    copied. The KL is to the base model over all tokens, so p_λ is met exactly if `task.sampling`
    excludes none (top_k 0, top_p 1).

    Args:
        task: what is asked and rewarded.
        section: how to optimise; a batch counts responses.
        run: how the training runs.
        output: folder of the finished model.

    Returns:
        The record of `common.train_and_save`, and `exact_target`: whether the optimum is p_λ itself
        (`task.sampling` excludes no tokens, and the algorithm is `rloo`); for a copied base model
        with `steps` 0 and a `note`.

    Raises:
        InputError: if model, tokenizer, template, prompts, λ, rewards or batch do not fit.
    """
    weights = rl.weighed(task)
    total = sum(map(abs, weights.values()))
    settings = {
        "model": task.model,
        "revision": task.revision,
        "start": task.initial,
        "algorithm": section.algorithm,
        "lam": weights,
        "template": task.template,
        "sampling": task.sampling.model_dump(),
        "steps": section.steps,
        "generations": section.generations,
        "passes": section.passes,
        **common.recorded(section, run),
    }
    trainer_class, config_class, options = ALGORITHMS[section.algorithm]
    policy, tokenizer = load(*task.policy, task.template, section, run)
    if not weights:
        return rl.copy_base(policy, tokenizer, output, run.work, settings)
    texts = [render(tokenizer, task.template, prompt) for prompt in task.prompts]
    rl.check_prompts(texts, tokenizer, policy, task.sampling.max_new_tokens)
    longest = rl.longest(texts, tokenizer, task)
    per_step = section.batch_size // section.generations
    batches = section.steps // section.passes
    order = rl.prompt_order(len(texts), batches, per_step, run.seed)
    ends = end_tokens(policy.generation_config, tokenizer)
    functions: list[Any] = [
        reward_function(name, task.rewards[name], ends, tokenizer, task.sampling.trim)
        for name in weights
    ]
    rows = {"prompt": [texts[row] for row in order], PROMPT: [task.prompts[row] for row in order]}
    most = fitting(policy, 1, longest, run.device, whole=True)
    arguments = common.training_arguments(section, run, most)
    trainer = trainer_class(
        model=policy,
        reward_funcs=functions,
        args=config_class(
            **arguments | rl.saved_between(arguments, section.passes),
            **options,
            max_steps=section.steps,
            num_iterations=section.passes,
            reward_weights=[weight / total for weight in weights.values()],
            beta=1 / total,
            num_generations=section.generations,
            shuffle_dataset=False,
            max_completion_length=task.sampling.max_new_tokens,
            temperature=task.sampling.temperature,
            top_k=task.sampling.top_k,
            top_p=task.sampling.top_p,
            # Of the reference, which trl loads itself.
            model_init_kwargs={"revision": task.policy[1]},
        ),
        train_dataset=datasets.Dataset.from_dict(rows),
        processing_class=tokenizer,
        peft_config=adapters(section.lora, run, "CAUSAL_LM", task.policy[1]),
    )
    if task.initial:
        refer_to_base(trainer, task)
    elif trainer.ref_model is not None:
        ready(trainer.accelerator.unwrap_model(trainer.ref_model))
    trainer.task = task
    trainer.loop = rl.closed_loop(task, trainer, batches)
    record = common.train_and_save(trainer, tokenizer, output, run.work, settings)
    exact = rl.is_exact(task.sampling) and section.algorithm == "rloo"
    return {**record, "exact_target": exact, **steered(trainer.loop)}
