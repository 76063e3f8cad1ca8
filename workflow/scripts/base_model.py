"""Train the sandbox's base model on its dialogues."""

from polyalign.models.manifest import write_manifest, write_metrics
from polyalign.runtime.job import Job, run
from polyalign.sandbox.language_model import train_lm


def main(job: Job, *, seed: int, steps: int, template: str) -> None:
    model = job.outputs["model"]
    record = train_lm(job.input("corpus"), model, template=template, seed=seed, steps=steps)
    write_metrics(model, job.outputs["metrics"])
    write_manifest(model, job.outputs["manifest"], job.settings, record, job.inputs)


if __name__ == "__main__":
    run(main)
