"""Solve the dual of one palette."""

from polyalign.files import write_json
from polyalign.job import Job, run
from polyalign.solve import solve_palette
from polyalign.tables import read_scored, read_table


def main(job: Job) -> None:
    settings, inputs = job.settings, job.inputs
    pool = read_table(job.input("pool")) if "pool" in inputs else read_scored(**inputs)
    record = solve_palette(pool, settings["palette"], settings["levels"], **settings["map"])
    write_json(job.outputs["palette"], record)


run(main)
