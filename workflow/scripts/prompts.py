"""Collect the study's prompts."""

from polyalign.job import Job, run
from polyalign.prompts import prompt_table
from polyalign.tables import write_table


def main(job: Job) -> None:
    settings = job.settings
    sources = [(source["path"], source["split"]) for source in settings["sources"]]
    frame = prompt_table(sources, limit=settings["limit"], test_share=settings["test_share"])
    write_table(frame, job.outputs["prompts"], settings)


run(main)
