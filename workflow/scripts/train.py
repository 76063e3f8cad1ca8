"""Train one policy of one family."""

from polyalign import families
from polyalign.job import Job, is_main_process, run
from polyalign.manifest import write_manifest, write_metrics
from polyalign.train.ingredients import ingredients


def main(job: Job) -> None:
    settings, outputs = job.settings, job.outputs
    record = families.module(settings["family"]).train(ingredients(job), outputs["model"])
    if is_main_process():
        write_metrics(outputs["model"], outputs["metrics"])
        write_manifest(outputs["model"], outputs["manifest"], settings, record)


run(main)
