"""Levels of one policy on the test split."""

from polyalign.evaluate.csv import write_csv
from polyalign.evaluate.levels import levels
from polyalign.job import Job, run
from polyalign.tables import read_table


def main(job: Job) -> None:
    values = job.settings.pop("values")
    frame, base = read_table(job.input("rewards")), read_table(job.input("base"))
    write_csv(levels(frame, values, base, **job.settings), job.outputs["levels"])


run(main)
