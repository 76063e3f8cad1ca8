"""Collect the study's prompts."""

from polyalign.job import Job, run
from polyalign.prompts import prompt_table
from polyalign.tables import write_table


def main(job: Job) -> None:
    frame = prompt_table(**job.settings)
    write_table(frame, job.outputs["prompts"], job.settings)


run(main)
