"""Solve the dual of one palette."""

from polyalign.files import write_json
from polyalign.job import Job, run
from polyalign.map.dual import Limits
from polyalign.solve import solve_palette
from polyalign.tables import read_scored, read_table


def main(job: Job) -> None:
    settings, inputs = job.settings, job.inputs
    pool = read_table(job.input("pool")) if "pool" in inputs else read_scored(**inputs)
    settings["limits"] = Limits(**settings.get("limits", {}))
    write_json(job.outputs["lam"], solve_palette(pool, **settings))


run(main)
