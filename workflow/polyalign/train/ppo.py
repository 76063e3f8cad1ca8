"""Proximal policy optimisation towards p_λ, an actor and a critic on transformers' own Trainer.

Sources: Schulman et al. 2017 (arXiv 1707.06347) for the clipped surrogate, Schulman et al. 2016
(arXiv 1506.02438) for the advantages, Ziegler et al. 2019 (arXiv 1909.08593) for language models
with the KL to the base model inside the reward of each token. Its coefficient is fixed, so the
optimum is p_λ (see `rl`). What would move the optimum is left out: rewards are not clipped,
advantages not whitened, losses not divided by a response's length, and the critic reads the
policy's hidden states without a gradient into them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import lcm
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)
from trl.trainer.utils import disable_dropout_in_model

from polyalign.data.keys import batch_seed
from polyalign.errors import InputError
from polyalign.models.encoding import render
from polyalign.models.load import load_model
from polyalign.models.logprobs import Sampling
from polyalign.rewards import Score
from polyalign.sampling.engines import end_tokens, left_padded, sampling_rule
from polyalign.train import common, rl
from polyalign.train.actor_critic import (
    ActorCritic,
    Responses,
    advantages,
    foretold,
    padded,
    token_logprobs,
)
from polyalign.train.divergence import check_number
from polyalign.train.inputs import TrainingInputs

WEIGHTS = "model.safetensors"
# The critic's share of the loss; it only matters where gradients are clipped.
VALUE_SHARE = 0.1


@dataclass(frozen=True)
class Ppo:
    """What PPO has beside the settings of every trainer.

    Attributes:
        minibatches: new responses are sampled for so many steps at once.
        passes: and used so often.
        clip: the ratio of a token's probability to when it was sampled counts up to 1 ± this.
        gae_lambda: 1 trusts the rewards alone (no bias), less the critic too (less noise).
        value_learning_rate: peak of the linear schedule of the critic.
    """

    minibatches: int = 2
    passes: int = 2
    clip: float = 0.2
    gae_lambda: float = 1.0
    value_learning_rate: float = 1e-3

    @property
    def steps(self) -> int:
        """Optimisation steps on one rollout."""
        return self.minibatches * self.passes


@dataclass(frozen=True)
class Task:
    """What is asked and rewarded: prompts, their token ids, reward functions, λ, sampling."""

    prompts: list[str]
    encoded: list[list[int]]
    rewards: Mapping[str, Score]
    lam: Mapping[str, float]
    sampling: Sampling


class PpoTrainer(Trainer):
    """Samples responses, scores them, takes several clipped steps on them, and samples anew.

    The prompts of the whole run are laid out beforehand. Each process samples and scores its share
    of a rollout, with seeds that depend on the rollout's number alone, so a run resumes at a
    rollout as if it had never stopped.
    """

    def __init__(
        self,
        model: ActorCritic,
        reference: Any,
        args: TrainingArguments,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        ppo: Ppo,
        sampled_at_once: int,
    ) -> None:
        batch = (
            args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        )
        groups: list[dict[str, Any]] = [
            {"params": [w for w in model.policy.parameters() if w.requires_grad]},
            {"params": list(model.value_head.parameters()), "lr": ppo.value_learning_rate},
        ]
        adam = torch.optim.AdamW(
            groups, args.learning_rate, betas=(args.adam_beta1, args.adam_beta2), weight_decay=0.0
        )
        super().__init__(
            model=model,
            args=args,
            # It only counts: a row a response of a step.
            train_dataset=cast(Any, [0] * (args.max_steps * batch)),
            data_collator=lambda rows: {"rows": torch.tensor(len(rows))},
            processing_class=tokenizer,
            optimizers=(adam, None),
        )
        self.actor, self.tokenizer, self.task, self.ppo = model, tokenizer, task, ppo
        # With adapters the reference is the policy without them.
        if reference is not None:
            reference = self.accelerator.prepare_model(reference, evaluation_mode=True)
        self.reference = reference
        self.sampled_at_once = sampled_at_once
        self.per_rollout = batch * ppo.minibatches
        self.order = rl.prompt_order(
            len(task.prompts), args.max_steps // ppo.steps, self.per_rollout, args.seed
        )
        self.ends = end_tokens(model.policy, tokenizer)
        self.batches: Iterator[Responses] = iter(())
        self.measured: dict[str, list[float]] = {}

    # ---- sampling and judging ----------------------------------------------------------------

    def _prepare_inputs(self, inputs: Any) -> Any:
        """The next part of the rollout, or the first one of the next rollout."""
        part = next(self.batches, None)
        if part is None:
            number = self.state.global_step // self.ppo.steps
            self.actor.eval()
            with torch.no_grad():
                rollout = self.rollout(number)
            self.actor.train()
            self.batches = self.parts(rollout, number)
            part = next(self.batches)
        return part

    def parts(self, rollout: Responses, number: int) -> Iterator[Responses]:
        """All passes over a rollout, in the parts that are computed at once."""
        rng = torch.Generator().manual_seed(self.seed_of("order", number))
        for _ in range(self.ppo.passes):
            order = torch.randperm(len(rollout.ids), generator=rng).to(self.args.device)
            for rows in order.split(self.args.per_device_train_batch_size):
                yield rollout[rows]

    def seed_of(self, what: str, number: int) -> int:
        """Seed of a part of a rollout on this process, whatever went before."""
        return batch_seed(self.args.seed, f"ppo/{what}/{self.args.process_index}", number)

    def rollout(self, number: int) -> Responses:
        """This process's share of a rollout: sampled, scored and judged."""
        rows = self.order[number * self.per_rollout : (number + 1) * self.per_rollout]
        rows = rows[self.args.process_index :: self.args.world_size]
        asked = [self.task.encoded[row] for row in rows]
        prompts = [self.task.prompts[row] for row in rows]
        torch.manual_seed(self.seed_of("responses", number))
        responses = self.sample(asked)
        texts = self.tokenizer.batch_decode(responses, skip_special_tokens=True)
        scores = {
            name: torch.tensor(rl.scored(name, score, prompts, texts)).float().to(self.args.device)
            for name, score in self.task.rewards.items()
        }
        return self.judge(asked, responses, scores)

    def sample(self, prompts: list[list[int]]) -> list[list[int]]:
        """Sampled token ids a prompt, up to and including the end token."""
        rule = sampling_rule(self.task.sampling, self.ends, self.tokenizer)
        size = self.sampled_at_once
        responses = []
        for start in range(0, len(prompts), size):
            batch = left_padded(self.tokenizer, prompts[start : start + size]).to(self.args.device)
            with self.accelerator.autocast():
                output = self.actor.policy.generate(**batch, generation_config=rule)
            for ids in output[:, batch["input_ids"].shape[1] :].tolist():
                end = next((at for at, token in enumerate(ids) if token in self.ends), len(ids))
                responses.append(ids[: end + 1])
        return responses

    def judge(
        self, prompts: list[list[int]], responses: list[list[int]], scores: dict[str, torch.Tensor]
    ) -> Responses:
        """The responses with the policy's log-probabilities, advantages and returns.

        A token's reward is −log(π / p0) / Λ, and that of the last one also Σᵢ (λᵢ/Λ) rᵢ.
        """
        total = sum(self.task.lam.values())
        weighted = [scores[name] * weight / total for name, weight in self.task.lam.items()]
        reward = torch.stack(weighted).sum(0)
        self.set_units(reward)
        made = padded(prompts, responses, self.tokenizer.pad_token_id, self.args.device)
        rows = torch.arange(len(prompts), device=self.args.device)
        found = [
            (*self.actor(made[part]), self.base_logprobs(made[part]))
            for part in rows.split(self.args.per_device_train_batch_size)
        ]
        old, entropy, values, base = (
            torch.cat(part) * made.mask for part in zip(*found, strict=True)
        )
        kl = old - base
        last = made.mask.sum(1, keepdim=True).long() - 1
        token_rewards = (-kl / total).scatter_add(1, last, reward[:, None])
        made.logprobs = old
        made.advantages = advantages(token_rewards, values, made.mask, self.ppo.gae_lambda)
        made.returns = made.advantages + values
        cut = torch.tensor([float(ids[-1] not in self.ends) for ids in responses])
        self.measure(
            responses=torch.ones(len(cut)), tokens=made.mask, reward=reward, kl=kl,
            entropy=entropy, truncated=cut,
            **{f"rewards/{name}/mean": score for name, score in scores.items()},
        )  # fmt: skip
        return made

    def base_logprobs(self, batch: Responses) -> torch.Tensor:
        """Log-probabilities (b, T) of the tokens under the base model."""
        if self.reference is not None:
            logits, _ = foretold(self.reference, batch)
        else:
            policy = cast(PeftModel, self.actor.policy)
            with policy.disable_adapter(), self.accelerator.autocast():
                logits, _ = foretold(policy, batch)
        return token_logprobs(logits, batch, self.task.sampling.temperature)[0]

    def set_units(self, reward: torch.Tensor) -> None:
        """Take the mean and deviation of the first rewards as the units of the values."""
        if not self.actor.scale:
            every = self.accelerator.gather(reward)
            self.actor.centre.copy_(every.mean())
            self.actor.scale.copy_(every.std(correction=0).clamp(min=1e-3))

    # ---- the loss ----------------------------------------------------------------------------

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> torch.Tensor:
        """Clipped surrogate and the critic's squared error, summed over a response's tokens.

        Raises:
            FloatingPointError: if it is not finite.
        """
        batch = cast(Responses, inputs)
        logprobs, _, values = model(batch)
        ratio = ((logprobs - batch.logprobs) * batch.mask).exp()
        clipped = ratio.clamp(1 - self.ppo.clip, 1 + self.ppo.clip)
        gain = torch.minimum(ratio * batch.advantages, clipped * batch.advantages)
        error = ((values - batch.returns) / self.actor.scale).square() * batch.mask
        outside = ((ratio - clipped).abs() > 0).float()
        self.measure(tokens=batch.mask, clipped=outside, value_error=error.detach())
        loss: torch.Tensor = (VALUE_SHARE * error - gain * batch.mask).sum(1).mean()
        every = cast(torch.Tensor, self.accelerator.reduce(loss.detach(), reduction="mean"))
        check_number("loss", every.item(), self.state.global_step + 1)
        return loss

    # ---- metrics and checkpoints -------------------------------------------------------------

    def measure(self, **sums: torch.Tensor) -> None:
        """Note means over all processes: a response's, or a token's where there are no responses.

        `entropy` is a token's in any case, and `tokens` becomes the `length` of a response.
        """
        totals = torch.stack([part.detach().sum().to(self.args.device) for part in sums.values()])
        totals = cast(torch.Tensor, self.accelerator.reduce(totals, reduction="sum"))
        found = dict(zip(sums, totals.tolist(), strict=True))
        count = found.pop("responses", found["tokens"])
        for name, total in found.items():
            if name == "tokens" and count != total:
                self.measured.setdefault("length", []).append(total / count)
            elif name != "tokens":
                by = found["tokens"] if name == "entropy" else count
                self.measured.setdefault(name, []).append(total / by)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log with what was measured since the last time."""
        logs |= {name: sum(values) / len(values) for name, values in self.measured.items()}
        self.measured = {}
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or cast(str, self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: w.detach().contiguous() for name, w in self.actor.trained().items()}
        save_file(weights, folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # What is not trained is not in the checkpoint.
        self.actor.load_state_dict(load_file(Path(resume_from_checkpoint) / WEIGHTS), strict=False)


def train(inputs: TrainingInputs, output: Path) -> dict[str, Any]:
    """Train the policy's model into `output`; returns the record of the training."""
    settings, model = inputs.settings, inputs.model
    lam, rewards = rl.lam_and_rewards(inputs)
    own = ("minibatches", "passes", "clip", "gae_lambda", "value_learning_rate")
    return train_ppo(
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
        ppo=Ppo(**{name: settings[name] for name in own}),
        revision=model["revision"],
    )


def train_ppo(
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
    ppo: Ppo,
    revision: str | None = None,
) -> dict[str, Any]:
    """Train a model towards p_λ on given prompts.

    Values with λ = 0 are left out. If every λ is 0, the base model is the answer and is copied.

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
        steps: optimisation steps, a multiple of those on one rollout.
        ppo: settings of PPO itself.
        revision: of the base model on the hub.

    Returns:
        The record of `common.run`, and `exact_target`: whether `sampling` excludes no tokens, so
        that the optimum is p_λ itself; for a copied base model with `steps` 0 and a `note`.

    Raises:
        InputError: if model, tokenizer, template, prompts, λ, rewards, batch or steps do not fit.
    """
    if steps % ppo.steps:
        raise InputError(
            f"{steps} steps are no multiple of the {ppo.steps} on one rollout ({ppo.minibatches} "
            f"minibatches × {ppo.passes} passes); change one of the three"
        )
    weights = rl.active_weights(lam, rewards)
    settings = {
        "model": model,
        "revision": revision,
        "lam": weights,
        "template": template,
        "sampling": asdict(sampling),
        "steps": steps,
        **asdict(ppo),
        **asdict(training),
    }
    arguments = common.training_arguments(work, training)
    policy, tokenizer = common.load(model, template, training, revision)
    if not weights:
        return rl.copy_base(policy, tokenizer, output, work, settings)
    texts = [render(tokenizer, template, prompt) for prompt in prompts]
    rl.check_prompts(texts, tokenizer, policy, sampling.max_new_tokens)
    reference = None
    if training.lora is None:
        reference = common.ready(
            load_model(AutoModelForCausalLM, model, "model", revision=revision, dtype=torch.float32)
        )
    task = Task(
        prompts,
        tokenizer(texts)["input_ids"],
        {name: rewards[name] for name in weights},
        weights,
        sampling,
    )
    actor = ActorCritic(
        common.adapted(policy, training, "CAUSAL_LM", revision), sampling.temperature
    )
    disable_dropout_in_model(actor)
    trainer = PpoTrainer(
        actor,
        reference,
        trainer_arguments(arguments, actor, steps, ppo),
        tokenizer,
        task,
        ppo,
        # Noise is drawn a batch at a time, so this may not change when memory is short.
        sampled_at_once=common.per_process(training.batch_size, training.accumulation),
    )
    record = common.run(trainer, tokenizer, output, work, settings, model=actor.policy)
    return {**record, "exact_target": rl.is_exact(sampling)}


def trainer_arguments(
    shared: dict[str, Any], actor: ActorCritic, steps: int, ppo: Ppo
) -> TrainingArguments:
    """The shared arguments as the plain Trainer takes them, with checkpoints between rollouts."""
    arguments = {name: value for name, value in shared.items() if name != "disable_dropout"}
    # The Trainer would look for it in the actor and critic; it is the policy's.
    if arguments.pop("gradient_checkpointing"):
        actor.policy.gradient_checkpointing_enable(arguments["gradient_checkpointing_kwargs"])
    between = lcm(ppo.steps, arguments["logging_steps"])
    arguments["save_steps"] = -(-arguments["save_steps"] // between) * between
    return TrainingArguments(**arguments, max_steps=steps, remove_unused_columns=False)
