"""Levels of one policy on the test split."""

from polyalign.evaluate.csv import write_csv
from polyalign.evaluate.levels import levels
from polyalign.evaluate.specs import check_same_spec
from polyalign.job import Job, run
from polyalign.tables import read_settings, read_table


def main(job: Job) -> None:
    values = job.settings.pop("values")
    paths = job.input("rewards"), job.input("base")
    check_same_spec(*paths)
    frame, base = map(read_table, paths)
    expected = read_settings(paths[0]).get("expected")
    table = levels(frame, values, base, expected=expected, **job.settings)
    write_csv(table, job.outputs["levels"])


run(main)
