"""Read scores that somebody already has."""

from polyalign.job import Job, run
from polyalign.tables import hold_out, read_rewards, write_table


def main(job: Job) -> None:
    table = read_rewards(job.input("table"), **job.settings)
    pool, reference = hold_out(table)
    write_table(pool, job.outputs["pool"], job.settings)
    write_table(reference, job.outputs["reference"], job.settings)


run(main)
