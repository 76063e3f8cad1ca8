"""Win rates of one policy against its opponent on the test split."""

from polyalign.evaluate.csv import write_csv
from polyalign.evaluate.specs import check_same_spec
from polyalign.evaluate.winrate import winrate
from polyalign.job import Job, run
from polyalign.tables import read_table


def main(job: Job) -> None:
    values = job.settings.pop("values")
    paths = job.input("rewards"), job.input("opponent")
    check_same_spec(*paths)
    frame, opponent = map(read_table, paths)
    write_csv(winrate(frame, opponent, values, **job.settings), job.outputs["winrate"])


run(main)
