"""What a policy is trained from, as the job's settings and files say it."""

import json
from typing import Any

from polyalign.families import Ingredients
from polyalign.job import Job
from polyalign.tables import read_scored, read_table


def ingredients(job: Job) -> Ingredients:
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
    return Ingredients(
        settings=settings["settings"],
        model=settings.get("model", {}),
        template=settings.get("template", ""),
        sampling=settings.get("sampling", {}),
        seed=settings.get("seed", 0),
        palette=json.loads(job.input("palette").read_text()) if "palette" in inputs else {},
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
        parts=job.parts,
    )


def _pairs(job: Job, what: str, name: str) -> dict[str, Any]:
    """How a preference data set is read: from the job's input, or, without one, from the hub."""
    source = job.settings["preferences"][name]
    path = job.inputs.get(f"{what}:{name}", [source["source"]])[0]
    return {**source, "source": str(path)}
