"""Distilled selection: the base model is fine-tuned on its own candidates, weighted by λ·r.

The loss is −mean(w log π(y|x)) over candidates y that p0 sampled, and its optimum is p_λ if the
expectation of w given y is proportional to exp(λ·r(x, y)). The weights softmax(λ·r) over the K
candidates of a prompt are not: a candidate is in its own denominator, so that high rewards count
too little, and the optimum is what selection among K candidates samples (`map-d`), which stays
behind p_λ. Here a candidate is compared with the others alone,

    w_k = exp(λ·r_k) / mean over j ≠ k of exp(λ·r_j),

which do not depend on it. So E[w_k | y_k] = exp(λ·r_k) c(x), and p_λ is the optimum for any K > 1.
(The leave-one-out estimate of a normaliser, as in Kool et al. 2019, "Buy 4 REINFORCE samples".)
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from polyalign.families.sft import Sft
from polyalign.train.candidates import CandidateTrainer, by_prompt, train_policy
from polyalign.train.inputs import TrainingInputs


def train(inputs: TrainingInputs, output: Path) -> dict[str, Any]:
    """Train the policy's model into `output`; returns the record of the training."""
    return train_policy(SelectionTrainer, Sft(**inputs.settings), inputs, output)


def odds(score: np.ndarray) -> np.ndarray:
    """exp(score) of each candidate of a prompt over the mean of the others', (K,), K > 1.

    Args:
        score: (K,), λ·r of the candidates in nats.
    """
    others = np.where(np.eye(len(score), dtype=bool), -np.inf, score)
    return np.exp(score + np.log(len(score) - 1) - np.logaddexp.reduce(others, axis=1))


class SelectionTrainer(CandidateTrainer):
    """Weighted negative log-likelihood; one candidate per row."""

    @staticmethod
    def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
        """One candidate per row; its weights have the mean 1 over all candidates."""
        score = frame["score"].to_numpy(np.float64)
        prompts, responses = frame["prompt_ids"].to_numpy(), frame["response_ids"].to_numpy()
        weighted = [(rows, odds(score[rows])) for rows in by_prompt(frame)]
        mean = np.concatenate([weights for _, weights in weighted]).mean() if weighted else 1.0
        return [
            {
                "prompt_ids": prompts[row],
                "response_ids": [responses[row]],
                "weights": [float(weight / mean)],
            }
            for rows, weights in weighted
            for row, weight in zip(rows, weights, strict=True)
        ]

    def candidate_loss(self, logprobs: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
        """Mean of −w log π(y|x), nats per response."""
        return -(batch["weights"] * logprobs).mean()
