"""Train the study's value model from the base model's candidates and their rewards."""

from typing import Any

from polyalign.data.rewards_table import read_scored
from polyalign.families.value_d import ValueTraining
from polyalign.models.manifest import write_manifest, write_metrics
from polyalign.runtime.files import atomic_write
from polyalign.runtime.job import Job, is_main_process
from polyalign.runtime.job import run as run_job
from polyalign.settings import SamplingRule
from polyalign.train.inputs import Run
from polyalign.train.value import train_values


def main(
    job: Job,
    *,
    model: dict[str, Any],
    template: str,
    sampling: dict[str, Any],
    seed: int,
    values: list[str],
    raised: list[str],
    signs: dict[str, int],
    training: dict[str, Any],
) -> None:
    outputs = job.outputs
    if job.work is None:
        raise TypeError("a training job needs a folder for its checkpoints (--work)")
    run = Run(
        seed=seed,
        dtype=model["dtype"],
        device=model["device"],
        work=job.work,
        microbatch_factor=job.microbatch_factor,
    )
    record, calibration = train_values(
        model,
        read_scored(job.inputs["samples"], job.inputs["scores"]),
        values,
        ValueTraining(**training),
        run,
        outputs["model"],
        template=template,
        sampling=SamplingRule(**sampling),
        raised=raised,
        signs=signs,
    )
    if is_main_process():
        with atomic_write(outputs["calibration"]) as draft:
            calibration.to_csv(draft, index=False)
        write_metrics(outputs["model"], outputs["metrics"])
        write_manifest(outputs["model"], outputs["manifest"], job.settings, record, job.inputs)


if __name__ == "__main__":
    run_job(main)
