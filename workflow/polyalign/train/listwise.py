"""DPO on all candidates of a prompt at once: a listwise loss whose optimum is p_λ.

The K candidates y_k of a prompt are drawn from p0. The loss is the cross-entropy between two
distributions over them,

    w = softmax(λ·r_k)    and    v = softmax(β (log π(y_k) − log p0(y_k))),    β = 1,

less the entropy of w: KL(w ‖ v), at least 0. v are the importance weights of the draws for π, and w
those for p_λ, so w = v for any candidates if π = p_λ ∝ p0 exp(λ·r). A response that was drawn twice
has two entries in both, as the draws stand for p0; putting them together would count it once. With
another β the optimum would be p0 exp(λ·r / β), so β is 1 and no option.

It is InfoNCA of Chen et al. 2024 (Noise contrastive alignment of language models with explicit
rewards, arXiv 2402.05369) with the rewards λ·r and α = β = 1, and for K = 2 it is DPO
with soft labels. trl has it for pairs at most.

A model that cannot follow λ·r in all places stays behind p_λ. So λ may move (`closed_loop`), and
nothing is sampled for it. The candidates of a prompt are fresh draws of p0 until the model learns
from them, and what they give p_λ more than the policy, Σ (w − v) r, is how far it stays behind.
The levels of p_λ themselves are known from all prompts, so those of the policy are too, and with
little noise: where w = v there is none. All are for K → ∞, as λ for training is (`map.jackknife`).
With several passes each step has prompts that are fresh, and these alone steer (`replay`).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch.utils.data import SequentialSampler

from polyalign.families.dpo import Labels
from polyalign.map.base import Base
from polyalign.map.jackknife import limit_level, limit_moments
from polyalign.train.candidates import CandidateTrainer, by_prompt, train_policy
from polyalign.train.closed_loop import Aim, ClosedLoop
from polyalign.train.inputs import TrainingInputs
from polyalign.train.replay import FRESH, Replayed, replayed
from polyalign.train.steering import Measured


def train(inputs: TrainingInputs, output: Path) -> dict[str, Any]:
    """Train the policy's model into `output`; returns the record of the training."""
    return train_policy(ListwiseTrainer, Labels(**inputs.settings), inputs, output)


class ListwiseTrainer(CandidateTrainer):
    """The listwise loss; all candidates of a prompt in one row."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Levels (k,) of p_λ less those of the policy, at each fresh prompt of a step.
        self.behind: list[np.ndarray] = []

    @staticmethod
    def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
        """One prompt per row, with softmax(λ·r) over its candidates as weights."""
        score = frame["score"].to_numpy(np.float64)
        prompts, responses = frame["prompt_ids"].to_numpy(), frame["response_ids"].to_numpy()
        found = []
        for rows in by_prompt(frame):
            logs = score[rows] - np.logaddexp.reduce(score[rows])
            found.append(
                {
                    "prompt_ids": prompts[rows[0]],
                    "response_ids": list(responses[rows]),
                    "weights": np.exp(logs).tolist(),
                }
            )
            if "rewards" in frame:
                found[-1]["rewards"] = [list(one) for one in frame["rewards"].to_numpy()[rows]]
        return found

    def steer_to(self, aim: Aim, passes: int) -> None:
        """Let λ move while training: what each step's fresh candidates say of the levels steers."""
        data: Any = self.train_dataset
        rewards = [np.array(one) for one in data["rewards"]]
        prompts = np.repeat(np.arange(len(rewards)), [len(one) for one in rewards])
        self.pool = Base(np.concatenate(rewards), prompts, "prompt")
        per_process = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        batch = per_process * self.accelerator.num_processes
        self.steps = replayed(len(rewards), passes, batch, self.args.seed)
        heard = [step for step in self.steps if any(fresh for _, fresh in step)]
        self.loop = ClosedLoop(aim, len(heard))
        self.add_callback(Measured(self.loop, self.steer))

    def steer(self, loop: ClosedLoop) -> None:
        """Steer λ by the fresh prompts of a step, of all processes."""
        found = gather_object(self.behind)
        self.behind = []
        if not found:
            return
        behind = np.mean(found, axis=0)
        moments = limit_moments(self.pool, loop.lam * self.pool.scale)
        level = self.pool.raw(moments.share @ moments.levels) - behind
        for name, number in loop.update(level, behind).items():
            self._metrics["train"][name].append(number)

    def train(self, *arguments: Any, **named: Any) -> Any:
        """Train; the log-probabilities under the base model are computed before the first step.

        At this point the policy is the base model, also with adapters, which start at zero, and
        when a run is resumed, which loads its checkpoint later. So no second model is in memory.
        """
        self.train_dataset = self.with_reference(self.train_dataset)
        if self.eval_dataset is not None:
            self.eval_dataset = self.with_reference(self.eval_dataset)
        if self.loop:
            self.train_dataset = Replayed(self.train_dataset, self.steps)
        return super().train(*arguments, **named)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The rows in their order where λ moves."""
        if isinstance(self.train_dataset, Replayed):
            return SequentialSampler(self.train_dataset)
        return super()._get_train_sampler(train_dataset)

    @torch.no_grad()
    def with_reference(self, data: Any) -> Dataset:
        """The data with the column `reference`: log p0 of each candidate, in nats."""
        model = self.accelerator.unwrap_model(self.model).eval()
        # Each process reads every so many-th prompt.
        first, processes = self.accelerator.process_index, self.accelerator.num_processes
        found: list[list[float]] = []
        size = self.args.per_device_train_batch_size
        mine = range(first, len(data), processes)
        for start in range(0, len(mine), size):
            batch = self.data_collator([data[at] for at in mine[start : start + size]])
            on_device = {name: part.to(self.args.device) for name, part in batch.items()}
            with self.compute_loss_context_manager():
                logprobs, _ = self.logprobs(model, on_device)
            found += [part.tolist() for part in logprobs.cpu().split(batch["sizes"].tolist())]
        places = [at for rank in range(processes) for at in range(rank, len(data), processes)]
        # Every process starts its list at its own number, so the lists are one after the other.
        everyone: list[list[float]] = gather_object(found)
        in_order: list[list[float]] = [[]] * len(data)
        for at, part in zip(places, everyone, strict=True):
            in_order[at] = part
        return data.add_column("reference", in_order)

    def steered_weights(
        self, loop: ClosedLoop, ratio: torch.Tensor, batch: dict[str, Any]
    ) -> list[torch.Tensor]:
        """w of each prompt at the λ so far; keeps how far its policy is behind p_λ where it is new.

        Args:
            loop: has λ.
            ratio: (n,), log π − log p0 of each candidate.
            batch: with `rewards`, (n, k), and `fresh`, which prompts are read for the first time.
        """
        sizes, rewards = batch["sizes"].tolist(), batch["rewards"].double()
        scores = rewards @ torch.tensor(loop.lam, device=rewards.device)
        w, v = (
            [part.softmax(0) for part in logs.double().split(sizes)] for logs in (scores, ratio)
        )
        fresh = batch[FRESH].tolist()
        for new, one, own, r in zip(fresh, w, v, rewards.split(sizes), strict=True):
            if new:
                parts = one, own
                goal, level = (limit_level(part.cpu().numpy(), r.cpu().numpy()) for part in parts)
                self.behind.append(goal - level)
        return [part.float() for part in w]

    def candidate_loss(self, logprobs: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
        """Mean over the prompts of KL(w ‖ v), in nats.

        Also measures `kl`, the KL of the policy from the base model as its weights v of the
        candidates say it: Σ v log(K v), nats per response.
        """
        ratio = logprobs - batch["reference"]
        sizes = batch["sizes"].tolist()
        weights = batch["weights"].split(sizes)
        if self.loop:
            weights = self.steered_weights(self.loop, ratio.detach(), batch)
        losses, spent = [], []
        for log_v, w in zip(ratio.split(sizes), weights, strict=True):
            v = log_v.log_softmax(0)
            losses.append(torch.nn.functional.kl_div(v, w, reduction="sum"))
            spent.append((v.exp() * (v + np.log(len(v)))).sum())
        self.measure(kl=torch.stack(spent).mean())
        return torch.stack(losses).mean()
