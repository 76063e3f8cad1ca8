"""Train one policy of one family."""

from typing import Any

from polyalign.families import family as declared
from polyalign.models.manifest import write_manifest, write_metrics
from polyalign.runtime.job import Job, is_main_process, run
from polyalign.train.inputs import training_inputs


def main(
    job: Job,
    *,
    family: str,
    variant: str,
    settings: dict[str, Any],
    model: dict[str, Any] | None = None,
    template: str = "",
    seed: int = 0,
    sampling: dict[str, Any] | None = None,
    preferences: dict[str, dict[str, Any]] | None = None,
    values: dict[str, dict[str, Any]] | None = None,
) -> None:
    outputs = job.outputs
    record = declared(family).implementation()(training_inputs(job), outputs["model"])
    if is_main_process():
        write_metrics(outputs["model"], outputs["metrics"])
        write_manifest(outputs["model"], outputs["manifest"], job.settings, record, job.inputs)


if __name__ == "__main__":
    run(main)
