"""Read scores that somebody already has."""

from polyalign.job import Job, run
from polyalign.tables import hold_out, imported_spec, read_rewards, write_table


def main(job: Job) -> None:
    path = job.input("table")
    table = read_rewards(path, **job.settings)
    record = {"settings": job.settings, "spec": imported_spec(path, job.settings["columns"])}
    pool, reference = hold_out(table)
    write_table(pool, job.outputs["pool"], record)
    write_table(reference, job.outputs["reference"], record)


run(main)
