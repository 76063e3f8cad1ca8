"""Win rates of one policy against the base model on the test split."""

from polyalign.evaluate.csv import write_csv
from polyalign.evaluate.winrate import winrate
from polyalign.job import Job, run
from polyalign.tables import read_table


def main(job: Job) -> None:
    values = job.settings.pop("values")
    frame, base = read_table(job.input("rewards")), read_table(job.input("base"))
    write_csv(winrate(frame, base, values, **job.settings), job.outputs["winrate"])


run(main)
