"""What a policy is trained from and how the training runs, read from the job.

Nothing here imports torch: soups are made without it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from polyalign.data.keys import batch_seed
from polyalign.data.packed import is_packed
from polyalign.data.rewards_table import read_scored
from polyalign.data.tables import read_table
from polyalign.map.random_lam import random_lam
from polyalign.palettes.lam import read_lam
from polyalign.runtime.job import Job


@dataclass(frozen=True)
class Run:
    """How a training runs, beside the options of its section of the config.

    Attributes:
        seed: of the order of the data and of the sampling.
        dtype: float32, or bfloat16 to compute in it on CUDA.
        device: auto takes CUDA where there is one; cpu or cuda.
        work: folder for checkpoints; a run that was killed resumes from there.
        microbatch_factor: factor by which a retry divides the micro-batches, after GPU memory ran
            out; what is sampled does not depend on it.
        log_every: steps between two rows of metrics.
    """

    seed: int
    dtype: str
    device: str
    work: Path
    microbatch_factor: int = 1
    log_every: int = 10


@dataclass(frozen=True)
class TrainingInputs:
    """What a policy is trained from; a part that the policy does not ask for is empty.

    Attributes:
        settings: the policy's settings.
        model: `source`, `revision`, `dtype` and `device` of the base model.
        template: text around a prompt.
        sampling: how p0 samples.
        seed: the study's seed.
        palette: the solved palette.
        prompts: prompts of the `fit` split.
        values: value → settings of its reward function, for the values of the palette.
        preferences: name → arguments of `read_pairs` for the training pairs.
        held_out: the same for the test pairs.
        policies: `family/variant` → folder of its model.
        candidates: rewards table of the base model's candidates, prompts of the `fit` split.
        work: folder for checkpoints.
        microbatch_factor: as in `Run`.
        lam: value → λ of a policy without a palette, drawn at random.
    """

    settings: dict[str, Any]
    model: dict[str, Any]
    template: str
    sampling: dict[str, Any]
    seed: int
    palette: dict[str, Any]
    prompts: list[str]
    values: dict[str, dict[str, Any]]
    preferences: dict[str, dict[str, Any]]
    held_out: dict[str, dict[str, Any]]
    policies: dict[str, Path]
    candidates: pd.DataFrame | None
    work: Path
    microbatch_factor: int
    lam: dict[str, float] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        """How the training runs: where the base model does, with the seed of the study."""
        return Run(
            seed=self.seed,
            dtype=self.model["dtype"],
            device=self.model["device"],
            work=self.work,
            microbatch_factor=self.microbatch_factor,
        )


def training_inputs(job: Job) -> TrainingInputs:
    """Read the inputs of a training job that are tables, and name those that the family reads.

    Raises:
        InputError: if a table cannot be read, or scores do not join their samples.
    """
    settings, inputs = job.settings, job.inputs
    if job.work is None:
        raise TypeError("a training job needs a folder for its checkpoints (--work)")
    prompts = read_table(job.input("prompts")) if "prompts" in inputs else None
    candidates = None
    if "samples" in inputs:
        candidates = read_scored(inputs["samples"], inputs["scores"]).query("split == 'fit'")
    preferences = settings.get("preferences", {})
    own = dict(settings["settings"])
    lam: dict[str, float] = {}
    if drawn := own.pop("morl", None):
        # The seed of the policy of that number in the family morl-d, so that both have one λ.
        seed = batch_seed(settings["seed"], f"morl-d/{settings['variant']}", 0)
        lam = random_lam(drawn["values"], drawn["cap"], seed)
    return TrainingInputs(
        settings=own,
        model=settings.get("model", {}),
        template=settings.get("template", ""),
        sampling=settings.get("sampling", {}),
        seed=settings.get("seed", 0),
        palette=read_lam(job.input("palette")) if "palette" in inputs else {},
        prompts=[] if prompts is None else list(prompts.query("split == 'fit'")["prompt"]),
        values=settings.get("values", {}),
        preferences={name: _pairs(job, "pairs", name) for name in preferences},
        held_out={name: {**_pairs(job, "held_out", name), "split": "test"} for name in preferences},
        policies={
            name.removeprefix("model:"): paths[-1]
            for name, paths in inputs.items()
            if name.startswith("model:")
        },
        candidates=candidates,
        work=job.work,
        microbatch_factor=job.microbatch_factor,
        lam=lam,
    )


def _pairs(job: Job, what: str, name: str) -> dict[str, Any]:
    """How a preference data set is read: from the job's input, or, without one, from the hub."""
    source = job.settings["preferences"][name]
    path = source["source"]
    if not is_packed(path):
        path = job.inputs.get(f"{what}:{name}", [path])[0]
    return {**source, "source": str(path)}
