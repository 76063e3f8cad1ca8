"""Train the sandbox's base model on its dialogues."""

from polyalign.job import Job, run
from polyalign.manifest import write_manifest, write_metrics
from polyalign.train.lm import train_lm


def main(job: Job) -> None:
    record = train_lm(job.input("corpus"), job.outputs["model"], **job.settings)
    write_metrics(job.outputs["model"], job.outputs["metrics"])
    write_manifest(job.outputs["model"], job.outputs["manifest"], job.settings, record)


run(main)
