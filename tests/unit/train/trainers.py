"""The trainers on the enumerable problem, with all that they are told as keywords."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from enumerable import (
    LAM,
    PROMPTS,
    REWARDS,
    SAMPLING,
    TEMPLATE,
    distribution,
    divergence,
    target,
)
from safetensors.torch import load_file

from polyalign.families.options import TrainingOptions
from polyalign.families.ppo import Ppo
from polyalign.families.rloo import Rloo
from polyalign.train import common
from polyalign.train.inputs import Run
from polyalign.train.ppo import train_ppo
from polyalign.train.rl import Task
from polyalign.train.rloo import train_rloo

# Section and trainer of each algorithm, and settings of a short run and of one to the optimum.
ALGORITHMS: dict[str, tuple[type[TrainingOptions], Any, dict[str, Any], dict[str, Any]]] = {
    "ppo": (Ppo, train_ppo, {"steps": 8}, {"steps": 160, "batch_size": 128, "log_every": 40}),
    "rloo": (
        Rloo, train_rloo, {"steps": 6},
        {"steps": 60, "batch_size": 256, "generations": 32, "log_every": 30},
    ),
    "grpo": (
        Rloo, train_rloo, {"steps": 6, "algorithm": "grpo"},
        {"steps": 60, "batch_size": 256, "generations": 32, "log_every": 30},
    ),
}  # fmt: skip


def run_in(folder: Path, **changes: Any) -> Run:
    """How a test trains, with its checkpoints in `folder`."""
    told = {"seed": 0, "dtype": "float32", "device": "auto", "log_every": 1, **changes}
    return Run(work=folder / "work", **told)


def told(
    section: type[TrainingOptions], folder: Path, **settings: Any
) -> tuple[Any, Run, dict[str, Any]]:
    """The section and the `Run` that some settings make, and the other settings."""
    own = {name: settings.pop(name) for name in section.model_fields if name in settings}
    names = [field.name for field in fields(Run) if field.name in settings]
    run = run_in(folder, **{name: settings.pop(name) for name in names})
    return section(**own), run, settings


def train(algorithm: str, base: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    """A short run of reinforcement learning; the model is `folder/model`."""
    kind, trains, short, _ = ALGORITHMS[algorithm]
    settings = {"learning_rate": 3e-3, "batch_size": 16, **short, **changes}
    section, run, rest = told(kind, folder, **settings)
    asked = {
        "model": str(base), "revision": None, "template": TEMPLATE, "prompts": PROMPTS,
        "rewards": REWARDS, "lam": LAM, "sampling": SAMPLING, **rest,
    }  # fmt: skip
    record: dict[str, Any] = trains(Task(**asked), section, run, folder / "model")
    return record


def reached(
    algorithm: str, base: Path, folder: Path, **changes: Any
) -> tuple[float, dict[str, Any]]:
    """KL from the trained model to p_λ (nats), and the record of the training."""
    start = distribution(base)
    goal = target(start)
    assert divergence(start, goal) >= 0.5
    record = train(algorithm, base, folder, **{**ALGORITHMS[algorithm][3], **changes})
    nats = divergence(distribution(folder / "model"), goal)
    print(f"KL to the target: base {divergence(start, goal):.3f}, trained {nats:.4f}, "
          f"{record['seconds']} s")  # fmt: skip
    return nats, record


def same_weights(one: Path, other: Path) -> bool:
    """Whether two model folders hold the same weights, bit by bit."""
    left, right = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert left.keys() == right.keys()
    return all(torch.equal(left[key], right[key]) for key in left)


def assert_same_but_for_rounding(base: Path, one: Path, other: Path, nats: float) -> None:
    """Two models that have learnt something, and the same."""
    left, right = distribution(one), distribution(other)
    assert np.abs(left - distribution(base)).max() > 0.01
    np.testing.assert_allclose(left, right, atol=nats)


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """What trains here is killed when it has logged a step."""
    original = common.MetricsWriter.on_log

    def dies(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(self, args, state, control, **kwargs)
        if state.global_step == step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common.MetricsWriter, "on_log", dies)
        with pytest.raises(KeyboardInterrupt):
            yield
