"""Proximal policy optimisation towards p_λ, an actor and a critic on transformers' own Trainer.

Sources: Schulman et al. 2017 (arXiv 1707.06347) for the clipped surrogate, Schulman et al. 2016
(arXiv 1506.02438) for the advantages, Ziegler et al. 2019 (arXiv 1909.08593) for language models
with the KL to the base model inside the reward of each token. Its coefficient is fixed, so the
optimum is p_λ (see `rl`). What would move the optimum is left out: rewards are not clipped,
advantages are not whitened, losses are not divided by the length of a response, and the critic
reads the policy's hidden states without a gradient into them.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import (
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)
from trl.trainer.utils import disable_dropout_in_model

from polyalign.data.keys import batch_seed
from polyalign.errors import InputError
from polyalign.families.ppo import Ppo
from polyalign.models.encoding import render, text_config
from polyalign.models.endings import end_text, end_tokens, without_end
from polyalign.sampling.drawing import sampler
from polyalign.train import common, rl
from polyalign.train.actor_critic import ActorCritic, advantages
from polyalign.train.closed_loop import ClosedLoop, group_covariance
from polyalign.train.divergence import check_number
from polyalign.train.inputs import Run, TrainingInputs
from polyalign.train.loading import adapted, load
from polyalign.train.parts import fitting
from polyalign.train.responses import (
    Responses,
    by_length,
    padded,
    response_logits,
    spread,
    token_logprobs,
)
from polyalign.train.steering import steered

WEIGHTS = "model.safetensors"
# The critic's share of the loss; it only matters where gradients are clipped.
VALUE_SHARE = 0.1


class PpoTrainer(Trainer):
    """Samples responses, scores them, takes several clipped steps on them, and samples again.

    The order of the prompts of the whole run is drawn at its start. Where λ is steered, each prompt
    of a rollout is answered twice. Each process samples and scores
    its share of a rollout, with seeds that depend on the number of the rollout alone, so a run
    resumes at a rollout as if it had never stopped.

    Args:
        model: the policy with its value head.
        reference: the base model; None if it is the policy without its adapters.
        args: the arguments of `trainer_arguments`.
        tokenizer: of the policy.
        task: what is asked and rewarded, values without weight left out.
        encoded: token ids of each prompt in its template.
        section: how to optimise.
    """

    def __init__(
        self,
        model: ActorCritic,
        reference: Any,
        args: TrainingArguments,
        tokenizer: PreTrainedTokenizerBase,
        task: rl.Task,
        encoded: list[list[int]],
        section: Ppo,
    ) -> None:
        batch = (
            args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        )
        groups: list[dict[str, Any]] = [
            {"params": [w for w in model.policy.parameters() if w.requires_grad]},
            {"params": list(model.value_head.parameters()), "lr": section.value_learning_rate},
        ]
        adam = torch.optim.AdamW(
            groups, args.learning_rate, betas=(args.adam_beta1, args.adam_beta2), weight_decay=0.0
        )
        super().__init__(
            model=model,
            args=args,
            # Only its length counts: one row per response of a step.
            train_dataset=cast(Any, [0] * (args.max_steps * batch)),
            data_collator=lambda rows: {"rows": torch.tensor(len(rows))},
            processing_class=tokenizer,
            optimizers=(adam, None),
        )
        self.actor, self.tokenizer, self.task, self.section = model, tokenizer, task, section
        self.encoded = encoded
        if reference is not None:
            reference = self.accelerator.prepare_model(reference, evaluation_mode=True)
        self.reference = reference
        # Noise is drawn one batch at a time, so this must not change when memory is short.
        self.sampled_at_once = common.per_process(section.batch_size, section.accumulation)
        self.per_rollout = batch * section.minibatches
        rollouts = args.max_steps // section.rollout_steps
        self.loop = rl.closed_loop(task, self, rollouts)
        # What λ is steered by is the covariance within a prompt, which takes two responses.
        self.answers = 2 if self.loop else 1
        if self.per_rollout % (self.answers * args.world_size):
            raise InputError(
                f"a rollout of {self.per_rollout} responses on {args.world_size} processes has not "
                "two responses for each of its prompts; expected an even number on each process, "
                "to adapt λ: change batch_size or minibatches, or set adapt to false"
            )
        few = self.per_rollout // self.answers
        self.order = rl.prompt_order(len(encoded), rollouts, few, args.seed).repeat(self.answers)
        self.ends = end_tokens(model.policy.generation_config, tokenizer)
        self.draws = sampler(model.policy, tokenizer, task.sampling)
        self.batches: Iterator[Responses] = iter(())
        self.measured: dict[str, list[float]] = {}

    # ---- sampling and judging ----------------------------------------------------------------

    def _prepare_inputs(self, inputs: Any) -> Any:
        """The next part of the rollout, or the first part of the next rollout."""
        part = next(self.batches, None)
        if part is None:
            number = self.state.global_step // self.section.rollout_steps
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
        for _ in range(self.section.passes):
            order = torch.randperm(len(rollout.ids), generator=rng).to(self.args.device)
            for rows in order.split(self.args.per_device_train_batch_size):
                yield rollout[rows]

    def seed_of(self, what: str, number: int) -> int:
        """Seed of a part of a rollout on this process, independent of what was drawn before."""
        return batch_seed(self.args.seed, f"ppo/{what}/{self.args.process_index}", number)

    def rollout(self, number: int) -> Responses:
        """This process's share of a rollout: sampled, scored and judged."""
        rows = self.order[number * self.per_rollout : (number + 1) * self.per_rollout]
        rows = np.split(rows, self.args.world_size)[self.args.process_index]
        asked = [self.encoded[row] for row in rows]
        prompts = [self.task.prompts[row] for row in rows]
        responses = self.sample(prompts, asked, number)
        written = [without_end(ids, self.ends) for ids in responses]
        texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        ends: list[str | None] = [end_text(ids, self.ends, self.tokenizer) for ids in responses]
        scores = {
            name: torch.tensor(
                rl.scored(name, score, prompts, texts, ends, self.task.sampling.trim)
            )
            .float()
            .to(self.args.device)
            for name, score in self.task.rewards.items()
        }
        return self.judge(asked, responses, scores)

    def sample(self, prompts: list[str], asked: list[list[int]], number: int) -> list[list[int]]:
        """Sampled token ids of one response per prompt, up to and including the end token."""
        size = self.sampled_at_once
        responses = []
        for place, start in enumerate(range(0, len(asked), size)):
            part = slice(start, start + size)
            seed = self.seed_of(f"responses/{place}", number)
            with self.accelerator.autocast():
                drawn = self.draws(prompts[part], asked[part], seed)
            responses += [response.ids for response in drawn]
        return responses

    def judge(
        self, prompts: list[list[int]], responses: list[list[int]], scores: dict[str, torch.Tensor]
    ) -> Responses:
        """The responses with the policy's log-probabilities, advantages and returns.

        A token's reward is −log(π / p0) / Λ, and that of the last one also Σᵢ (λᵢ/Λ) (rᵢ − cᵢ).
        The levels c are those asked where λ is steered, else 0. They change no optimum; without
        them the critic would have to learn a new mean, λ·c, whenever λ moves.
        """
        total = sum(map(abs, self.task.lam.values()))
        lam = self.loop.named_lam() if self.loop else self.task.lam
        weighted = [scores[name] * weight / total for name, weight in lam.items()]
        reward = torch.stack(weighted).sum(0)
        asked = self.loop.named_target() if self.loop else {}
        above = reward - sum(level * lam[name] for name, level in asked.items()) / total
        self.set_units(above)
        made = padded(prompts, responses, self.tokenizer.pad_token_id, self.args.device)
        rows = torch.arange(len(prompts), device=self.args.device)
        found = [
            (*self.actor(made[part], entropy=True), self.base_logprobs(made[part]))
            for part in rows.split(self.args.per_device_train_batch_size)
        ]
        old, values, entropy, base = (torch.cat(part) for part in zip(*found, strict=True))
        kl = old - base
        last = made.mask.sum(1, keepdim=True).long() - 1
        token_rewards = (-kl / total).scatter_add(1, last, above[:, None])
        made.logprobs = old
        made.advantages = advantages(token_rewards, values, made.mask, self.section.gae_lambda)
        made.returns = made.advantages + values
        if self.loop:
            self.steer(self.loop, scores, total * token_rewards.sum(1))
        cut = torch.tensor([float(ids[-1] not in self.ends) for ids in responses])
        self.measure(
            responses=torch.ones(len(cut)), tokens=made.mask, reward=reward, kl=kl,
            entropy=entropy, truncated=cut,
            **{f"rewards/{name}/mean": score for name, score in scores.items()},
        )  # fmt: skip
        return made

    def steer(self, loop: ClosedLoop, scores: dict[str, torch.Tensor], worth: torch.Tensor) -> None:
        """Steer λ by the levels of a rollout.

        Args:
            loop: what steers.
            scores: value → rewards of this process's responses.
            worth: λ·r − log(π / p0) of each.
        """
        rows = torch.stack([*scores.values(), worth], dim=1)
        every = self.accelerator.gather(rows).double().cpu().numpy()
        rewards = every[:, :-1]
        pending = group_covariance(rewards, every[:, -1], self.answers)
        for name, number in loop.update(rewards.mean(axis=0), pending).items():
            self.measured.setdefault(name, []).append(number)

    def base_logprobs(self, batch: Responses) -> torch.Tensor:
        """Log-probabilities (b, T) of the tokens under the base model."""
        policy = cast(PeftModel, self.actor.policy)
        temperature = self.task.sampling.temperature

        def read(part: Responses) -> tuple[torch.Tensor]:
            if self.reference is not None:
                logits, _ = response_logits(self.reference, part)
            else:
                with policy.disable_adapter(), self.accelerator.autocast():
                    logits, _ = response_logits(policy, part)
            return (token_logprobs(spread(logits, temperature), part),)

        return by_length(read, batch, text_config(policy).vocab_size)[0]

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
        logprobs, values = model(batch)
        ratio = ((logprobs - batch.logprobs) * batch.mask).exp()
        clipped = ratio.clamp(1 - self.section.clip, 1 + self.section.clip)
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
        """Keep means over all processes: per response, or per token if `responses` is not given.

        `entropy` is per token in any case, and `tokens` becomes the `length` of a response.
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
    return train_ppo(rl.task_of(inputs), Ppo(**inputs.settings), inputs.run, output)


def train_ppo(task: rl.Task, section: Ppo, run: Run, output: Path) -> dict[str, Any]:
    """Train a model towards p_λ on given prompts.

    If every λ is 0, the base model is the answer and is copied.

    Args:
        task: what is asked and rewarded.
        section: how to optimise; a batch counts responses.
        run: how the training runs.
        output: folder of the finished model.

    Returns:
        The record of `common.train_and_save`, and `exact_target`: whether `task.sampling` excludes
        no tokens, so that the optimum is p_λ itself; for a copied base model with `steps` 0 and a
        `note`.

    Raises:
        InputError: if model, tokenizer, template, prompts, λ, rewards or batch do not fit.
    """
    weights = rl.weighed(task)
    settings = {
        "model": task.model,
        "revision": task.revision,
        "start": task.initial,
        "lam": weights,
        "template": task.template,
        "sampling": task.sampling.model_dump(),
        "steps": section.steps,
        "minibatches": section.minibatches,
        "passes": section.passes,
        "clip": section.clip,
        "gae_lambda": section.gae_lambda,
        "value_learning_rate": section.value_learning_rate,
        **common.recorded(section, run),
    }
    policy, tokenizer = load(*task.policy, task.template, section, run)
    if not weights:
        return rl.copy_base(policy, tokenizer, output, run.work, settings)
    texts = [render(tokenizer, task.template, prompt) for prompt in task.prompts]
    rl.check_prompts(texts, tokenizer, policy, task.sampling.max_new_tokens)
    most = fitting(policy, 1, rl.longest(texts, tokenizer, task), run.device, whole=True)
    arguments = common.training_arguments(section, run, most)
    # Adapters on the base model can be switched off.
    reference = rl.reference(task) if section.lora is None or task.initial else None
    adapted_policy = adapted(policy, section, run, "CAUSAL_LM", task.policy[1])
    actor = ActorCritic(adapted_policy, task.sampling.temperature)
    disable_dropout_in_model(actor)
    trainer = PpoTrainer(
        actor,
        reference,
        trainer_arguments(arguments, actor, section),
        tokenizer,
        replace(task, lam=weights, rewards={name: task.rewards[name] for name in weights}),
        tokenizer(texts)["input_ids"],
        section,
    )
    record = common.train_and_save(
        trainer, tokenizer, output, run.work, settings, model=actor.policy
    )
    exact = rl.is_exact(task.sampling)
    return {**record, "exact_target": exact, **steered(trainer.loop)}


def trainer_arguments(
    shared: dict[str, Any], actor: ActorCritic, section: Ppo
) -> TrainingArguments:
    """The shared arguments as the plain Trainer takes them, with checkpoints between rollouts."""
    arguments = {name: value for name, value in shared.items() if name != "disable_dropout"}
    # The Trainer would look for it in the actor and critic; it is the policy's.
    if arguments.pop("gradient_checkpointing"):
        actor.policy.gradient_checkpointing_enable(arguments["gradient_checkpointing_kwargs"])
    arguments |= rl.saved_between(arguments, section.rollout_steps)
    return TrainingArguments(**arguments, max_steps=section.steps, remove_unused_columns=False)
